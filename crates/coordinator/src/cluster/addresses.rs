//! Where the other Coordinators are said to be. Whoever says so is not trusted: an address is only where to ask.

use std::sync::Arc;

/// A source of addresses.
pub trait Addresses: Send + Sync + 'static {
    /// `host:port` of every Coordinator that is listed now, ready or not, those that are about to stop last. This one may be among them. Must not
    /// wait: a source that watches something answers what it saw last, and calls [`super::Peers::nudge`] when that changes.
    fn listed(&self) -> Vec<String>;
}

/// Addresses that do not change (`MARBLERUN_PEERS`). A name that stands for several addresses stands for a peer at each.
#[derive(Debug, Clone, Default)]
pub struct Fixed(pub Vec<String>);

impl Addresses for Fixed {
    fn listed(&self) -> Vec<String> {
        self.0.clone()
    }
}

/// Several sources, one after the other, each address once.
#[derive(Clone, Default)]
pub struct Combined(pub Vec<Arc<dyn Addresses>>);

impl Addresses for Combined {
    fn listed(&self) -> Vec<String> {
        let mut listed = Vec::new();
        for address in self.0.iter().flat_map(|source| source.listed()) {
            if !listed.contains(&address) {
                listed.push(address);
            }
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_listed_twice_is_asked_once_at_its_first_place() {
        let fixed =
            |list: &[&str]| Arc::new(Fixed(list.iter().map(|a| (*a).to_owned()).collect())) as Arc<dyn Addresses>;
        let combined = Combined(vec![fixed(&["a:1", "b:1"]), fixed(&["c:1", "a:1"])]);
        assert_eq!(combined.listed(), ["a:1", "b:1", "c:1"]);
    }
}
