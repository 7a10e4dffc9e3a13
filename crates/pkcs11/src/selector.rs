//! Which object on a token: by `CKA_ID`, by `CKA_LABEL`, or by both.
//!
//! Ids and labels of a command line are the bytes of the argument, as upstream takes them. What cannot be typed is
//! written `hex:6b31`, or as a `pkcs11:` URI (RFC 7512), as other tools print it.

use cryptoki::object::Attribute;
use percent_encoding::percent_decode;

use crate::{Pkcs11Error, TokenFacts};

/// An object's id, its label, or both; and what a URI says of its token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// `CKA_ID`.
    pub id: Option<Vec<u8>>,
    /// `CKA_LABEL`.
    pub label: Option<Vec<u8>>,
    /// Further attributes of a URI, to be found on the token.
    pub(crate) token: Vec<(&'static str, String)>,
}

impl Selector {
    /// From the arguments of a command line. Empty ones count as absent.
    ///
    /// # Errors
    /// [`Pkcs11Error::Selector`] if an argument is malformed, or nothing is left to select by.
    pub fn from_arguments(id: Option<&[u8]>, label: Option<&[u8]>) -> Result<Self, Pkcs11Error> {
        let mut selector = Self::default();
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            match Argument::of(id)? {
                Argument::Bytes(bytes) => selector.id = Some(bytes),
                Argument::Uri(uri) => selector.add_uri(&uri)?,
            }
        }
        if let Some(label) = label.filter(|label| !label.is_empty()) {
            match Argument::of(label)? {
                Argument::Bytes(bytes) => merge(&mut selector.label, bytes, "label")?,
                Argument::Uri(uri) => selector.add_uri(&uri)?,
            }
        }
        if selector.id.is_none() && selector.label.is_none() {
            return Err(bad("neither id nor label says which object on the token is meant".to_owned()));
        }
        Ok(selector)
    }

    /// RFC 7512: `pkcs11:token=name;id=%6b%31;object=label`.
    fn add_uri(&mut self, uri: &str) -> Result<(), Pkcs11Error> {
        if uri.contains('?') {
            return Err(bad(format!(
                "pkcs11:{uri}: what stands behind the '?' (module, PIN) belongs into the file of --pkcs11-config"
            )));
        }
        for attribute in uri.split(';').filter(|attribute| !attribute.is_empty()) {
            let malformed = || bad(format!("pkcs11:{uri}: {attribute:?} is not NAME=VALUE"));
            let (name, value) = attribute.split_once('=').ok_or_else(malformed)?;
            let value: Vec<u8> = percent_decode(value.as_bytes()).collect();
            let mut of_token = |name| -> Result<(), Pkcs11Error> {
                let value = String::from_utf8(value.clone()).map_err(|_| malformed())?;
                self.token.push((name, value));
                Ok(())
            };
            match name {
                "id" => merge(&mut self.id, value, "id")?,
                "object" => merge(&mut self.label, value, "label")?,
                "token" => of_token("token")?,
                "serial" => of_token("serial")?,
                "manufacturer" => of_token("manufacturer")?,
                "model" => of_token("model")?,
                // Which kind of object is wanted is known from where the selector is used.
                "type" => {}
                _ => return Err(bad(format!("pkcs11:{uri}: the attribute {name:?} is not understood here"))),
            }
        }
        Ok(())
    }

    /// Whether a URI meant this token.
    pub(crate) fn check_token(&self, facts: &TokenFacts) -> Result<(), Pkcs11Error> {
        for (name, wanted) in &self.token {
            let found = match *name {
                "token" => &facts.label,
                "serial" => &facts.serial,
                "manufacturer" => &facts.manufacturer,
                _ => &facts.model,
            };
            if found != wanted {
                return Err(bad(format!("the URI wants {name}={wanted}, but the token configured has {found:?}")));
            }
        }
        Ok(())
    }

    /// The search template.
    pub(crate) fn template(&self) -> Vec<Attribute> {
        let id = self.id.iter().map(|id| Attribute::Id(id.clone()));
        id.chain(self.label.iter().map(|label| Attribute::Label(label.clone()))).collect()
    }
}

enum Argument {
    Bytes(Vec<u8>),
    Uri(String),
}

impl Argument {
    fn of(argument: &[u8]) -> Result<Self, Pkcs11Error> {
        if let Some(digits) = argument.strip_prefix(b"hex:") {
            let bytes = hex::decode(digits);
            return bytes.map(Self::Bytes).map_err(|error| bad(format!("hex digits after \"hex:\": {error}")));
        }
        match argument.strip_prefix(b"pkcs11:") {
            Some(uri) => match std::str::from_utf8(uri) {
                Ok(uri) => Ok(Self::Uri(uri.to_owned())),
                Err(_) => Err(bad("a pkcs11: URI is ASCII text".to_owned())),
            },
            None => Ok(Self::Bytes(argument.to_vec())),
        }
    }
}

fn merge(place: &mut Option<Vec<u8>>, value: Vec<u8>, what: &str) -> Result<(), Pkcs11Error> {
    match place {
        Some(other) if *other != value => Err(bad(format!("two different values are given for the {what}"))),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn bad(text: String) -> Pkcs11Error {
    Pkcs11Error::Selector(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(id: Option<&str>, label: Option<&str>) -> Result<Selector, Pkcs11Error> {
        Selector::from_arguments(id.map(str::as_bytes), label.map(str::as_bytes))
    }

    #[test]
    fn arguments_are_taken_as_bytes_unless_they_say_otherwise() {
        let selector = select(Some("k1"), Some("6b31")).unwrap();
        assert_eq!((selector.id.unwrap(), selector.label.unwrap()), (b"k1".to_vec(), b"6b31".to_vec()));
        let raw = Selector::from_arguments(Some(&[0xff, 0]), None).unwrap();
        assert_eq!(raw.id.unwrap(), [0xff, 0]);
        assert_eq!(select(Some("hex:6B31"), None).unwrap().id.unwrap(), b"k1");
        let uri = select(Some("pkcs11:id=%6b%31;object=my%20key;type=private"), None).unwrap();
        assert_eq!((uri.id.unwrap(), uri.label.unwrap()), (b"k1".to_vec(), b"my key".to_vec()));
        let uri = select(None, Some("pkcs11:object=a")).unwrap();
        assert_eq!((uri.id, uri.label.unwrap()), (None, b"a".to_vec()));
    }

    #[test]
    fn what_is_malformed_or_contradicts_itself_or_selects_nothing_is_refused() {
        for (id, label) in [
            (None, None),
            (Some(""), Some("")),
            (Some("hex:6"), None),
            (Some("hex:xy"), None),
            (Some("pkcs11:"), None),
            (Some("pkcs11:token=t"), None),
            (Some("pkcs11:id"), None),
            (Some("pkcs11:id=a;slot-id=1"), None),
            (Some("pkcs11:id=a?pin-value=1234"), None),
            (Some("pkcs11:id=a;id=b"), None),
            (Some("pkcs11:object=a"), Some("b")),
        ] {
            let refused = select(id, label);
            assert!(matches!(refused, Err(Pkcs11Error::Selector(_))), "{id:?} {label:?}");
        }
    }

    #[test]
    fn a_uri_that_means_another_token_is_not_used_on_this_one() {
        let facts = TokenFacts { label: "mine".into(), serial: "1".into(), ..TokenFacts::default() };
        assert!(select(Some("pkcs11:token=mine;serial=1;id=a"), None).unwrap().check_token(&facts).is_ok());
        assert!(select(Some("pkcs11:token=other;id=a"), None).unwrap().check_token(&facts).is_err());
        assert!(select(Some("pkcs11:model=x;id=a"), None).unwrap().check_token(&facts).is_err());
    }
}
