//! The variables, as the original names them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::Roots;

/// Where tokens come from if nothing else is said.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// Authorities to believe instead of those compiled in.
const ROOTS: &str = "MARBLERUN_AZURE_ROOTS";

/// Address of a vault: `https://NAME.managedhsm.azure.net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultUrl {
    base: String,
    host: String,
}

impl VaultUrl {
    /// Reads an `https` address without path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let base = service_url(text)?;
        let uri: http::Uri = base.parse().map_err(|_| format!("{text:?} is no address"))?;
        let host = uri.host().map(str::to_ascii_lowercase).ok_or_else(|| format!("{text:?} names no host"))?;
        if uri.path() != "/" && !uri.path().is_empty() {
            return Err(format!("{text:?} has a path; only the vault's host is wanted"));
        }
        Ok(Self { base, host })
    }

    /// The host's name, which the vault's certificates must have.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What a token must be for: the domain of all vaults of its kind and cloud.
    fn scope(&self) -> String {
        let domain = self.host.split_once('.').map_or(self.host.as_str(), |(_, domain)| domain);
        format!("https://{domain}/.default")
    }
}

/// Name, or version, of a key: letters, digits and hyphens, so that it is one segment of an address and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Checks the letters.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = (1..=127).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !good {
            return Err(format!("{text:?} is no name of a key: letters, digits and hyphens, at most 127"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What proves to Azure who asks.
#[derive(Clone)]
pub enum Credential {
    /// A password of the application.
    ClientSecret(SecretString),
    /// A file with a token that the cluster renews (workload identity). It is read at every use.
    FederatedToken(PathBuf),
}

/// Settings of the vault.
#[derive(Clone)]
pub struct Config {
    /// Azure Attestation: `https://NAME.REGION.attest.azure.net`.
    pub maa_url: String,
    /// The vault.
    pub vault: VaultUrl,
    /// The key.
    pub key_name: KeyName,
    /// Its version for new slots; the newest if absent. Slots name the version they need.
    pub key_version: Option<KeyName>,
    /// Application.
    pub client_id: String,
    /// Directory.
    pub tenant_id: String,
    /// Where tokens come from.
    pub authority: String,
    /// What proves who asks.
    pub credential: Credential,
    /// What tokens are for.
    pub scope: String,
    /// Whose certificates are believed.
    pub roots: Roots,
    /// How long a release may take in all, with retries.
    pub deadline: Duration,
    /// How long a released key is kept in memory.
    pub keep: Duration,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("vault", &self.vault.base)
            .field("key_name", &self.key_name.0)
            .field("key_version", &self.key_version.as_ref().map(KeyName::as_str))
            .field("maa_url", &self.maa_url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Settings that are not enough, or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Some are absent; the original's words and order.
    #[error("required environment variables are not set: [{}]", .0.join(" "))]
    Missing(Vec<&'static str>),
    /// One cannot be used.
    #[error("{0}: {1}")]
    Bad(&'static str, String),
}

impl Config {
    /// Reads the variables that the original reads, and `MARBLERUN_AZURE_ROOTS`, through `lookup`; an empty value counts
    /// as absent.
    ///
    /// # Errors
    /// [`ConfigError`]: all absent ones at once, or the first wrong one.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut missing = Vec::new();
        let optional = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut required = |name: &'static str| {
            let value = optional(name);
            if value.is_none() {
                missing.push(name);
            }
            value.unwrap_or_default()
        };
        let maa_url = required("EDG_MAA_URL");
        let vault = required("EDG_AZURE_HSM_VAULT_URL");
        let key_name = required("EDG_AZURE_HSM_KEY_NAME");
        let client_id = required("EDG_AZURE_CLIENT_ID");
        let tenant_id = required("EDG_AZURE_TENANT_ID");
        let secret = optional("EDG_AZURE_CLIENT_SECRET");
        let authority = optional("EDG_AZURE_AUTHORITY_HOST");
        let token_file = optional("EDG_AZURE_FEDERATED_TOKEN_FILE");
        let credential = match (secret, &authority, token_file) {
            (Some(secret), ..) => Some(Credential::ClientSecret(secret.into())),
            (None, Some(_), Some(file)) => Some(Credential::FederatedToken(file.into())),
            (None, ..) => None,
        };
        let Some(credential) = credential.filter(|_| missing.is_empty()) else {
            if optional("EDG_AZURE_CLIENT_SECRET").is_none() {
                let federated = ["EDG_AZURE_AUTHORITY_HOST", "EDG_AZURE_FEDERATED_TOKEN_FILE"];
                let absent: Vec<_> = federated.into_iter().filter(|name| optional(name).is_none()).collect();
                // With neither of the two, the password is what is asked for first.
                if absent.len() == 2 {
                    missing.push("EDG_AZURE_CLIENT_SECRET");
                }
                missing.extend(absent);
            }
            return Err(ConfigError::Missing(missing));
        };
        let bad = |name: &'static str| move |reason: String| ConfigError::Bad(name, reason);
        let vault = VaultUrl::parse(&vault).map_err(bad("EDG_AZURE_HSM_VAULT_URL"))?;
        let version = optional("EDG_AZURE_HSM_KEY_VERSION").map(|version| KeyName::parse(&version)).transpose();
        Ok(Self {
            maa_url: service_url(&maa_url).map_err(bad("EDG_MAA_URL"))?,
            key_name: KeyName::parse(&key_name).map_err(bad("EDG_AZURE_HSM_KEY_NAME"))?,
            key_version: version.map_err(bad("EDG_AZURE_HSM_KEY_VERSION"))?,
            client_id,
            tenant_id: KeyName::parse(&tenant_id.replace('.', "-"))
                .map(|_| tenant_id)
                .map_err(bad("EDG_AZURE_TENANT_ID"))?,
            authority: service_url(authority.as_deref().unwrap_or(AUTHORITY))
                .map_err(bad("EDG_AZURE_AUTHORITY_HOST"))?,
            credential,
            scope: vault.scope(),
            vault,
            roots: match optional(ROOTS) {
                None => Roots::pinned().map_err(bad("the pinned roots"))?,
                Some(file) => std::fs::read(&file)
                    .map_err(|error| format!("{file}: {error}"))
                    .and_then(|pem| Roots::from_pem(&pem))
                    .map_err(bad(ROOTS))?,
            },
            deadline: Duration::from_secs(60),
            keep: Duration::from_secs(600),
        })
    }
}

/// An `https` address without query, and without a slash at its end.
fn service_url(text: &str) -> Result<String, String> {
    let base = text.trim_end_matches('/');
    let uri: http::Uri = base.parse().map_err(|_| format!("{text:?} is no address"))?;
    if uri.scheme_str() != Some("https") {
        return Err(format!("{text:?} does not begin with https://"));
    }
    if uri.query().is_some() || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(format!("{text:?} has a query or a user name; only the service's address is wanted"));
    }
    Ok(base.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn variables() -> BTreeMap<&'static str, &'static str> {
        BTreeMap::from([
            ("EDG_MAA_URL", "https://maa.uks.attest.azure.net"),
            ("EDG_AZURE_HSM_VAULT_URL", "https://MyHsm.managedhsm.azure.net/"),
            ("EDG_AZURE_HSM_KEY_NAME", "marblerun"),
            ("EDG_AZURE_CLIENT_ID", "client"),
            ("EDG_AZURE_TENANT_ID", "contoso.onmicrosoft.com"),
            ("EDG_AZURE_CLIENT_SECRET", "hunter2"),
        ])
    }

    fn read(variables: &BTreeMap<&str, &str>) -> Result<Config, ConfigError> {
        Config::read(|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_originals_variables_are_enough() {
        let config = read(&variables()).unwrap();
        assert_eq!(config.vault.host(), "myhsm.managedhsm.azure.net");
        assert_eq!(config.scope, "https://managedhsm.azure.net/.default");
        assert_eq!(config.authority, "https://login.microsoftonline.com");
        assert_eq!(config.key_version, None);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_federated_token_takes_the_place_of_the_password() {
        let mut variables = variables();
        variables.remove("EDG_AZURE_CLIENT_SECRET");
        variables.insert("EDG_AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/");
        variables.insert("EDG_AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token");
        assert!(matches!(read(&variables).unwrap().credential, Credential::FederatedToken(_)));
        variables.remove("EDG_AZURE_AUTHORITY_HOST");
        assert_eq!(read(&variables).unwrap_err(), ConfigError::Missing(vec!["EDG_AZURE_AUTHORITY_HOST"]));
    }

    #[test]
    fn all_that_is_missing_is_named_at_once_in_order() {
        let error = read(&BTreeMap::from([("EDG_AZURE_HSM_KEY_NAME", "")])).unwrap_err().to_string();
        assert_eq!(
            error,
            "required environment variables are not set: [EDG_MAA_URL EDG_AZURE_HSM_VAULT_URL EDG_AZURE_HSM_KEY_NAME \
             EDG_AZURE_CLIENT_ID EDG_AZURE_TENANT_ID EDG_AZURE_CLIENT_SECRET EDG_AZURE_AUTHORITY_HOST \
             EDG_AZURE_FEDERATED_TOKEN_FILE]"
        );
    }

    #[test]
    fn what_could_reach_another_address_is_refused() {
        for (name, value) in [
            ("EDG_MAA_URL", "http://maa.attest.azure.net"),
            ("EDG_AZURE_HSM_VAULT_URL", "https://good@evil"),
            ("EDG_AZURE_HSM_VAULT_URL", "https://vault/keys/x"),
            ("EDG_AZURE_HSM_KEY_NAME", "../secrets"),
            ("EDG_AZURE_HSM_KEY_NAME", "a/b"),
            ("EDG_AZURE_HSM_KEY_VERSION", "1?x"),
            ("EDG_AZURE_TENANT_ID", "a/../b"),
            ("MARBLERUN_AZURE_ROOTS", "/no/such/file"),
        ] {
            let mut variables = variables();
            variables.insert(name, value);
            let error = read(&variables).unwrap_err();
            assert!(matches!(error, ConfigError::Bad(which, _) if which == name), "{error}");
        }
    }
}
