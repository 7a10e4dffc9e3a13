//! Where the other Coordinators are said to be. Whoever says so is not trusted: an address is only where to ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;

/// The answer of a source of addresses; `None` if it cannot tell now.
pub type Listing<'a> = Pin<Box<dyn Future<Output = Option<Vec<String>>> + Send + 'a>>;

/// A source of addresses.
pub trait Addresses: Send + Sync + 'static {
    /// `host:port` of every Coordinator that is listed now, ready or not, those that are about to stop last. This one may
    /// be among them. Asked at the beginning of each round; what watches the list calls [`super::Peers::nudge`].
    fn listed(&self) -> Listing<'_>;
}

/// Addresses that do not change (`MARBLERUN_PEERS`). A name that stands for several addresses stands for a peer at each.
#[derive(Debug, Clone, Default)]
pub struct Fixed(pub Vec<String>);

impl Addresses for Fixed {
    fn listed(&self) -> Listing<'_> {
        Box::pin(std::future::ready(Some(self.0.clone())))
    }
}

/// Several sources, one after the other, each address once. One that cannot tell is left out.
#[derive(Clone, Default)]
pub struct Combined(pub Vec<Arc<dyn Addresses>>);

impl Addresses for Combined {
    fn listed(&self) -> Listing<'_> {
        Box::pin(async {
            let lists = join_all(self.0.iter().map(|source| source.listed())).await;
            if !lists.is_empty() && lists.iter().all(Option::is_none) {
                return None;
            }
            let mut listed = Vec::new();
            for address in lists.into_iter().flatten().flatten() {
                if !listed.contains(&address) {
                    listed.push(address);
                }
            }
            Some(listed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mute;

    impl Addresses for Mute {
        fn listed(&self) -> Listing<'_> {
            Box::pin(std::future::ready(None))
        }
    }

    fn fixed(list: &[&str]) -> Arc<dyn Addresses> {
        Arc::new(Fixed(list.iter().map(|address| (*address).to_owned()).collect()))
    }

    #[tokio::test]
    async fn an_address_listed_twice_is_asked_once_at_its_first_place() {
        let combined = Combined(vec![fixed(&["a:1", "b:1"]), Arc::new(Mute), fixed(&["c:1", "a:1"])]);
        assert_eq!(combined.listed().await.unwrap(), ["a:1", "b:1", "c:1"]);
    }

    #[tokio::test]
    async fn that_nobody_can_tell_is_not_that_there_is_nobody() {
        assert_eq!(Combined(vec![Arc::new(Mute)]).listed().await, None);
        assert_eq!(Combined::default().listed().await, Some(Vec::new()));
    }
}
