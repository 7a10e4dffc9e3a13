//! URIs of certificate templates. Upstream takes them apart into an object (Go's `url.URL`); what goes into the
//! certificate is the text that type prints.

use crate::decode_object;
use crate::gojson::{Context, Decode, Kind, Value};

/// The parts, under Go's names.
#[derive(Default)]
pub(super) struct Url {
    scheme: String,
    opaque: String,
    user: Option<User>,
    host: String,
    path: String,
    raw_path: String,
    omit_host: bool,
    force_query: bool,
    raw_query: String,
    fragment: String,
    raw_fragment: String,
}

decode_object!(Url as "URL" {
    "Scheme" => scheme,
    "Opaque" => opaque,
    "User" => user,
    "Host" => host,
    "Path" => path,
    "RawPath" => raw_path,
    "OmitHost" => omit_host,
    "ForceQuery" => force_query,
    "RawQuery" => raw_query,
    "Fragment" => fragment,
    "RawFragment" => raw_fragment,
});

/// User information has no readable fields; being there at all prints as an `@`.
#[derive(Default)]
struct User;

impl Decode for User {
    fn decode(&mut self, value: Value<'_>, context: &mut Context) {
        if value.kind() != Kind::Object {
            context.wrong_type::<Self>(value);
        }
    }

    fn go_type() -> String {
        "Userinfo".to_owned()
    }
}

/// Characters that stay as they are in each part of a URI, besides letters and digits.
const IN_PATH: &[u8] = b"-_.~$&+,/:;=@";
const IN_HOST: &[u8] = b"-_.~!$&'()*+,;=:[]<>\"";
const IN_FRAGMENT: &[u8] = b"-_.~$&+,/:;=?@!()*";

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        if !self.scheme.is_empty() {
            text += &self.scheme;
            text.push(':');
        }
        if self.opaque.is_empty() {
            self.push_hierarchy(&mut text);
        } else {
            text += &self.opaque;
        }
        if self.force_query || !self.raw_query.is_empty() {
            text.push('?');
            text += &self.raw_query;
        }
        if !self.fragment.is_empty() {
            text.push('#');
            text += &raw_form(&self.fragment, &self.raw_fragment, IN_FRAGMENT)
                .unwrap_or_else(|| escape(&self.fragment, IN_FRAGMENT));
        }
        f.write_str(&text)
    }
}

impl Url {
    /// Host and path.
    fn push_hierarchy(&self, text: &mut String) {
        let has_user = self.user.is_some();
        let has_authority = !self.scheme.is_empty() || !self.host.is_empty() || has_user;
        let is_omitted = self.omit_host && self.host.is_empty() && !has_user;
        if has_authority && !is_omitted {
            if !self.host.is_empty() || !self.path.is_empty() || has_user {
                text.push_str("//");
            }
            if has_user {
                text.push('@');
            }
            *text += &escape(&self.host, IN_HOST);
        }
        let path = match raw_form(&self.path, &self.raw_path, IN_PATH) {
            Some(raw) => raw,
            None if self.path == "*" => "*".to_owned(),
            None => escape(&self.path, IN_PATH),
        };
        if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
            text.push('/');
        }
        // A first segment with a colon would read as a scheme (RFC 3986, section 4.2).
        if text.is_empty() && path.split('/').next().is_some_and(|segment| segment.contains(':')) {
            text.push_str("./");
        }
        *text += &path;
    }
}

/// The given raw form, if it is one of this text.
fn raw_form(text: &str, raw: &str, allowed: &[u8]) -> Option<String> {
    let is_raw_form = !raw.is_empty()
        && raw.bytes().all(|byte| is_plain(byte, allowed) || b"!$&'()*+,;=:@[]%".contains(&byte))
        && unescape(raw).is_some_and(|bytes| bytes == text.as_bytes());
    is_raw_form.then(|| raw.to_owned())
}

fn is_plain(byte: u8, allowed: &[u8]) -> bool {
    byte.is_ascii_alphanumeric() || allowed.contains(&byte)
}

fn escape(text: &str, allowed: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if is_plain(byte, allowed) {
            escaped.push(char::from(byte));
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    escaped
}

/// `None` if a percent sign does not start a pair of hex digits.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair = [rest.next()?, rest.next()?];
            bytes.extend(hex::decode(pair).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::Url;
    use crate::gojson;

    #[test]
    fn parts_print_as_go_prints_them() {
        for (json, text) in [
            (r#"{"Scheme":"https","Host":"a.test","Path":"/x y"}"#, "https://a.test/x%20y"),
            (r#"{"Scheme":"spiffe","Host":"trust","Path":"w","RawQuery":"a=b"}"#, "spiffe://trust/w?a=b"),
            (r#"{"Scheme":"urn","Opaque":"uuid:1"}"#, "urn:uuid:1"),
            (r#"{"Path":"a:b"}"#, "./a:b"),
            (r#"{"Scheme":"file","Path":"/etc"}"#, "file:///etc"),
            (r#"{"Scheme":"file","Path":"/etc","OmitHost":true}"#, "file:/etc"),
            (r#"{"Scheme":"h","Host":"a","Path":"/a/b","RawPath":"/a%2Fb"}"#, "h://a/a%2Fb"),
            (r#"{"Scheme":"h","Host":"a","Path":"/ü","Fragment":"f g","User":{}}"#, "h://@a/%C3%BC#f%20g"),
            (r#"{"ForceQuery":true}"#, "?"),
            (r#"{"Path":"*"}"#, "*"),
        ] {
            assert_eq!(gojson::from_slice::<Url>(json.as_bytes()).unwrap().value.to_string(), text);
        }
    }
}
