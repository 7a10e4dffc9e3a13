//! Where a Coordinator listens.

use std::fmt;

use crate::ClientError;

/// Port of the client API if an address names none.
pub const DEFAULT_PORT: u16 = 4433;

/// Host and port of a Coordinator's client API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
}

impl Endpoint {
    /// Reads `host:port`, `host` (port 4433), `[v6]:port`, or any of these after `https://`.
    ///
    /// # Errors
    /// [`ClientError::Address`] if it holds a path, another scheme, or no host.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let bad = |reason: &str| ClientError::Address { address: text.to_owned(), reason: reason.to_owned() };
        let rest = text.strip_prefix("https://").unwrap_or(text);
        if rest.contains("://") {
            return Err(bad("only https:// is possible"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Err(bad("it is empty"));
        }
        if rest.contains(['/', '?', '#', '@', ' ']) {
            return Err(bad("expected HOST or HOST:PORT"));
        }
        let has_port = match rest.rsplit_once(':') {
            // An IPv6 literal without port ends in a bracket or has several colons and no bracket.
            Some((host, port)) => {
                if rest.ends_with(']') || (host.contains(':') && !host.ends_with(']')) {
                    false
                } else {
                    port.parse::<u16>().map_err(|_| bad("the port is not a number from 0 to 65535"))?;
                    true
                }
            }
            None => false,
        };
        let authority = if has_port {
            rest.to_owned()
        } else if rest.contains(':') && !rest.starts_with('[') {
            format!("[{rest}]:{DEFAULT_PORT}")
        } else {
            format!("{rest}:{DEFAULT_PORT}")
        };
        Ok(Self { authority })
    }

    /// The URL of a path below this endpoint.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_default_port_and_lose_the_scheme() {
        for (text, expected) in [
            ("localhost:1234", "localhost:1234"),
            ("localhost", "localhost:4433"),
            ("https://coordinator.example:4433/", "coordinator.example:4433"),
            ("[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:4433"),
            ("::1", "[::1]:4433"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "http://localhost", "localhost/x", "localhost:port", "localhost:99999", "a b"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
