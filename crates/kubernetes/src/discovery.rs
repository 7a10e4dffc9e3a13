//! Where the other Coordinators are: all EndpointSlices of the key API's Service, merged.
//!
//! Whether an endpoint is ready does not matter: a Coordinator that waits for its key is not, and may hold shares of a
//! recovery; one that ends may hold the only key. Those that end come last.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::List;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource as _;
use kube::api::ListParams;
use kube::core::Request as Build;
use marblerun_store::cluster::PlaceError;

use crate::exchange::{Exchange, READING};
use crate::names::Names;
use crate::verdict::{self, Asked};

/// Looks for the other Coordinators.
#[derive(Clone)]
pub struct Discovery {
    exchange: Exchange,
    names: Names,
}

/// What a slice of a Service is known by.
pub(crate) fn of_service(names: &Names) -> ListParams {
    ListParams::default().labels(&format!("kubernetes.io/service-name={}", names.key_service()))
}

impl Discovery {
    pub(crate) fn new(exchange: Exchange, names: Names) -> Self {
        Self { exchange, names }
    }

    /// All addresses, `host:port`, this process's own among them.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub async fn addresses(&self) -> Result<Vec<String>, PlaceError> {
        let namespace = self.names.namespace();
        let asked = Asked { verb: "list", resource: "endpointslices", name: self.names.key_service(), namespace };
        let build = Build::new(EndpointSlice::url_path(&(), Some(namespace)));
        let request = build.list(&of_service(&self.names)).map_err(|error| PlaceError::Refused(error.to_string()))?;
        let Some(answer) = verdict::of_read(asked, self.exchange.send(request, READING).await)? else {
            return Ok(Vec::new());
        };
        let list: List<EndpointSlice> = serde_json::from_slice(&answer.body)
            .map_err(|error| PlaceError::Malformed(format!("{asked}: the answer cannot be used: {error}")))?;
        Ok(merge(&list.items))
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("names", &self.names).finish_non_exhaustive()
    }
}

fn merge(slices: &[EndpointSlice]) -> Vec<String> {
    let (mut living, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let ports: Vec<u16> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| u16::try_from(port.port?).ok())
            .filter(|port| *port != 0)
            .collect();
        for endpoint in &slice.endpoints {
            let ends = endpoint.conditions.as_ref().and_then(|conditions| conditions.terminating) == Some(true);
            let to = if ends { &mut ending } else { &mut living };
            for host in endpoint.addresses.iter().filter_map(|address| host(address)) {
                to.extend(ports.iter().map(|port| format!("{host}:{port}")));
            }
        }
    }
    let last: Vec<String> = ending.difference(&living).cloned().collect();
    living.into_iter().chain(last).collect()
}

/// As it stands before `:port`; `None` if it is no host.
fn host(address: &str) -> Option<String> {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Some(address.to_string()),
        Ok(IpAddr::V6(address)) => Some(format!("[{address}]")),
        // Slices of the type FQDN.
        Err(_) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            (!address.is_empty() && address.chars().all(fits)).then(|| address.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(endpoints: &serde_json::Value, ports: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "metadata": {},
            "endpoints": endpoints, "ports": ports,
        }))
        .unwrap()
    }

    #[test]
    fn all_slices_are_merged_and_those_that_end_come_last() {
        let one = slice(
            &json!([
                {"addresses": ["10.0.0.9"], "conditions": {"terminating": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.1", "10.0.0.3"], "conditions": {"ready": true}},
            ]),
            &json!([{"port": 5433}, {"port": 5434, "name": "x"}, {"name": "all"}]),
        );
        let two = slice(
            &json!([{"addresses": ["fd00::1"]}, {"addresses": ["10.0.0.1"], "conditions": {"terminating": true}}]),
            &json!([{"port": 5433}]),
        );
        let expected = [
            "10.0.0.1:5433",
            "10.0.0.1:5434",
            "10.0.0.2:5433",
            "10.0.0.2:5434",
            "10.0.0.3:5433",
            "10.0.0.3:5434",
            "[fd00::1]:5433",
            "10.0.0.9:5433",
            "10.0.0.9:5434",
        ];
        assert_eq!(merge(&[one, two]), expected);
        assert_eq!(merge(&[]), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        let odd =
            slice(&json!([{"addresses": ["a/b", "", "peer.example.com"]}]), &json!([{"port": 70000}, {"port": 1}]));
        assert_eq!(merge(&[odd]), ["peer.example.com:1"]);
        let no_ports = slice(&json!([{"addresses": ["10.0.0.1"]}]), &json!(null));
        assert_eq!(merge(&[no_ports]), Vec::<String>::new());
    }
}
