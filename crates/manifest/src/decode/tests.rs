//! What decodes, and to what. The vectors of `tests/fixtures` add the whole-manifest cases.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use crate::Manifest;
use crate::gojson::NoteKind;
use crate::model::{CertFields, CertTemplate, Encoding, File};

fn decode(json: &str) -> Manifest {
    Manifest::decode(json.as_bytes()).unwrap()
}

fn refusal(json: &str) -> String {
    Manifest::decode(json.as_bytes()).unwrap_err().to_string()
}

fn env(json: &str) -> Result<File, String> {
    let json = format!(r#"{{"Marbles":{{"m":{{"Parameters":{{"Env":{{"X":{json}}}}}}}}}}}"#);
    let manifest = Manifest::decode(json.as_bytes()).map_err(|error| error.to_string())?;
    Ok(manifest.marbles["m"].parameters.env["X"].clone())
}

fn template(json: &str) -> Result<Option<CertTemplate>, String> {
    let json = format!(r#"{{"Secrets":{{"s":{{"Cert":{json}}}}}}}"#);
    let manifest = Manifest::decode(json.as_bytes()).map_err(|error| error.to_string())?;
    Ok(manifest.secrets["s"].cert.clone())
}

fn fields(json: &str) -> CertFields {
    match template(json) {
        Ok(Some(CertTemplate::Fields(fields))) => *fields,
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn every_field_of_the_largest_manifest_arrives() {
    let raw = include_bytes!("../../tests/fixtures/manifests/maximal.json");
    let manifest = Manifest::decode(raw).unwrap();
    let store = &manifest.packages["store"];
    assert_eq!((store.product_id, store.security_version, store.debug), (Some(7), Some(2), false));
    assert_eq!(store.accepted_tcb_statuses.len(), 3);
    assert!(store.advisories_given && !manifest.packages["edge"].advisories_given);
    let rack = &manifest.infrastructures["rack1"];
    assert_eq!((rack.qe_svn, rack.pce_svn), (Some(3), Some(11)));
    assert_eq!(rack.cpu_svn.as_deref(), Some(&(0..16).collect::<Vec<u8>>()[..]));
    assert_eq!(rack.root_ca.as_deref(), Some(&[48, 130, 1][..]));
    let marble = &manifest.marbles["store"];
    assert_eq!((marble.package.as_str(), marble.max_activations), ("store", 2));
    assert_eq!(marble.parameters.argv, ["store", "--port", "7000"]);
    assert_eq!(marble.tls, ["inner", "outer"]);
    assert_eq!(marble.parameters.files["/run/app/blob"].data, [0, 1, 255]);
    let blob2 = File { data: b"\x00\xff{{".to_vec(), encoding: Encoding::Hex, no_templates: true };
    assert_eq!(marble.parameters.files["/run/app/blob2"], blob2);
    assert!(manifest.marbles["lab"].disable_secret_binding);
    let api = fields_of(&manifest, "apiCert");
    assert_eq!(api.subject.common_name, "api.example.test");
    assert_eq!(api.dns_names.as_deref(), Some(&["api.example.test".to_owned(), "localhost".to_owned()][..]));
    assert_eq!(api.ip_addresses, Some(vec![IpAddr::from([192, 0, 2, 10])]));
    assert_eq!((api.key_usage, api.ext_key_usage.clone()), (5, Some(vec![1])));
    assert_eq!(fields_of(&manifest, "nodeCert").not_after, Some(2_209_086_245));
    assert!(manifest.secrets["token"].user_defined);
    assert_eq!(manifest.users["alice"].roles, ["owner", "keys"]);
    assert_eq!(manifest.roles["svn"].resource_type, "Packages");
    assert!(manifest.recovery_keys["rec2"].starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert_eq!(manifest.tls["inner"].outgoing[0].addr, "store.example.test");
    assert!(manifest.tls["outer"].incoming[0].disable_client_auth);
    assert_eq!((manifest.config.update_threshold, manifest.config.recovery_threshold), (2, 2));
    assert_eq!(manifest.config.seal_mode, "ProductKey");
}

fn fields_of<'m>(manifest: &'m Manifest, secret: &str) -> &'m CertFields {
    match &manifest.secrets[secret].cert {
        Some(CertTemplate::Fields(fields)) => fields,
        other => panic!("{other:?}"),
    }
}

#[test]
fn content_is_text_base64_or_hex() {
    assert_eq!(env(r#""a{{b""#).unwrap().data, b"a{{b");
    assert_eq!(env(r#"{"Data":"x"}"#).unwrap().encoding, Encoding::String);
    assert_eq!(env(r#"{"data":"eA==","ENCODING":"Base64"}"#).unwrap().data, b"x");
    assert_eq!(env(r#"{"Data":"0aFF","Encoding":"HEX","NoTemplates":true}"#).unwrap().data, [10, 255]);
    for (json, text) in [
        (r#"{"Data":"x","Encoding":"utf8"}"#, "unknown encoding type: utf8"),
        (r#"{"Data":"x","Encoding":" hex"}"#, "unknown encoding type:  hex"),
        (r#"{"Data":"0g","Encoding":"hex"}"#, "encoding/hex: invalid byte: U+0067 'g'"),
        (r#"{"Data":"000","Encoding":"hex"}"#, "encoding/hex: odd length hex string"),
        (r#"{"Data":"x-==","Encoding":"base64"}"#, "illegal base64 data at input byte 1"),
    ] {
        assert_eq!(env(json).unwrap_err(), text);
    }
    for json in ["null", "7", "true", "[]", r#"{"Data":7}"#] {
        assert!(env(json).is_err(), "{json}");
    }
}

#[test]
fn broken_content_is_reported_before_an_earlier_wrong_type() {
    let json = r#"{"Config":{"SealMode":7},"Marbles":{"m":{"Parameters":{"Files":{"/f":null}}}}}"#;
    let error = Manifest::decode(json.as_bytes()).unwrap_err();
    assert_eq!(error.first().path(), r#"Marbles.m.Parameters.Files."/f""#);
    assert_eq!(error.all().len(), 2);
}

#[test]
fn certificate_templates_are_objects_or_certificates() {
    assert_eq!(template("null"), Ok(None));
    assert_eq!(template(r#""no base64""#), Ok(None));
    assert_eq!(template(r#""""#).unwrap_err(), "x509: malformed certificate");
    assert_eq!(template(r#""AAAA""#).unwrap_err(), "x509: malformed certificate");
    for wrong in ["7", "true", "[]"] {
        assert!(template(wrong).is_err());
    }
    let all = fields(
        r#"{"subject":{"ExtraNames":[{"Type":[2,5,4,42],"Value":"G"}],"Names":[{"Type":[1],"Value":7}]},
            "URIs":[{"Scheme":"spiffe","Host":"h","Path":"/p"}],"Policies":["1.2.3"],"IPAddresses":["::ffff:1.2.3.4",""],
            "PermittedIPRanges":[{"IP":"10.0.0.0","Mask":"/wAAAA=="}],"UnknownExtKeyUsage":[[1,2,3]],
            "ExtraExtensions":[{"Id":[1,2],"Critical":true,"Value":"AQI="}],"SerialNumber":-5,"PublicKey":{"x":[]},
            "NotBefore":"2020-01-01T00:00:00Z","DNSNames":[],"NotAfter":"0001-01-01T00:00:00Z"}"#,
    );
    assert_eq!(all.subject.extra_names, [(vec![2, 5, 4, 42], "G".to_owned())]);
    assert_eq!(all.uris, ["spiffe://h/p"]);
    assert_eq!(all.policies, ["1.2.3"]);
    assert_eq!(all.ip_addresses, Some(vec![IpAddr::from([1, 2, 3, 4])]));
    assert_eq!(all.permitted_ip_ranges, [(IpAddr::from([10, 0, 0, 0]), vec![255, 0, 0, 0])]);
    assert_eq!(all.unknown_ext_key_usage, [[1, 2, 3]]);
    assert!(all.extra_extensions[0].critical);
    assert_eq!((all.dns_names, all.not_after), (Some(vec![]), None));
}

#[test]
fn fields_without_effect_must_still_have_their_type() {
    for (json, text) in [
        (r#"{"SerialNumber":"1"}"#, r#"math/big: cannot unmarshal "\"1\"" into a *big.Int"#),
        (r#"{"SerialNumber":1.5}"#, r#"math/big: cannot unmarshal "1.5" into a *big.Int"#),
        (r#"{"IPAddresses":["nope"]}"#, "invalid IP address: nope"),
        (r#"{"IPAddresses":["01.2.3.4"]}"#, "invalid IP address: 01.2.3.4"),
        (r#"{"Policies":["1"]}"#, "invalid oid"),
        (r#"{"Policies":["1.40"]}"#, "invalid oid"),
        (r#"{"Policies":["3.1"]}"#, "invalid oid"),
    ] {
        assert_eq!(template(json).unwrap_err(), text);
    }
    for json in [
        r#"{"NotBefore":"yesterday"}"#,
        r#"{"Version":"3"}"#,
        r#"{"BasicConstraintsValid":1}"#,
        r#"{"Issuer":[]}"#,
        r#"{"RawSubject":true}"#,
        r#"{"PolicyMappings":[{"IssuerDomainPolicy":"x"}]}"#,
        r#"{"URIs":["https://a"]}"#,
        r#"{"URIs":[null]}"#,
        r#"{"ExcludedIPRanges":[{"IP":"10.0.0.0"}]}"#,
        r#"{"Subject":{"Country":"DE"}}"#,
        r#"{"KeyUsage":"5"}"#,
    ] {
        assert!(template(json).is_err(), "{json}");
    }
}

#[test]
fn an_object_given_twice_merges() {
    let json = r#"{"Secrets":{"s":{"Cert":{"IsCA":true},"Cert":{"KeyUsage":5}}}}"#;
    let fields = fields_of(&decode(json), "s").clone();
    assert!(fields.is_ca && fields.key_usage == 5);
    assert_eq!(
        refusal(r#"{"Packages":[]}"#),
        "json: cannot unmarshal array into Go struct field Manifest.Packages of type map[string]Package"
    );
}

#[test]
fn typos_are_noted_where_they_are() {
    let json = r#"{"Config":{"UpdateTreshold":1},"Secrets":{"a":{"Cert":"%"},"b":{"Cert":{"Issuer":{}}}}}"#;
    let notes = Manifest::decode_with_notes(json.as_bytes()).unwrap().notes;
    let noted: BTreeMap<&str, &NoteKind> = notes.iter().map(|note| (note.path.as_str(), &note.kind)).collect();
    assert_eq!(noted["Config.UpdateTreshold"], &NoteKind::UnknownField(Some("UpdateThreshold")));
    assert_eq!(noted["Secrets.a.Cert"], &NoteKind::Remark("cert-not-base64"));
    assert_eq!(noted["Secrets.b.Cert.Issuer"], &NoteKind::Remark("cert-field-without-effect"));
}

/// JSON types, each with a sample.
const SAMPLES: [(&str, &str); 8] = [
    ("null", "null"),
    ("bool", "true"),
    ("integer", "7"),
    ("fraction", "7.5"),
    ("string", "\"YWJj\""),
    ("list", "[]"),
    ("strings", "[\"a\"]"),
    ("object", "{}"),
];

/// Where a field stands, and which of the samples it takes besides `null`.
const FIELDS: &[(&str, &[&str])] = &[
    (r#"{"Packages":@}"#, &["object"]),
    (r#"{"Packages":{"p":{"Debug":@}}}"#, &["bool"]),
    (r#"{"Packages":{"p":{"UniqueID":@}}}"#, &["string"]),
    (r#"{"Packages":{"p":{"SignerID":@}}}"#, &["string"]),
    (r#"{"Packages":{"p":{"ProductID":@}}}"#, &["integer"]),
    (r#"{"Packages":{"p":{"SecurityVersion":@}}}"#, &["integer"]),
    (r#"{"Packages":{"p":{"AcceptedTCBStatuses":@}}}"#, &["list", "strings"]),
    (r#"{"Packages":{"p":{"AcceptedAdvisories":@}}}"#, &["list", "strings"]),
    (r#"{"Packages":{"p":@}}"#, &["object"]),
    (r#"{"Infrastructures":{"i":{"CPUSVN":@}}}"#, &["string", "list"]),
    (r#"{"Infrastructures":{"i":{"RootCA":@}}}"#, &["string", "list"]),
    (r#"{"Infrastructures":{"i":{"QESVN":@}}}"#, &["integer"]),
    (r#"{"Infrastructures":{"i":{"PCESVN":@}}}"#, &["integer"]),
    (r#"{"Marbles":{"m":{"Package":@}}}"#, &["string"]),
    (r#"{"Marbles":{"m":{"MaxActivations":@}}}"#, &["integer"]),
    (r#"{"Marbles":{"m":{"Parameters":@}}}"#, &["object"]),
    (r#"{"Marbles":{"m":{"Parameters":{"Files":@}}}}"#, &["object"]),
    (r#"{"Marbles":{"m":{"Parameters":{"Env":@}}}}"#, &["object"]),
    (r#"{"Marbles":{"m":{"Parameters":{"Argv":@}}}}"#, &["list", "strings"]),
    (r#"{"Marbles":{"m":{"TLS":@}}}"#, &["list", "strings"]),
    (r#"{"Marbles":{"m":{"DisableSecretBinding":@}}}"#, &["bool"]),
    (r#"{"Users":{"u":{"Certificate":@}}}"#, &["string"]),
    (r#"{"Users":{"u":{"Roles":@}}}"#, &["list", "strings"]),
    (r#"{"Roles":{"r":{"ResourceType":@}}}"#, &["string"]),
    (r#"{"Roles":{"r":{"ResourceNames":@}}}"#, &["list", "strings"]),
    (r#"{"Roles":{"r":{"Actions":@}}}"#, &["list", "strings"]),
    (r#"{"Secrets":{"s":{"Type":@}}}"#, &["string"]),
    (r#"{"Secrets":{"s":{"Size":@}}}"#, &["integer"]),
    (r#"{"Secrets":{"s":{"Shared":@}}}"#, &["bool"]),
    (r#"{"Secrets":{"s":{"UserDefined":@}}}"#, &["bool"]),
    (r#"{"Secrets":{"s":{"ValidFor":@}}}"#, &["integer"]),
    (r#"{"Secrets":{"s":{"Cert":@}}}"#, &["object"]),
    (r#"{"Secrets":{"s":{"Private":@}}}"#, &["string", "list"]),
    (r#"{"Secrets":{"s":{"Public":@}}}"#, &["string", "list"]),
    (r#"{"RecoveryKeys":{"k":@}}"#, &["string"]),
    (r#"{"TLS":{"t":{"Incoming":@}}}"#, &["list"]),
    (r#"{"TLS":{"t":{"Outgoing":[{"Port":@}]}}}"#, &["string"]),
    (r#"{"TLS":{"t":{"Outgoing":[{"Addr":@}]}}}"#, &["string"]),
    (r#"{"TLS":{"t":{"Incoming":[{"Cert":@}]}}}"#, &["string"]),
    (r#"{"TLS":{"t":{"Incoming":[{"DisableClientAuth":@}]}}}"#, &["bool"]),
    (r#"{"Config":@}"#, &["object"]),
    (r#"{"Config":{"SealMode":@}}"#, &["string"]),
    (r#"{"Config":{"FeatureGates":@}}"#, &["list", "strings"]),
    (r#"{"Config":{"UpdateThreshold":@}}"#, &["integer"]),
    (r#"{"Config":{"RecoveryThreshold":@}}"#, &["integer"]),
    (r#"{"Config":{"RotateRootSecret":@}}"#, &["bool"]),
    (r#"{"Secrets":{"s":{"Cert":{"IsCA":@}}}}"#, &["bool"]),
    (r#"{"Secrets":{"s":{"Cert":{"MaxPathLen":@}}}}"#, &["integer"]),
    (r#"{"Secrets":{"s":{"Cert":{"DNSNames":@}}}}"#, &["list", "strings"]),
    (
        r#"{"Secrets":{"s":{"Cert":{"PublicKey":@}}}}"#,
        &["bool", "integer", "fraction", "string", "list", "strings", "object"],
    ),
];

proptest! {
    #[test]
    fn a_field_takes_its_types_and_no_other(field in 0..FIELDS.len(), sample in 0..SAMPLES.len(), upper in any::<bool>()) {
        let ((place, accepted), (kind, sample)) = (FIELDS[field], SAMPLES[sample]);
        let place = if upper { place.to_uppercase() } else { place.to_owned() };
        let json = place.replace('@', sample);
        let is_accepted = kind == "null" || accepted.contains(&kind);
        prop_assert_eq!(Manifest::decode(json.as_bytes()).is_ok(), is_accepted, "{}", json);
    }

    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::decode(&bytes);
    }

    #[test]
    fn no_change_to_a_real_manifest_breaks_the_decoder(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut raw = include_bytes!("../../tests/fixtures/manifests/maximal.json").to_vec();
        let at = at.index(raw.len());
        raw[at] = byte;
        if cut {
            raw.truncate(at);
        }
        let _ = Manifest::decode_with_notes(&raw);
    }
}
