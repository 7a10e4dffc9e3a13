//! Where the PIN comes from: the configuration, the environment, a file, or a person. The first that has one wins.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Config, Pkcs11Error, TokenFacts};

/// Environment variable that holds a PIN.
pub const PIN_VARIABLE: &str = "MARBLERUN_PKCS11_PIN";

/// Asks a person; `None` if nobody can be asked.
pub type Prompt<'a> = &'a dyn Fn(&TokenFacts) -> std::io::Result<Option<Zeroizing<String>>>;

/// Where to look for a PIN that the configuration does not hold.
#[derive(Default)]
pub struct PinSources<'a> {
    /// Value of [`PIN_VARIABLE`], as the program found it.
    pub environment: Option<OsString>,
    /// Asked last, and only if the token has no keypad of its own.
    pub prompt: Option<Prompt<'a>>,
}

/// How to log in.
pub(crate) enum Pin {
    /// With these bytes.
    Known(Zeroizing<Vec<u8>>),
    /// At the token's own keypad.
    AtTheToken,
}

pub(crate) fn find(config: &Config, sources: PinSources<'_>, token: &TokenFacts) -> Result<Pin, Pkcs11Error> {
    if let Some(pin) = &config.pin {
        return Ok(Pin::Known(Zeroizing::new(pin.as_bytes().to_vec())));
    }
    if let Some(pin) = sources.environment.filter(|pin| !pin.is_empty()) {
        return Ok(Pin::Known(Zeroizing::new(pin.into_vec())));
    }
    if let Some(path) = &config.pin_source {
        // RFC 7512 writes a pin-source as a file URI: file:/path or file:///path.
        let named = path.as_os_str().as_bytes();
        let named = named.strip_prefix(b"file:").map_or(named, |uri| uri.strip_prefix(b"//").unwrap_or(uri));
        let path = Path::new(OsStr::from_bytes(named));
        let mut pin = std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| Pkcs11Error::Pin(format!("reading the PIN in {}: {error}", path.display())))?;
        if pin.last() == Some(&b'\n') {
            pin.pop();
            if pin.last() == Some(&b'\r') {
                pin.pop();
            }
        }
        return Ok(Pin::Known(pin));
    }
    if token.has_keypad {
        return Ok(Pin::AtTheToken);
    }
    let asked = match sources.prompt {
        Some(prompt) => prompt(token).map_err(|error| Pkcs11Error::Pin(format!("asking for the PIN: {error}")))?,
        None => None,
    };
    match asked {
        Some(pin) => Ok(Pin::Known(Zeroizing::new(pin.as_bytes().to_vec()))),
        None => Err(Pkcs11Error::Pin(format!(
            "no PIN for the token {:?}: set Pin or PinSource (a file) in the config, or the environment variable \
             {PIN_VARIABLE}, or run this on a terminal to be asked",
            token.label
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(fields: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(r#"{{"Path":"m.so","TokenLabel":"t"{fields}}}"#)).unwrap();
        Config::read(file.path()).unwrap()
    }

    fn found(config: &Config, environment: Option<&str>, prompt: Option<Prompt<'_>>) -> Option<Vec<u8>> {
        let sources = PinSources { environment: environment.map(OsString::from), prompt };
        match find(config, sources, &TokenFacts::default()) {
            Ok(Pin::Known(pin)) => Some(pin.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn the_first_place_that_has_a_pin_wins_and_a_person_is_asked_last() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\r\n").unwrap();
        let source = format!(r#","PinSource":{:?}"#, file.path());
        let uri = |start: &str| format!(r#","PinSource":"{start}{}""#, file.path().display());
        let person: Prompt<'_> = &|_| Ok(Some(Zeroizing::new("from person".to_owned())));
        let nobody: Prompt<'_> = &|_| Ok(None);
        assert_eq!(found(&config(r#","Pin":"config""#), Some("env"), Some(person)).unwrap(), b"config");
        assert_eq!(found(&config(&source), Some("env"), Some(person)).unwrap(), b"env");
        assert_eq!(found(&config(&source), Some(""), Some(person)).unwrap(), b"from file");
        for start in ["file:", "file://"] {
            assert_eq!(found(&config(&uri(start)), None, Some(person)).unwrap(), b"from file");
        }
        assert_eq!(found(&config(""), None, Some(person)).unwrap(), b"from person");
        assert_eq!(found(&config(""), None, Some(nobody)), None);
        assert_eq!(found(&config(r#","PinSource":"/no/such/file""#), None, Some(person)), None);
    }

    #[test]
    fn a_token_with_a_keypad_asks_by_itself() {
        let token = TokenFacts { has_keypad: true, ..TokenFacts::default() };
        let prompt: Prompt<'_> = &|_| panic!("nobody is asked");
        let sources = PinSources { environment: None, prompt: Some(prompt) };
        assert!(matches!(find(&config(""), sources, &token), Ok(Pin::AtTheToken)));
    }
}
