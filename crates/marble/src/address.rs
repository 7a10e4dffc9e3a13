//! Where the Coordinator is.

use std::str::FromStr;

use rustls_pki_types::ServerName;

/// Host and port of the Coordinator's Marble API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorAddress {
    host: String,
    port: u16,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: expected host:port, for instance localhost:2001")]
pub struct BadAddress(pub String);

impl CoordinatorAddress {
    /// For the TCP connection.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// What the TLS handshake asks for. A host name that is not a DNS name is not asked for: the
    /// Coordinator has one certificate whatever it is called.
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.host.clone())
            .or_else(|_| ServerName::try_from("localhost"))
            .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))
    }
}

impl FromStr for CoordinatorAddress {
    type Err = BadAddress;

    /// `host:port`, `[v6]:port`; a gRPC resolver scheme (`dns:///`, `passthrough:///`) in front is ignored;
    /// without port 443, as gRPC has it.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let rest = ["dns:///", "passthrough:///", "dns:"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let target = rest.unwrap_or(text);
        let (host, port) = match target.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']').ok_or_else(bad)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) })
            }
            None if target.parse::<std::net::Ipv6Addr>().is_ok() => (target, None),
            None => target.split_once(':').map_or((target, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(443), str::parse).map_err(|_| bad())?;
        if host.is_empty() || host.contains(['/', ' ', '@']) || (host.contains(':') && !target.contains(host)) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for CoordinatorAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_grpc_reads_them() {
        for (text, shown) in [
            ("localhost:2001", "localhost:2001"),
            ("coordinator-mesh-api.marblerun:2001", "coordinator-mesh-api.marblerun:2001"),
            ("dns:///coordinator:2001", "coordinator:2001"),
            ("passthrough:///10.0.0.1:1", "10.0.0.1:1"),
            ("coordinator", "coordinator:443"),
            ("[::1]:2001", "[::1]:2001"),
            ("[::1]", "[::1]:443"),
            ("::1", "[::1]:443"),
        ] {
            let address: CoordinatorAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":2001", "a:b", "a:70000", "[::1", "[x]:1", "[::1]1", "a:1:2", "http://a:1", "a b:1"] {
            assert_eq!(text.parse::<CoordinatorAddress>(), Err(BadAddress(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn names_that_are_no_dns_names_still_connect() {
        for text in ["my_coordinator:1", "10.0.0.1:1", "[::1]:1", "ü:1"] {
            let _ = text.parse::<CoordinatorAddress>().unwrap().server_name();
        }
    }
}
