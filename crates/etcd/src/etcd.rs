//! One deployment in one etcd cluster: what its parts share.

use std::net::{IpAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;

use marblerun_store::cluster::{Changed, PlaceError};
use tokio::runtime::Handle;

use crate::config::EtcdConfig;
use crate::connection::{ConnectError, Connection};
use crate::keys::Keys;
use crate::place::EtcdPlace;
use crate::verdict::{self, Asked};
use crate::{peers, watch};

/// A connection to etcd. Clones share it.
#[derive(Clone)]
pub struct Etcd {
    connection: Connection,
    keys: Keys,
}

impl Etcd {
    /// Makes ready to speak to etcd; it is not asked yet, so it may be away. To be called within a runtime.
    ///
    /// # Errors
    /// [`ConnectError`]: what is configured cannot be used.
    pub fn connect(config: EtcdConfig) -> Result<Self, ConnectError> {
        let config = config.checked()?;
        if config.endpoints.iter().any(|uri| uri.scheme_str() == Some("http")) {
            tracing::warn!(
                "etcd is spoken to without TLS: whoever is on the way can delay and replace the sealed state"
            );
        }
        let keys = Keys::new(&config.prefix);
        tracing::info!(endpoints = ?config.endpoints, prefix = config.prefix, "etcd");
        Ok(Self { connection: Connection::new(Arc::new(config), Handle::current())?, keys })
    }

    /// The place that the store uses.
    #[must_use]
    pub fn place(&self) -> EtcdPlace {
        EtcdPlace::new(self.connection.clone(), self.keys.clone())
    }

    /// Addresses of all Coordinators, `host:port`, this process's own among them.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn addresses(&self) -> Result<Vec<String>, PlaceError> {
        let asked = Asked { verb: "read", key: &format!("{}peer/", self.keys.prefix()) };
        peers::addresses(&self.connection, &self.keys).await.map_err(|status| verdict::of_read(asked, &status))
    }

    /// Says where this process's key API is (`host:port`), for as long as this runs. Never ends.
    pub async fn announce(&self, address: &str) {
        peers::announce(&self.connection, &self.keys, address).await;
    }

    /// Takes that back, when the process ends. Best effort.
    pub async fn withdraw(&self) {
        if let Err(status) = peers::withdraw(&self.connection, &self.keys).await {
            tracing::debug!(%status, "this Coordinator's address stays in etcd for half a minute");
        }
    }

    /// The address of this machine that leads to etcd, and so, as a rule, to the other Coordinators.
    ///
    /// # Errors
    /// If no member's name is known, or no way leads there.
    pub fn local_address(&self) -> std::io::Result<IpAddr> {
        let mut last = std::io::Error::other("no member of etcd is configured");
        for uri in &self.connection.config().endpoints {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            match towards((host, uri.port_u16().unwrap_or(2379))) {
                Ok(address) => return Ok(address),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Calls `on_change` whenever the state, the keys of the hosts or the addresses of the Coordinators may have
    /// changed, and after each gap. Never ends; nothing depends on it.
    pub async fn watch(&self, on_change: impl Fn(Changed) + Send + Sync) {
        watch::all(&self.connection, &self.keys, &on_change).await;
    }
}

/// Nothing is sent: a datagram socket that is connected knows its own address.
fn towards(member: (&str, u16)) -> std::io::Result<IpAddr> {
    let mut last = std::io::Error::other("it has no address");
    for address in member.to_socket_addrs()? {
        let from = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(from)?;
        match socket.connect(address).and_then(|()| socket.local_addr()) {
            Ok(own) => return Ok(own.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("config", self.connection.config()).finish_non_exhaustive()
    }
}
