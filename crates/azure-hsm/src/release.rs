//! The vault's answer: which key was released, and was it asked for? Pure; the signature was checked before.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use crate::{KeyName, ReleaseError};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Host of the vault.
    pub vault: &'a str,
    /// Name of the key.
    pub key_name: &'a KeyName,
    /// Its version, unless the newest was asked for.
    pub key_version: Option<&'a KeyName>,
    /// The request's nonce, as sent.
    pub nonce: &'a str,
}

/// A key that the vault released to this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedKey {
    /// Its version.
    pub version: KeyName,
    /// The key, encrypted.
    pub wrapped: Vec<u8>,
}

#[derive(Deserialize)]
struct Payload {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    key: Bundle,
}

#[derive(Deserialize)]
struct Bundle {
    key: Key,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    key_hsm: String,
}

#[derive(Deserialize)]
struct KeyHsm {
    ciphertext: String,
}

impl ReleasedKey {
    /// Reads a payload and compares it with the request.
    ///
    /// # Errors
    /// [`ReleaseError::NotBelieved`].
    pub fn read(payload: &[u8], asked: &Asked<'_>) -> Result<Self, ReleaseError> {
        let not = |what: &str| ReleaseError::NotBelieved(what.to_owned());
        let payload: Payload =
            serde_json::from_slice(payload).map_err(|error| not(&format!("its payload is not understood: {error}")))?;
        let nonce = payload.request.nonce.unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(asked.nonce.as_bytes())) {
            return Err(not("it does not repeat this request's nonce, so it may be an old one"));
        }
        let key = payload.response.key.key;
        let version = version_of(&key.kid, asked)
            .ok_or_else(|| not(&format!("it is about another key: {:.300}", key.kid.escape_debug())))?;
        let decode = |text: &str| {
            // Padding is allowed, as either form is met.
            BASE64URL.decode(text.trim_end_matches('=')).map_err(|_| not("the key in it is no base64url"))
        };
        let within: KeyHsm =
            serde_json::from_slice(&decode(&key.key_hsm)?).map_err(|_| not("the key in it is not understood"))?;
        Ok(Self { version, wrapped: decode(&within.ciphertext)? })
    }
}

/// `https://HOST/keys/NAME/VERSION`.
fn version_of(kid: &str, asked: &Asked<'_>) -> Option<KeyName> {
    let uri: http::Uri = kid.parse().ok()?;
    let same_host = uri.scheme_str() == Some("https") && uri.host()?.eq_ignore_ascii_case(asked.vault);
    let mut path = uri.path().strip_prefix("/keys/")?.split('/');
    let (name, version) = (path.next()?, KeyName::parse(path.next()?).ok()?);
    let same_name = name.eq_ignore_ascii_case(asked.key_name.as_str());
    let same_version = asked.key_version.is_none_or(|asked| *asked == version);
    (same_host && same_name && same_version && path.next().is_none()).then_some(version)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn payload() -> Value {
        let key_hsm = BASE64URL.encode(r#"{"schema_version":"1.0","ciphertext":"AQID"}"#);
        json!({
            "request": {"api-version": "2025-07-01", "enc": "RSA_AES_KEY_WRAP_384", "nonce": "n0nce"},
            "response": {"key": {"key": {"kid": "https://hsm.example/keys/marblerun/abc123", "kty": "oct-HSM", "key_hsm": key_hsm}}},
        })
    }

    fn read(payload: &Value, version: Option<&str>) -> Result<ReleasedKey, ReleaseError> {
        let name = KeyName::parse("marblerun").unwrap();
        let version = version.map(|version| KeyName::parse(version).unwrap());
        let asked = Asked { vault: "hsm.example", key_name: &name, key_version: version.as_ref(), nonce: "n0nce" };
        ReleasedKey::read(payload.to_string().as_bytes(), &asked)
    }

    #[test]
    fn the_key_asked_for_is_taken_with_its_version() {
        for version in [None, Some("abc123")] {
            let key = read(&payload(), version).unwrap();
            assert_eq!((key.version.as_str(), key.wrapped.as_slice()), ("abc123", &[1, 2, 3][..]));
        }
    }

    #[test]
    fn an_answer_to_another_question_is_not_believed() {
        for (pointer, value, reason) in [
            ("/request/nonce", json!("other"), "nonce"),
            ("/request/nonce", json!(null), "nonce"),
            ("/request/nonce", json!(""), "nonce"),
            ("/response/key/key/kid", json!("https://evil.example/keys/marblerun/abc123"), "another key: https://evil"),
            ("/response/key/key/kid", json!("https://hsm.example/keys/other/abc123"), "another key"),
            ("/response/key/key/kid", json!("https://hsm.example/keys/marblerun"), "another key"),
            ("/response/key/key/kid", json!("https://hsm.example/keys/marblerun/abc123/x"), "another key"),
            ("/response/key/key/kid", json!("http://hsm.example/keys/marblerun/abc123"), "another key"),
            ("/response/key/key/key_hsm", json!("!"), "base64url"),
            ("/response/key/key/key_hsm", json!("e30"), "not understood"),
            ("/response/key/key", json!({}), "not understood"),
        ] {
            let mut payload = payload();
            *payload.pointer_mut(pointer).unwrap() = value;
            let error = read(&payload, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(read(&payload(), Some("def456")).unwrap_err().to_string().contains("another key"));
        let mut without = payload();
        without["request"].as_object_mut().unwrap().remove("nonce");
        assert!(read(&without, None).is_err());
    }
}
