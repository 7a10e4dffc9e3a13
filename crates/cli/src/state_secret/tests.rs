use super::*;

/// As `kubectl get secret -o yaml` writes it.
const OF_KUBECTL: &str = r#"apiVersion: v1
data:
  other: MTIz
  sealed_data: TVJTRUFMDQo=
  sealed_key: MTIzNA==
kind: Secret
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"v1"}
    marblerun/manifest: "123456789e12"
    marblerun/sequence: "7"
  creationTimestamp: "2026-11-30T00:00:00Z"
  labels:
    mine: "true"
  managedFields:
  - apiVersion: v1
    fieldsType: FieldsV1
  name: marblerun-state
  namespace: elsewhere
  resourceVersion: "1234"
  uid: 0b7b2f6e-0000-4000-8000-000000000000
type: Opaque
"#;

fn read(text: &str) -> Result<StateSecret> {
    read::secret(Path::new("b.yaml"), read::documents(text).unwrap())
}

#[test]
fn what_kubectl_writes_is_read_without_what_the_api_server_added() {
    let secret = read(OF_KUBECTL).unwrap();
    assert_eq!((secret.name.as_str(), secret.namespace.as_deref()), ("marblerun-state", Some("elsewhere")));
    assert_eq!(secret.data["sealed_data"], b"MRSEAL\r\n");
    assert_eq!(secret.data["other"], b"123");
    let names: Vec<&str> = secret.annotations.keys().map(String::as_str).collect();
    assert_eq!(names, ["marblerun/manifest", "marblerun/sequence"]);
    let written = secret.to_yaml(&["for people".to_owned()]);
    assert!(written.starts_with("# for people\napiVersion: v1\n"), "{written}");
    for added in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "last-applied"] {
        assert!(!written.contains(added), "{added}: {written}");
    }
    assert!(written.contains(r#""marblerun/manifest": "123456789e12""#), "text stays text: {written}");
    assert_eq!(read(&written).unwrap(), secret);
}

#[test]
fn json_and_lists_do_as_well() {
    let json = r#"{"kind":"Secret","metadata":{"name":"s"},"data":{"sealed_data":"AQI=","empty":""}}"#;
    assert_eq!(read(json).unwrap().data["sealed_data"], [1, 2]);
    let list = format!(r#"{{"kind":"List","items":[{json},{{"kind":"ConfigMap","metadata":{{"name":"m"}}}}]}}"#);
    assert_eq!(read(&list).unwrap().name, "s");
}

#[test]
fn of_all_secrets_of_a_namespace_the_state_is_found_and_its_archives_are_not_it() {
    let archive = OF_KUBECTL.replace("name: marblerun-state", "name: marblerun-state-archive-3");
    let part = "kind: Secret\nmetadata: {name: marblerun-state-b2}\ndata: {part: AQ==}\n";
    let token = "kind: Secret\nmetadata: {name: token}\ndata: {token: AQ==}\n";
    let all = format!("{archive}---\n{part}---\n{token}---\n{OF_KUBECTL}");
    let secret = read(&all).unwrap();
    assert_eq!(secret.name, "marblerun-state");
    assert_eq!(secret.parts, BTreeMap::from([(Part { bank: 'b', number: 2 }, vec![1])]));
    let alone = read(&format!("{archive}---\n{part}")).unwrap();
    assert_eq!(
        (alone.name.as_str(), alone.parts.len()),
        ("marblerun-state-archive-3", 1),
        "an archive alone is a state"
    );
}

#[test]
fn several_states_none_and_values_that_are_no_base64_are_told() {
    let other = OF_KUBECTL.replace("name: marblerun-state", "name: another");
    let error = read(&format!("{OF_KUBECTL}---\n{other}")).unwrap_err().to_string();
    assert!(error.contains("several states (marblerun-state, another)"), "{error}");
    let error = read("kind: Secret\nmetadata: {name: s}\ndata: {sealed_data: ''}\n").unwrap_err().to_string();
    assert!(error.contains("no Secret with a sealed_data"), "{error}");
    let error = read("kind: Secret\nmetadata: {name: s}\ndata: {sealed_data: '*'}\n").unwrap_err();
    assert!(format!("{error:#}").contains("value sealed_data of Secret s is not base64"), "{error:#}");
}

#[test]
fn parts_are_written_before_the_state_that_consists_of_them() {
    let parts = BTreeMap::from([(Part { bank: 'a', number: 1 }, vec![1]), (Part { bank: 'a', number: 2 }, vec![2])]);
    let data = BTreeMap::from([("sealed_data".to_owned(), vec![9]), ("parts".to_owned(), vec![8])]);
    let secret = StateSecret { name: "marblerun-state".to_owned(), data, parts, ..StateSecret::default() };
    let yaml = secret.to_yaml(&[]);
    let at = |text: &str| yaml.find(text).unwrap();
    assert!(
        at("marblerun-state-a1") < at("marblerun-state-a2") && at("marblerun-state-a2") < at("sealed_data"),
        "{yaml}"
    );
    assert_eq!(read(&yaml).unwrap(), secret);
}

#[test]
fn a_sealed_file_is_never_taken_for_text() {
    let dir = tempfile::tempdir().unwrap();
    let find = |bytes: &[u8]| {
        let path = dir.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        Source::find(&path)
    };
    for bytes in [&b"MRSEAL\r\nkind: Secret"[..], b"\x04\0\0\0nullkind: Secret", b"", b"junk", b"a: b\n"] {
        assert!(matches!(find(bytes), Ok(Source::File(_))), "{bytes:?}");
    }
    assert!(find(b"kind: Secret\nmetadata: {name: s}\n").is_err(), "it is a Secret, and no state");
    assert!(matches!(Source::find(dir.path()), Ok(Source::File(_))));
    assert!(matches!(Source::find(&dir.path().join("none")), Ok(Source::File(_))));
}
