//! The manifest as it is in force after package updates: its text, with the security versions that were raised since.
//!
//! The text is patched and not written anew, so that everything else in it stays as its authors wrote it: fields this
//! program does not know, order, numbers, white space.

use std::collections::BTreeMap;

use crate::gojson::decode::same_field;
use crate::gojson::{self, Kind, Value};

/// The raw manifest with these security versions in place of its own. Packages that it does not define are left out.
///
/// # Errors
/// If it is not JSON.
pub fn with_security_versions(raw: &[u8], versions: &BTreeMap<String, u64>) -> Result<Vec<u8>, gojson::Error> {
    let manifest = gojson::whole(raw)?;
    let mut edits: Vec<Edit> = versions
        .iter()
        .filter_map(|(name, version)| package(manifest, name).and_then(|package| edit(package, *version)))
        .collect();
    // From the end, so that offsets stay true.
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.start));
    let mut text = raw.to_vec();
    for edit in edits {
        text.splice(edit.start..edit.end, edit.text.into_bytes());
    }
    Ok(text)
}

/// A piece of text put in place of another.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// The definition that counts: names of packages are compared exactly, and the last one wins.
fn package<'a>(manifest: Value<'a>, name: &str) -> Option<Value<'a>> {
    let sections = manifest.entries().filter(|(key, _)| same_field(key, "Packages")).map(|(_, section)| section);
    sections.flat_map(Value::entries).filter(|(key, _)| key == name).map(|(_, package)| package).last()
}

fn edit(package: Value<'_>, version: u64) -> Option<Edit> {
    let replace =
        |value: Value<'_>, text| Edit { start: value.offset(), end: value.offset() + value.text().len(), text };
    if package.kind() == Kind::Null {
        return Some(replace(package, format!("{{\"SecurityVersion\": {version}}}")));
    }
    let given = package
        .entries()
        .filter(|(key, value)| same_field(key, "SecurityVersion") && value.kind() == Kind::Number)
        .map(|(_, value)| value)
        .last();
    if let Some(value) = given {
        let is_same = value.number() == Some(version.to_string().as_str());
        return (!is_same).then(|| replace(value, version.to_string()));
    }
    // A new first field, indented as the one it comes before.
    let inner = package.text().strip_prefix(b"{")?;
    let indent: String =
        inner.iter().take_while(|byte| byte.is_ascii_whitespace()).map(|byte| char::from(*byte)).collect();
    let start = package.offset() + 1;
    let text = match package.entries().next() {
        Some(_) => format!("{indent}\"SecurityVersion\": {version},"),
        None => format!("\"SecurityVersion\": {version}"),
    };
    Some(Edit { start, end: start, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(raw: &str, versions: &[(&str, u64)]) -> String {
        let versions = versions.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
        String::from_utf8(with_security_versions(raw.as_bytes(), &versions).unwrap()).unwrap()
    }

    #[test]
    fn only_the_version_changes_and_everything_else_stays_as_it_was_written() {
        let raw =
            "{ \"x-unknown\": 1.50,\n \"packages\": {\"a\": {\"securityversion\": 3, \"SignerID\":\"\\u0061\"} } }\n";
        let expected = raw.replace(": 3,", ": 12,");
        assert_eq!(patched(raw, &[("a", 12), ("renamed", 1)]), expected);
        assert_eq!(patched(raw, &[]), raw);
        assert_eq!(patched(raw, &[("a", 3)]), raw);
    }

    #[test]
    fn a_package_without_a_version_gets_one() {
        let raw =
            "{\"Packages\":{\"a\":{},\"b\":{\n  \"Debug\": true\n},\"c\":null,\"d\":{ \"SecurityVersion\":null }}}";
        assert_eq!(
            patched(raw, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]),
            "{\"Packages\":{\"a\":{\"SecurityVersion\": 1},\"b\":{\n  \"SecurityVersion\": 2,\n  \"Debug\": true\n},\
             \"c\":{\"SecurityVersion\": 3},\"d\":{ \"SecurityVersion\": 4, \"SecurityVersion\":null }}}"
        );
    }

    #[test]
    fn of_definitions_given_twice_the_last_one_counts() {
        let raw = r#"{"Packages":{"a":{"SecurityVersion":1},"a":{"SecurityVersion":2,"SecurityVersion":3}},"Packages":{"b":{}}}"#;
        let expected = raw.replace(":3}", ":9}");
        assert_eq!(patched(raw, &[("a", 9)]), expected);
    }

    #[test]
    fn the_patched_manifest_decodes_to_the_new_versions() {
        for raw in [r#"{"Packages":{"a":{"SecurityVersion":1,"securityVersion":2}}}"#, r#"{"Packages":{"a":null}}"#] {
            let manifest = crate::Manifest::decode(patched(raw, &[("a", 7)]).as_bytes()).unwrap();
            assert_eq!(manifest.packages["a"].security_version, Some(7));
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(with_security_versions(b"{", &BTreeMap::new()).is_err());
    }
}
