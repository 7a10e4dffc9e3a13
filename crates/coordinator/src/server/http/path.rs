//! From the request target to the path that routes are matched with.
//!
//! Percent-encoding is decoded once, a path that is not in clean form is redirected to the one that is,
//! and everything else matches exactly: upstream's clients rely on 405 for each path that is not a route.

use http::{Method, Uri};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A decoded path.
    Path(String),
    /// The same resource under its clean path (with query).
    Redirect(String),
    /// `OPTIONS *`: the server as a whole.
    Server,
    /// No path at all, or one with broken percent-encoding.
    Malformed,
}

impl Target {
    /// Reads the target of a request.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        if path == "*" {
            return if method == Method::OPTIONS { Self::Server } else { Self::Malformed };
        }
        let Some(decoded) = percent_decode(path).and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Self::Malformed;
        };
        if method == Method::CONNECT {
            return Self::Path(decoded);
        }
        let clean = clean(path);
        if clean != path {
            return Self::Redirect(match uri.query() {
                Some(query) => format!("{clean}?{query}"),
                None => clean,
            });
        }
        Self::Path(decoded)
    }
}

/// Removes empty, `.` and `..` segments; keeps a final slash.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

/// Decodes `%XX`. `None` if an escape is broken.
pub(super) fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let (high, low) = (digit()?, digit()?);
        decoded.push(high << 4 | low);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, uri: &str) -> Target {
        Target::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn percent_encoded_paths_match_their_decoded_form() {
        assert_eq!(target(Method::GET, "/%73tatus"), Target::Path("/status".into()));
        assert_eq!(target(Method::GET, "/status?x=%zz"), Target::Path("/status".into()));
    }

    #[test]
    fn unclean_paths_are_redirected_with_their_query() {
        assert_eq!(target(Method::GET, "//status"), Target::Redirect("/status".into()));
        assert_eq!(target(Method::POST, "/api/../status?a=b"), Target::Redirect("/status?a=b".into()));
        assert_eq!(target(Method::GET, "/a/./b//c/"), Target::Redirect("/a/b/c/".into()));
        assert_eq!(target(Method::GET, "/../.."), Target::Redirect("/".into()));
    }

    #[test]
    fn a_redirect_never_leads_to_another_host() {
        for uri in ["//evil.example/", "///evil.example", "/.//evil.example", "/%2f/..//evil.example"] {
            let Target::Redirect(location) = target(Method::GET, &format!("https://host{uri}")) else {
                panic!("{uri}")
            };
            assert!(location.starts_with('/') && !location.starts_with("//"), "{location}");
        }
    }

    #[test]
    fn a_final_slash_is_part_of_the_path() {
        assert_eq!(target(Method::GET, "/api/v2/status/"), Target::Path("/api/v2/status/".into()));
        assert_eq!(target(Method::GET, "/"), Target::Path("/".into()));
    }

    #[test]
    fn broken_escapes_and_stray_stars_are_malformed() {
        assert_eq!(target(Method::GET, "/%zz"), Target::Malformed);
        assert_eq!(target(Method::GET, "/%f"), Target::Malformed);
        assert_eq!(target(Method::GET, "/%ff"), Target::Malformed);
        assert_eq!(target(Method::GET, "*"), Target::Malformed);
        assert_eq!(target(Method::OPTIONS, "*"), Target::Server);
    }

    proptest::proptest! {
        #[test]
        fn any_target_is_read_without_a_panic_and_redirects_settle(path in "[/.%a-f0-9]{0,40}") {
            let Ok(uri) = format!("/{path}").parse::<Uri>() else { return Ok(()) };
            if let Target::Redirect(location) = Target::of(&Method::GET, &uri) {
                let again = Target::of(&Method::GET, &location.parse().unwrap());
                proptest::prop_assert!(matches!(again, Target::Path(_) | Target::Malformed), "{location}");
            }
        }
    }
}
