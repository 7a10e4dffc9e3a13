use super::*;

const ADMIN: &str = include_str!("../../tests/fixtures/admin1_cert.pem");

fn manifest(users: &str, roles: &str) -> Result<ActiveManifest, String> {
    let raw = format!("{{\"Users\":{users},\"Roles\":{roles}}}");
    ActiveManifest::new(raw.into(), vec![1]).map_err(|error| error.to_string())
}

fn user(certificate: &str, roles: &str) -> String {
    format!("{{\"u\":{{\"Certificate\":{},\"Roles\":{roles}}}}}", serde_json::json!(certificate))
}

const ROLES: &str = r#"{
    "reader": {"ResourceType": "Secrets", "ResourceNames": ["a", "b"], "Actions": ["ReadSecret"]},
    "writer": {"ResourceType": "Secrets", "ResourceNames": ["b", "c"], "Actions": ["WRITESECRET", "readsecret"]},
    "owner": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]}
}"#;

#[test]
fn roles_unite_to_permissions() {
    let active = manifest(&user(ADMIN, r#"["reader", "writer", "owner", "owner"]"#), ROLES).unwrap();
    let user = &active.users["u"];
    let all = ["a", "b", "c"];
    assert!(user.is_allowed(Permission::ReadSecret, all.into_iter()));
    assert!(user.is_allowed(Permission::WriteSecret, ["b", "c"].into_iter()));
    assert!(!user.is_allowed(Permission::WriteSecret, all.into_iter()));
    assert!(user.is_allowed(Permission::UpdateManifest, std::iter::empty()));
    assert!(!user.is_allowed(Permission::UpdateManifest, ["a"].into_iter()));
    assert!(!user.is_allowed(Permission::UpdateSecurityVersion, std::iter::empty()));
}

#[test]
fn a_user_without_roles_is_known_and_may_nothing() {
    let active = manifest(&user(ADMIN, "null"), "{}").unwrap();
    assert!(active.users["u"].permissions.is_empty());
    assert!(active.user_by_certificate(&active.users["u"].certificate).is_some());
    assert!(active.user_by_certificate(&[]).is_none());
}

#[test]
fn the_first_pem_block_of_any_label_is_the_certificate() {
    // The fixture is an X.509 version 1 certificate.
    let plain = manifest(&user(ADMIN, "[]"), "{}").unwrap().users["u"].certificate.clone();
    let labelled = format!("text\n{}\n{ADMIN}", ADMIN.replace("CERTIFICATE", "ANYTHING"));
    assert_eq!(manifest(&user(&labelled, "[]"), "{}").unwrap().users["u"].certificate, plain);
}

#[test]
fn an_unreadable_user_is_named() {
    let key = include_str!("../../tests/fixtures/recovery1_pub.pem");
    for certificate in ["", "x", key, &ADMIN.replace("MII", "AII")] {
        let error = manifest(&user(certificate, "[]"), "{}").unwrap_err();
        assert!(error.starts_with("certificate of user \"u\": "), "{error}");
    }
    let error = manifest(&user(ADMIN, r#"["ghost"]"#), ROLES).unwrap_err();
    assert!(error.contains("\"ghost\""), "{error}");
    let error = manifest(&user(ADMIN, r#"["r"]"#), r#"{"r":{"Actions":["fly"]}}"#).unwrap_err();
    assert!(error.contains("\"fly\""), "{error}");
}

#[test]
fn the_fingerprint_is_that_of_the_bytes() {
    let one = ActiveManifest::new("{}".into(), vec![]).unwrap();
    let other = ActiveManifest::new("{}\n".into(), vec![]).unwrap();
    let hex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(hex::encode(one.fingerprint), hex);
    assert_ne!(one.fingerprint, other.fingerprint);
}

#[test]
fn permissions_are_ordered_by_name() {
    let names = [
        Permission::ReadSecret,
        Permission::UpdateManifest,
        Permission::UpdateSecurityVersion,
        Permission::WriteSecret,
    ];
    assert!(names.is_sorted() && names.map(Permission::as_str).is_sorted());
    assert!(
        names
            .iter()
            .all(|permission| Permission::from_action(&permission.as_str().to_uppercase()) == Some(*permission))
    );
}
