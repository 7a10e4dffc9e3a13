//! Which API server, and as whom: the account of the pod, else the files of `KUBECONFIG`.
//!
//! The pod comes first (kube's own rule is the other way round): in an enclave the account is what the platform gave it,
//! while a `KUBECONFIG` in the environment may be anyone's.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Where Kubernetes puts the files of a pod's account.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the environment says about the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `EDG_KUBERNETES_SERVICE_HOST`, else `KUBERNETES_SERVICE_HOST`.
    pub host: Option<String>,
    /// `EDG_KUBERNETES_SERVICE_PORT`, else `KUBERNETES_SERVICE_PORT`.
    pub port: Option<String>,
    /// Folder with `token`, `ca.crt` and `namespace`; [`SERVICE_ACCOUNT`] if `None`.
    pub account: Option<PathBuf>,
    /// `KUBECONFIG`: files, separated as in `PATH`.
    pub kubeconfig: Option<OsString>,
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Neither a pod nor a kubeconfig.
    #[error(
        "no API server is configured: KUBERNETES_SERVICE_HOST is not set, as it would be in a pod, and neither is KUBECONFIG"
    )]
    None,
    /// The address of the API server is no address.
    #[error("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT ({host:?}, {port:?}) are not an address")]
    Address {
        /// Host.
        host: String,
        /// Port.
        port: String,
    },
    /// A file of the account cannot be read.
    #[error(
        "the account of this pod cannot be used: {}: {source}; the pod needs a service account whose token is mounted \
         (automountServiceAccountToken)", .path.display()
    )]
    Account {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The CA certificate of the account is none.
    #[error("{} holds no certificate of the API server's authority", .path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
    },
    /// A file of `KUBECONFIG`, or what it says, cannot be used.
    #[error("KUBECONFIG ({}): {source}", .files.to_string_lossy())]
    Kubeconfig {
        /// `KUBECONFIG`.
        files: OsString,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// No file of `KUBECONFIG` is there.
    #[error("none of the files of KUBECONFIG ({}) exists", .files.to_string_lossy())]
    NoFile {
        /// `KUBECONFIG`.
        files: OsString,
    },
}

/// A way to the API server.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) config: Config,
    /// For people.
    pub(crate) source: String,
}

impl Access {
    /// What the environment of this process says.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The same from any source of variables.
    #[must_use]
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let filled = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| filled(name).map(|value| value.to_string_lossy().into_owned());
        // An enclave sees only variables with that prefix; host and port belong together.
        let enclave = text("EDG_KUBERNETES_SERVICE_HOST");
        let prefix = if enclave.is_some() { "EDG_" } else { "" };
        Self {
            host: enclave.or_else(|| text("KUBERNETES_SERVICE_HOST")),
            port: text(&format!("{prefix}KUBERNETES_SERVICE_PORT")),
            account: None,
            kubeconfig: filled("KUBECONFIG"),
        }
    }

    pub(crate) async fn find(&self) -> Result<Found, AccessError> {
        match (&self.host, &self.kubeconfig) {
            (Some(host), kubeconfig) => match self.in_cluster(host) {
                // A pod without an account may have been given a kubeconfig instead.
                Err(AccessError::Account { .. }) if kubeconfig.is_some() => self.by_kubeconfig().await,
                found => found,
            },
            (None, Some(_)) => self.by_kubeconfig().await,
            (None, None) => Err(AccessError::None),
        }
    }

    fn in_cluster(&self, host: &str) -> Result<Found, AccessError> {
        let port = self.port.as_deref().unwrap_or("443");
        let folder = self.account.as_deref().unwrap_or(Path::new(SERVICE_ACCOUNT));
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|source| AccessError::Account { path, source })
        };
        // Only to say what is missing; it is read again as it is renewed.
        read("token")?;
        let authority = folder.join("ca.crt");
        let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&read("ca.crt")?)
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        if certificates.is_empty() {
            return Err(AccessError::Authority { path: authority });
        }
        let mut config = Config::new(uri(host, port)?);
        config.root_cert = Some(certificates);
        config.root_cert_file = Some(authority);
        let token = folder.join("token").to_string_lossy().into_owned();
        config.auth_info = AuthInfo { token_file: Some(token), ..AuthInfo::default() };
        let source = format!("{} as the account of this pod", config.cluster_url);
        Ok(Found { config, source })
    }

    async fn by_kubeconfig(&self) -> Result<Found, AccessError> {
        let files = self.kubeconfig.clone().unwrap_or_default();
        let failed = |source| AccessError::Kubeconfig { files: files.clone(), source: Box::new(source) };
        let mut merged: Option<Kubeconfig> = None;
        for path in std::env::split_paths(&files).filter(|path| path.exists()) {
            let next = Kubeconfig::read_from(path).map_err(failed)?;
            merged = Some(match merged {
                Some(earlier) => earlier.merge(next).map_err(failed)?,
                None => next,
            });
        }
        let kubeconfig = merged.ok_or_else(|| AccessError::NoFile { files: files.clone() })?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?;
        let source = format!("{} by KUBECONFIG", config.cluster_url);
        Ok(Found { config, source })
    }
}

fn uri(host: &str, port: &str) -> Result<Uri, AccessError> {
    let wrong = || AccessError::Address { host: host.to_owned(), port: port.to_owned() };
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) => host.to_owned(),
        Err(_) if host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') => host.to_owned(),
        Err(_) => return Err(wrong()),
    };
    format!("https://{host}:{port}").parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(variables: &[(&str, &str)]) -> Access {
        Access::from_variables(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    async fn found(access: &Access) -> Result<Found, AccessError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        access.find().await
    }

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://other:6443'}}]\n\
        users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";

    #[tokio::test]
    async fn the_pod_comes_before_a_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "t").unwrap();
        std::fs::write(folder.path().join("ca.crt"), CERTIFICATE).unwrap();
        let kubeconfig = folder.path().join("config");
        std::fs::write(&kubeconfig, KUBECONFIG).unwrap();
        let mut access = access(&[
            ("EDG_KUBERNETES_SERVICE_HOST", "fd00::1"),
            ("EDG_KUBERNETES_SERVICE_PORT", "6443"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", "1"),
        ]);
        access.account = Some(folder.path().to_owned());
        access.kubeconfig = Some(kubeconfig.into());
        assert_eq!(found(&access).await.unwrap().config.cluster_url, "https://[fd00::1]:6443/");
        std::fs::remove_file(folder.path().join("token")).unwrap();
        assert_eq!(found(&access).await.unwrap().config.cluster_url, "https://other:6443/");
        access.kubeconfig = None;
        let error = found(&access).await.unwrap_err();
        assert!(error.to_string().contains("token"), "{error}");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        assert!(matches!(found(&Access::default()).await, Err(AccessError::None)));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "t").unwrap();
        std::fs::write(folder.path().join("ca.crt"), "none").unwrap();
        let mut pod = access(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")]);
        pod.account = Some(folder.path().to_owned());
        assert!(matches!(found(&pod).await, Err(AccessError::Authority { .. })));
        std::fs::write(folder.path().join("ca.crt"), CERTIFICATE).unwrap();
        for (host, port) in [("10.0.0.1", "no"), ("a/b", "1"), ("a@b", "1")] {
            let wrong = Access { host: Some(host.into()), port: Some(port.into()), ..pod.clone() };
            assert!(matches!(found(&wrong).await, Err(AccessError::Address { .. })), "{host} {port}");
        }
        let no_file = access(&[("KUBECONFIG", "/does/not/exist")]);
        assert!(matches!(found(&no_file).await, Err(AccessError::NoFile { .. })));
        let not_one = folder.path().join("token").into_os_string();
        let damaged = Access { kubeconfig: Some(not_one), ..Access::default() };
        assert!(matches!(found(&damaged).await, Err(AccessError::Kubeconfig { .. })));
    }

    #[test]
    fn empty_variables_are_not_set() {
        let access =
            access(&[("EDG_KUBERNETES_SERVICE_HOST", ""), ("KUBERNETES_SERVICE_HOST", "h"), ("KUBECONFIG", "")]);
        assert_eq!((access.host.as_deref(), access.kubeconfig), (Some("h"), None));
    }
}
