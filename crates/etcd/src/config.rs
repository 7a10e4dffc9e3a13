//! Which etcd, as whom, and under which keys.

use std::ffi::OsString;
use std::path::PathBuf;

use http::Uri;
use marblerun_state::BootId;

/// What is to be reached, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `MARBLERUN_ETCD_ENDPOINTS`: client URLs of the members.
    pub endpoints: Vec<Uri>,
    /// `MARBLERUN_ETCD_CA_FILE`: who issues the members' certificates (PEM).
    pub ca_file: Option<PathBuf>,
    /// `MARBLERUN_ETCD_CERT_FILE` and `MARBLERUN_ETCD_KEY_FILE`: the own certificate and key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `MARBLERUN_ETCD_PREFIX`: what all keys of this deployment begin with; ends with `/`.
    pub prefix: String,
    /// This process.
    pub boot: BootId,
}

/// Why the configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No member.
    #[error(
        "MARBLERUN_ETCD_ENDPOINTS is not set: it lists client URLs of etcd, such as https://etcd-0:2379,https://etcd-1:2379"
    )]
    NoEndpoint,
    /// Not the URL of a member.
    #[error("MARBLERUN_ETCD_ENDPOINTS: {0:?} is not a URL of the form https://host:port")]
    Endpoint(String),
    /// An endpoint with TLS, and nobody to vouch for it.
    #[error("MARBLERUN_ETCD_CA_FILE is not set: without it the members' certificates cannot be checked")]
    NoAuthority,
    /// A certificate without its key, or a key without its certificate.
    #[error("MARBLERUN_ETCD_CERT_FILE and MARBLERUN_ETCD_KEY_FILE are set together or not at all")]
    HalfIdentity,
    /// Not a prefix of keys.
    #[error("MARBLERUN_ETCD_PREFIX is {0:?}; it begins and ends with '/'")]
    Prefix(String),
}

/// Keys of a deployment, unless told.
const PREFIX: &str = "/marblerun/default/";

impl EtcdConfig {
    /// From the variables named above.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_variables(boot: BootId, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let filled = |name: &str| variable(name).filter(|value| !value.is_empty());
        let listed = filled("MARBLERUN_ETCD_ENDPOINTS").ok_or(ConfigError::NoEndpoint)?;
        let listed = listed.to_string_lossy().into_owned();
        let listed = listed.split(',').map(str::trim).filter(|part| !part.is_empty());
        let endpoints = listed.map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let prefix = filled("MARBLERUN_ETCD_PREFIX").map(|prefix| prefix.to_string_lossy().into_owned());
        let file = |name: &str| filled(name).map(PathBuf::from);
        let identity = match (file("MARBLERUN_ETCD_CERT_FILE"), file("MARBLERUN_ETCD_KEY_FILE")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(ConfigError::HalfIdentity),
        };
        let prefix = prefix.unwrap_or_else(|| PREFIX.to_owned());
        let ca_file = file("MARBLERUN_ETCD_CA_FILE");
        Self { endpoints, ca_file, identity, prefix, boot }.checked()
    }

    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        if self.ca_file.is_none() && self.endpoints.iter().any(|uri| uri.scheme_str() == Some("https")) {
            return Err(ConfigError::NoAuthority);
        }
        if !self.prefix.starts_with('/') || !self.prefix.ends_with('/') {
            return Err(ConfigError::Prefix(self.prefix));
        }
        Ok(self)
    }
}

fn endpoint(text: &str) -> Result<Uri, ConfigError> {
    let wrong = || ConfigError::Endpoint(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_url = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if is_url && matches!(uri.path(), "" | "/") && uri.query().is_none() { Ok(uri) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<EtcdConfig, ConfigError> {
        EtcdConfig::from_variables(BootId([1; 16]), |name| {
            let name = name.strip_prefix("MARBLERUN_ETCD_").unwrap();
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn variables_are_read_and_what_is_wrong_is_named() {
        let all = [
            ("ENDPOINTS", "https://a:2379, https://[::1]:2379,"),
            ("CA_FILE", "ca"),
            ("CERT_FILE", "cert"),
            ("KEY_FILE", "key"),
            ("PREFIX", "/x/"),
        ];
        let read = config(&all).unwrap();
        assert_eq!(read.endpoints, ["https://a:2379", "https://[::1]:2379"]);
        assert_eq!((read.ca_file, read.prefix.as_str()), (Some("ca".into()), "/x/"));
        assert_eq!(read.identity, Some(("cert".into(), "key".into())));
        assert_eq!(config(&[]), Err(ConfigError::NoEndpoint));
        assert_eq!(config(&[("ENDPOINTS", ",")]), Err(ConfigError::NoEndpoint));
        for wrong in ["a:2379", "ftp://a", "https://a/path", "https://"] {
            assert_eq!(config(&[("ENDPOINTS", wrong)]), Err(ConfigError::Endpoint(wrong.to_owned())));
        }
        assert_eq!(config(&[("ENDPOINTS", "https://a")]), Err(ConfigError::NoAuthority));
        let plain = config(&[("ENDPOINTS", "http://a")]).unwrap();
        assert_eq!((plain.prefix.as_str(), plain.identity), (PREFIX, None));
        assert_eq!(config(&[("ENDPOINTS", "http://a"), ("KEY_FILE", "k")]), Err(ConfigError::HalfIdentity));
        let prefix = config(&[("ENDPOINTS", "http://a"), ("PREFIX", "x/")]);
        assert_eq!(prefix, Err(ConfigError::Prefix("x/".to_owned())));
    }
}
