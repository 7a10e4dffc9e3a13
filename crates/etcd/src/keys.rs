//! Where in etcd everything lies.

use marblerun_state::BootId;
use marblerun_store::cluster::Part;

/// The keys of one deployment.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

/// How many archives there can be.
pub(crate) const ARCHIVES: u8 = 5;

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn key(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `sealed_data`.
    pub(crate) fn state(&self) -> Vec<u8> {
        self.key("state")
    }

    /// `sealed_key`.
    pub(crate) fn sealed_key(&self) -> Vec<u8> {
        self.key("key")
    }

    /// Names the parts.
    pub(crate) fn parts(&self) -> Vec<u8> {
        self.key("parts")
    }

    /// For people; written by each commit, and small enough to be watched.
    pub(crate) fn about(&self) -> Vec<u8> {
        self.key("about")
    }

    /// Values of the hosts.
    pub(crate) fn entries(&self) -> Vec<u8> {
        self.key("kek/")
    }

    pub(crate) fn entry(&self, name: &str) -> Vec<u8> {
        self.key(&format!("kek/{name}"))
    }

    /// Name of the value that a key holds.
    pub(crate) fn entry_of(&self, key: &[u8]) -> Option<String> {
        String::from_utf8(key.strip_prefix(self.entries().as_slice())?.to_vec()).ok()
    }

    /// `None` if there is no such part.
    pub(crate) fn part(&self, part: Part) -> Option<Vec<u8>> {
        let bank = ["a", "b", "c"].get(usize::from(part.bank))?;
        (1..=15).contains(&part.number).then(|| self.key(&format!("part/{bank}/{}", part.number)))
    }

    /// A value of an archive: `state`, `key`, `parts`, `about`. `None` if there is no such place.
    pub(crate) fn archive(&self, place: u8, value: &str) -> Option<Vec<u8>> {
        (place < ARCHIVES).then(|| self.key(&format!("archive/{place}/{value}")))
    }

    pub(crate) fn peers(&self) -> Vec<u8> {
        self.key("peer/")
    }

    pub(crate) fn peer(&self, boot: BootId) -> Vec<u8> {
        self.key(&format!("peer/{}", hex::encode(boot.0)))
    }
}

/// Where the keys with that prefix end.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // All keys from the prefix on.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of(b"kek/"), b"kek0");
        assert_eq!(end_of(&[1, 255]), [2]);
        assert_eq!(end_of(&[255]), [0]);
    }

    #[test]
    fn keys_are_named_as_the_protocol_says() {
        let keys = Keys::new("/m/d/");
        let part = keys.part(Part { bank: 2, number: 15 }).unwrap();
        assert_eq!(part, b"/m/d/part/c/15");
        assert_eq!(keys.part(Part { bank: 0, number: 16 }), None);
        assert_eq!(keys.archive(4, "state").unwrap(), b"/m/d/archive/4/state");
        assert_eq!(keys.archive(5, "state"), None);
        assert_eq!(keys.entry_of(&keys.entry("a.b.c")).as_deref(), Some("a.b.c"));
        assert_eq!(keys.entry_of(&keys.state()), None);
    }
}
