//! Where in the cluster the state lies. A value of [`Names`] holds names that the API server accepts, so none of them can
//! reach into another path of its API.

use marblerun_store::cluster::Part;

/// Names of all objects of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    namespace: String,
    secret: String,
    kek_map: String,
    key_service: String,
}

/// A name that no object can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} is {name:?}, which is not a name in Kubernetes: it takes at most {most} of lower-case letters, digits, '-' \
     and '.', with a letter or digit at both ends"
)]
pub struct NameError {
    variable: &'static str,
    name: String,
    most: usize,
}

/// `-archive-4`, the longest that is appended to the name of the Secret.
const LONGEST_SUFFIX: usize = 10;

impl Names {
    /// Of a namespace (`EDG_K8S_NAMESPACE`), the Secret with the state (`EDG_K8S_STATE_NAME`), the ConfigMap with the
    /// keys of the hosts (`EDG_K8S_KEK_MAP`), and the Service of the key API (`EDG_K8S_SERVICE_NAME`).
    ///
    /// # Errors
    /// [`NameError`] names the variable.
    pub fn new(namespace: &str, secret: &str, kek_map: &str, key_service: &str) -> Result<Self, NameError> {
        Ok(Self {
            namespace: checked("EDG_K8S_NAMESPACE", namespace, 63, false)?,
            secret: checked("EDG_K8S_STATE_NAME", secret, 253 - LONGEST_SUFFIX, true)?,
            kek_map: checked("EDG_K8S_KEK_MAP", kek_map, 253, true)?,
            key_service: checked("EDG_K8S_SERVICE_NAME", key_service, 63, false)?,
        })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Secret with the state.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The ConfigMap with the keys of the hosts.
    #[must_use]
    pub fn kek_map(&self) -> &str {
        &self.kek_map
    }

    /// The Service of the key API.
    #[must_use]
    pub fn key_service(&self) -> &str {
        &self.key_service
    }

    /// The Secret of an archive; `None` if there is no such place.
    pub(crate) fn archive(&self, place: u8) -> Option<String> {
        (place < ARCHIVES).then(|| format!("{}-archive-{place}", self.secret))
    }

    /// The Secret of a part; `None` if there is no such part.
    pub(crate) fn part(&self, part: Part) -> Option<String> {
        let bank = ["a", "b", "c"].get(usize::from(part.bank))?;
        (1..=15).contains(&part.number).then(|| format!("{}-{bank}{}", self.secret, part.number))
    }
}

/// How many archives there can be.
pub(crate) const ARCHIVES: u8 = 5;

fn checked(variable: &'static str, name: &str, most: usize, dots: bool) -> Result<String, NameError> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label =
        |part: &str| !part.is_empty() && part.chars().all(inside) && !part.starts_with('-') && !part.ends_with('-');
    let fits = if dots { name.split('.').all(label) } else { label(name) };
    if fits && name.len() <= most {
        Ok(name.to_owned())
    } else {
        Err(NameError { variable, name: name.to_owned(), most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("marblerun", "marblerun-state", "marblerun-sealed-kek", "coordinator-key-api").unwrap()
    }

    #[test]
    fn archives_and_parts_are_named_after_the_state() {
        assert_eq!(names().archive(4).unwrap(), "marblerun-state-archive-4");
        assert_eq!(names().archive(5), None);
        assert_eq!(names().part(Part { bank: 0, number: 1 }).unwrap(), "marblerun-state-a1");
        assert_eq!(names().part(Part { bank: 2, number: 15 }).unwrap(), "marblerun-state-c15");
        for nowhere in [Part { bank: 3, number: 1 }, Part { bank: 0, number: 0 }, Part { bank: 0, number: 16 }] {
            assert_eq!(names().part(nowhere), None);
        }
    }

    #[test]
    fn a_name_that_could_leave_its_path_is_refused_with_its_variable() {
        for bad in ["", "a/b", "..", "a..b", "-a", "a-", "A", "a b", "a?x=1", "a%2f", &"a".repeat(254)] {
            let error = Names::new("marblerun", bad, "map", "service").unwrap_err();
            assert!(error.to_string().starts_with("EDG_K8S_STATE_NAME"), "{error}");
        }
        assert!(Names::new("with.dot", "state", "map", "service").is_err());
        assert!(Names::new("ns", "with.dot", "with.dot", "service").is_ok());
    }
}
