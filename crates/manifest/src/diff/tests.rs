use proptest::prelude::*;

use super::*;

fn decode(json: &str) -> Manifest {
    Manifest::decode(json.as_bytes()).unwrap()
}

fn changes(old: &str, new: &str) -> Vec<String> {
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let changes = diff(&decode(old), &decode(new));
    changes.iter().map(|change| format!("{}: {} -> {}", change.path, show(&change.old), show(&change.new))).collect()
}

#[test]
fn changes_are_told_by_path_with_old_and_new() {
    assert_eq!(
        changes(
            r#"{"Packages":{"a":{"SecurityVersion":1,"Debug":true}},"Config":{"FeatureGates":["x"]},"Roles":{"r":{}}}"#,
            r#"{"Packages":{"a":{"SecurityVersion":2},"b":{"ProductID":0}},"Config":{"FeatureGates":["x","y"]}}"#,
        ),
        [
            r#"Config.FeatureGates: ["x"] -> ["x", "y"]"#,
            "Packages.a.Debug: true -> -",
            "Packages.a.SecurityVersion: 1 -> 2",
            "Packages.b.ProductID: - -> 0",
            "Roles.r: defined -> -",
        ]
    );
    assert_eq!(
        changes(
            r#"{"TLS":{"t":{"Incoming":[{"Port":"1"}]}},"Secrets":{"s":{"Cert":{"DNSNames":["a"]}}}}"#,
            r#"{"TLS":{"t":{"Incoming":[{"Port":"2"}]}},"Secrets":{"s":{"Cert":{"DNSNames":[]}}}}"#,
        ),
        [r#"Secrets.s.Cert.DNSNames: ["a"] -> []"#, r#"TLS.t.Incoming[0].Port: "1" -> "2""#]
    );
}

#[test]
fn manifests_that_say_the_same_do_not_differ() {
    let a = r#"{"Marbles":{"m":{"Parameters":{"Env":{"A":"x"}},"TLS":[]}},"Users":null,"Extra":1}"#;
    let b = r#"{"marbles":{"m":{"Parameters":{"Env":{"A":{"Data":"x","Encoding":"string"}}}}}}"#;
    assert_eq!(changes(a, b), Vec::<String>::new());
}

#[test]
fn values_of_secrets_are_compared_and_never_shown() {
    let manifest = |value: &str| format!(r#"{{"Secrets":{{"s":{{"Private":"{value}","Public":"{value}"}}}}}}"#);
    assert_eq!(
        changes(&manifest("cGxhbnRlZA=="), &manifest("cGxhbnRlZDI=")),
        ["Secrets.s.Private: a secret value -> a secret value", "Secrets.s.Public: a secret value -> a secret value"]
    );
}

#[test]
fn long_contents_are_told_by_length_and_digest() {
    let manifest = |text: &str| format!(r#"{{"Marbles":{{"m":{{"Parameters":{{"Files":{{"/f":"{text}"}}}}}}}}}}"#);
    let found = changes(&manifest("short"), &manifest(&"long".repeat(100)));
    assert_eq!(found, [r#"Marbles.m.Parameters.Files."/f".Data: "short" -> 400 bytes (SHA-256 0184fa9c...)"#]);
}

proptest! {
    #[test]
    fn two_manifests_differ_exactly_if_their_difference_is_not_empty(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let raw = include_bytes!("../../tests/fixtures/manifests/maximal.json");
        let mut other = raw.to_vec();
        let at = at.index(other.len());
        other[at] = byte;
        let old = Manifest::decode(raw).unwrap();
        if let Ok(new) = Manifest::decode(&other) {
            // Whether an empty list is given at all is kept for the stored form, and no difference to people.
            let mut comparable = new.clone();
            for (name, package) in &mut comparable.packages {
                if let Some(before) = old.packages.get(name) {
                    package.tcb_statuses_given = before.tcb_statuses_given;
                    package.advisories_given = before.advisories_given;
                }
            }
            prop_assert_eq!(diff(&old, &new).is_empty(), old == comparable);
        }
        prop_assert!(diff(&old, &old).is_empty());
    }
}
