//! Query parameters, read as Go's `net/url` reads them: pairs with a semicolon or a broken escape are dropped.

use super::path::percent_decode;

/// The values of one parameter, in order. Names are case-sensitive.
pub(in crate::server) fn values(query: &str, name: &str) -> Vec<String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key)? == name).then(|| unescape(value))?
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    let bytes = percent_decode(&text.replace('+', " "))?;
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn values_come_in_order_and_decoded() {
        assert_eq!(values("s=a&x=1&s=b+c%26d&s", "s"), ["a", "b c&d", ""]);
    }

    #[test]
    fn names_are_case_sensitive() {
        assert!(values("S=a", "s").is_empty());
    }

    #[test]
    fn pairs_with_semicolons_or_broken_escapes_are_dropped() {
        assert_eq!(values("s=a;b&s=%zz&s=c", "s"), ["c"]);
    }
}
