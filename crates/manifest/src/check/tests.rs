//! One change to a good manifest, one finding. The vectors in `tests/` add what upstream was seen to do.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ALICE: &str = include_str!("../../tests/fixtures/manifests/keys/alice.crt.pem");
const BOB: &str = include_str!("../../tests/fixtures/manifests/keys/bob.crt.pem");
const DAVE_EXPIRED: &str = include_str!("../../tests/fixtures/manifests/keys/dave.crt.pem");
const RECOVERY: &str = include_str!("../../tests/fixtures/manifests/keys/recovery1.pub.pem");
const RSA_1024: &str = include_str!("../../tests/fixtures/manifests/keys/rsa1024.pub.pem");
const ID: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn env() -> CheckEnv {
    CheckEnv { now: "2026-11-21T00:00:00Z".parse().unwrap(), variables: Some(BTreeSet::new()) }
}

/// A manifest without any finding.
fn good() -> Value {
    json!({
        "Packages": {"app": {"UniqueID": ID}},
        "Marbles": {"web": {"Package": "app", "TLS": ["t"], "Parameters": {"Env": {"K": "{{ hex .Secrets.key }}"}}}},
        "Secrets": {
            "key": {"Type": "symmetric-key", "Size": 128},
            "cert": {"Type": "cert-ecdsa", "Size": 256, "Shared": true},
            "user": {"Type": "plain", "UserDefined": true},
        },
        "TLS": {"t": {
            "Incoming": [{"Port": "443", "Cert": "cert", "DisableClientAuth": true}],
            "Outgoing": [{"Addr": "a", "Port": "1"}],
        }},
        "Users": {"alice": {"Certificate": ALICE, "Roles": ["owner", "writer"]}},
        "Roles": {
            "owner": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]},
            "writer": {"ResourceType": "Secrets", "ResourceNames": ["user"], "Actions": ["WriteSecret"]},
        },
        "RecoveryKeys": {"holder": RECOVERY},
        "Config": {"UpdateThreshold": 1, "FeatureGates": ["MonotonicCounter"]},
    })
}

/// The report on the good manifest with one value put at a JSON pointer.
fn with(pointer: &str, value: Value) -> Report {
    let mut manifest = good();
    put(&mut manifest, pointer, value);
    review(manifest.to_string().as_bytes(), &env()).1
}

fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    match manifest.pointer_mut(parent).unwrap() {
        Value::Array(list) => match key.parse::<usize>().unwrap() {
            end if end == list.len() => list.push(value),
            index => list[index] = value,
        },
        Value::Object(map) => drop(map.insert(key, value)),
        other => panic!("{other}"),
    }
}

fn list(findings: &[Finding]) -> Vec<(&'static str, &str)> {
    findings.iter().map(|finding| (finding.code, finding.path.as_str())).collect()
}

#[test]
fn a_good_manifest_has_no_findings() {
    let (manifest, report) = review(good().to_string().as_bytes(), &env());
    assert!(manifest.is_some() && report.is_accepted());
    assert_eq!(report, Report::default());
}

#[test]
fn every_fault_is_found_where_it_is() {
    let no_id = json!({"SignerID": "a"});
    for (pointer, value, expected) in [
        (
            "/Packages/app",
            no_id,
            "no-product-id Packages.app.ProductID, no-security-version Packages.app.SecurityVersion",
        ),
        ("/Packages/app/ProductID", json!(0), "ambiguous-identity Packages.app.UniqueID"),
        ("/Marbles/web/Package", json!("ap"), "undefined-package Marbles.web.Package"),
        ("/Marbles/web/TLS/0", json!("x"), "undefined-tls-tag Marbles.web.TLS[0]"),
        ("/TLS/t/Incoming/0/Port", json!(""), "no-port TLS.t.Incoming[0].Port"),
        ("/TLS/t/Incoming/0/Cert", json!("x"), "undefined-secret TLS.t.Incoming[0].Cert"),
        ("/TLS/t/Incoming/0/Cert", json!("key"), "secret-is-no-certificate TLS.t.Incoming[0].Cert"),
        ("/TLS/t/Incoming/0/Cert", json!(""), "client-auth-without-cert TLS.t.Incoming[0].DisableClientAuth"),
        (
            "/TLS/t/Incoming/0/DisableClientAuth",
            json!(false),
            "cert-with-client-auth TLS.t.Incoming[0].DisableClientAuth",
        ),
        ("/TLS/t/Outgoing/0", json!({}), "no-address TLS.t.Outgoing[0].Addr, no-port TLS.t.Outgoing[0].Port"),
        ("/TLS/t/Incoming/1", json!({"Port": "443"}), "conflicting-port Marbles.web.TLS[0]"),
        (
            "/Marbles/web/Parameters/Env/K",
            json!("{{ printf \"a\\x00\" }}"),
            "template-fails Marbles.web.Parameters.Env.K",
        ),
        ("/Users/alice/Certificate", json!(""), "no-certificate Users.alice.Certificate"),
        ("/Users/alice/Certificate", json!("x"), "certificate-not-pem Users.alice.Certificate"),
        ("/Users/alice/Certificate", json!(RECOVERY), "certificate-not-x509 Users.alice.Certificate"),
        ("/Users/alice/Roles/1", json!("x"), "undefined-role Users.alice.Roles[1]"),
        (
            "/Users/bob",
            json!({"Certificate": ALICE, "Roles": ["owner"]}),
            "duplicate-certificate Users.bob.Certificate",
        ),
        ("/Roles/owner/ResourceNames", json!(["x"]), "manifest-role-with-resources Roles.owner.ResourceNames"),
        ("/Roles/writer/ResourceNames/0", json!("x"), "undefined-secret Roles.writer.ResourceNames[0]"),
        ("/Roles/writer/ResourceNames/0", json!("key"), "secret-not-writable Roles.writer.ResourceNames[0]"),
        ("/Roles/writer/Actions/0", json!("Write"), "unknown-action Roles.writer.Actions[0]"),
        ("/Roles/writer/ResourceType", json!("secrets"), "unknown-resource-type Roles.writer.ResourceType"),
        ("/Secrets/key/Type", json!("symmetric"), "unknown-secret-type Secrets.key.Type"),
        ("/Secrets/key/Size", json!(12), "bad-secret-size Secrets.key.Size"),
        ("/Secrets/key/Size", json!(65_288), "bad-secret-size Secrets.key.Size"),
        ("/Secrets/key", json!({"Type": "plain"}), "plain-not-user-defined Secrets.key.UserDefined"),
        (
            "/Secrets/key",
            json!({"Type": "symmetric-key", "Size": 65_544, "Shared": true}),
            "bad-secret-size Secrets.key.Size",
        ),
        ("/Secrets/cert/Size", json!(512), "bad-secret-size Secrets.cert.Size"),
        ("/Secrets/cert", json!({"Type": "cert-rsa", "Size": 16_385}), "bad-secret-size Secrets.cert.Size"),
        ("/Secrets/cert", json!({"Type": "cert-ed25519", "Size": 256}), "bad-secret-size Secrets.cert.Size"),
        ("/Secrets/cert/ValidFor", json!(3_000_000), "bad-validity Secrets.cert.ValidFor"),
        ("/Secrets/cert/Cert", json!({"ExtKeyUsage": [1, 14]}), "bad-ext-key-usage Secrets.cert.Cert.ExtKeyUsage[1]"),
        ("/Secrets/cert/Cert", json!({"MaxPathLenZero": true}), "bad-max-path-len Secrets.cert.Cert.MaxPathLen"),
        (
            "/Secrets/cert/Cert",
            json!({"SignatureAlgorithm": 4}),
            "bad-signature-algorithm Secrets.cert.Cert.SignatureAlgorithm",
        ),
        ("/Secrets/cert/Cert", json!({"Policies": [null]}), "bad-object-identifier Secrets.cert.Cert.Policies[0]"),
        (
            "/Secrets/cert/Cert",
            json!({"UnknownExtKeyUsage": [[1, 40]]}),
            "bad-object-identifier Secrets.cert.Cert.UnknownExtKeyUsage[0]",
        ),
        ("/Secrets/cert/Cert", json!({"DNSNames": ["ü"]}), "not-ascii Secrets.cert.Cert.DNSNames[0]"),
        ("/RecoveryKeys/holder", json!("x"), "recovery-key-not-pem RecoveryKeys.holder"),
        ("/RecoveryKeys/holder", json!(ALICE), "recovery-key-not-pem RecoveryKeys.holder"),
        ("/Config/UpdateThreshold", json!(2), "update-threshold-too-high Config.UpdateThreshold"),
        ("/Config/SealMode", json!("Productkey"), "unknown-seal-mode Config.SealMode"),
        ("/Config/FeatureGates/0", json!("x"), "unknown-feature Config.FeatureGates[0]"),
        ("/Config/FeatureGates/0", json!("azurehsmsealing"), "azure-variables Config.FeatureGates[0]"),
        ("/Config/RecoveryThreshold", json!(1), "recovery-threshold-one Config.RecoveryThreshold"),
        ("/Config/RecoveryThreshold", json!(2), "recovery-threshold-too-high Config.RecoveryThreshold"),
        ("/Marbles/web/Parameters/Env/K", json!("a\0"), "nul-in-variable Marbles.web.Parameters.Env.K"),
    ] {
        let report = with(pointer, value.clone());
        let found: Vec<String> = list(&report.errors).iter().map(|(code, path)| format!("{code} {path}")).collect();
        assert_eq!(found.join(", "), expected, "{pointer} = {value}");
    }
}

#[test]
fn a_certificate_as_template_must_be_signed_as_ours_are() {
    let der = |pem: &str| json!(crate::gojson::base64::encode(user_certificate(pem).unwrap()));
    // alice's is signed with ECDSA, which fits; its end counts as NotAfter.
    assert!(with("/Secrets/cert/Cert", der(ALICE)).is_accepted());
    let carol = include_str!("../../tests/fixtures/manifests/keys/carol.crt.pem");
    let report = with("/Secrets/cert/Cert", der(carol));
    assert_eq!(list(&report.errors), [("bad-signature-algorithm", "Secrets.cert.Cert")]);
    let mut manifest = good();
    put(&mut manifest, "/Secrets/cert/Cert", der(ALICE));
    put(&mut manifest, "/Secrets/cert/ValidFor", json!(1));
    let report = review(manifest.to_string().as_bytes(), &env()).1;
    assert_eq!(list(&report.errors), [("ambiguous-validity", "Secrets.cert.ValidFor")]);
}

#[test]
fn tags_that_agree_on_a_port_may_both_be_used_and_those_that_do_not_may_not() {
    let mut manifest = good();
    put(&mut manifest, "/Marbles/web/TLS", json!(["t", "u"]));
    put(&mut manifest, "/TLS/u", json!({"Incoming": [{"Port": "443", "Cert": "cert", "DisableClientAuth": true}]}));
    assert!(review(manifest.to_string().as_bytes(), &env()).1.is_accepted());
    put(&mut manifest, "/TLS/u/Incoming/0", json!({"Port": "443"}));
    let report = review(manifest.to_string().as_bytes(), &env()).1;
    assert_eq!(list(&report.errors), [("conflicting-port", "Marbles.web.TLS[1]")]);
    // Another Marble's port is another port.
    put(&mut manifest, "/Marbles/web/TLS", json!(["t"]));
    put(&mut manifest, "/Marbles/db", json!({"Package": "app", "TLS": ["u"]}));
    assert!(review(manifest.to_string().as_bytes(), &env()).1.is_accepted());
}

#[test]
fn tags_that_every_marble_lists_do_not_multiply_the_work() {
    let mut manifest = good();
    let ports: Vec<Value> = (0..20_000).map(|port| json!({"Port": port.to_string()})).collect();
    put(&mut manifest, "/TLS/t", json!({"Incoming": ports}));
    for number in 0..15_000 {
        put(&mut manifest, &format!("/Marbles/m{number}"), json!({"Package": "app", "TLS": ["t"]}));
    }
    assert_eq!(list(&review(manifest.to_string().as_bytes(), &env()).1.errors), [("too-many-connections", "Marbles")]);
}

#[test]
fn a_previous_certificate_of_each_marble_is_a_fresh_one() {
    let mut manifest = good();
    put(&mut manifest, "/Secrets/cert/Shared", json!(false));
    put(&mut manifest, "/Marbles/web/Parameters/Env/P", json!("{{ pem .Previous.Secrets.cert.Cert }}"));
    let report = review(manifest.to_string().as_bytes(), &env()).1;
    assert_eq!(list(&report.warnings), [("previous-is-fresh", "Marbles.web.Parameters.Env.P")]);
}

#[test]
fn a_package_of_a_vm_names_one_family_and_leaves_nothing_open() {
    let digest = "ab".repeat(48);
    let check = |package: serde_json::Value| {
        let mut manifest = good();
        put(&mut manifest, "/Packages/app", package);
        review(manifest.to_string().as_bytes(), &env()).1
    };
    for package in [
        json!({"TDX": {"MRTD": digest, "RTMR1": digest, "RTMR2": digest}, "AcceptedTCBStatuses": ["TDRelaunchAdvised"]}),
        json!({"SNP": {"Measurement": digest}, "SecurityVersion": 70_000}),
        json!({"SNP": {"IDKeyDigest": digest, "MinTCB": {"SNP": 8}, "Products": ["Genoa"]}}),
    ] {
        let report = check(package.clone());
        assert_eq!((list(&report.errors), list(&report.warnings)), (vec![], vec![]), "{package}");
    }
    for (package, code, path) in [
        (json!({"TDX": {}}), "bad-vm-identity", "Packages.app.TDX.MRTD"),
        (json!({"TDX": {"MRTD": "ab"}}), "bad-vm-identity", "Packages.app.TDX.MRTD"),
        (json!({"SNP": {"HostData": "ab".repeat(32)}}), "bad-vm-identity", "Packages.app.SNP.Measurement"),
        (json!({"SNP": {}, "Debug": true}), "bad-vm-identity", "Packages.app.SNP.Measurement"),
        (json!({"SNP": {"Measurement": digest}, "UniqueID": ID}), "several-families", "Packages.app"),
        (json!({"SNP": {"Measurement": digest}, "ProductID": 0}), "several-families", "Packages.app"),
        (json!({"SNP": {"Measurement": digest}, "TDX": {"MRTD": digest}}), "several-families", "Packages.app"),
        (
            json!({"TDX": {"MRTD": digest}, "SecurityVersion": 1}),
            "no-tdx-security-version",
            "Packages.app.SecurityVersion",
        ),
        (
            json!({"TDX": {"MRTD": digest}, "AcceptedTCBStatuses": ["OutOfDate", "Revoked"]}),
            "bad-tcb-status",
            "Packages.app.AcceptedTCBStatuses[1]",
        ),
        (
            json!({"TDX": {"MRTD": digest}, "AcceptedTCBStatuses": ["outofdate"]}),
            "bad-tcb-status",
            "Packages.app.AcceptedTCBStatuses[0]",
        ),
    ] {
        assert_eq!(list(&check(package.clone()).errors), [(code, path)], "{package}");
    }
    let open = check(json!({"TDX": {"MRTD": digest}}));
    assert_eq!(list(&open.warnings), [("open-vm", "Packages.app.TDX.RTMR1"), ("open-vm", "Packages.app.TDX.RTMR2")]);
    let idle = check(json!({"SNP": {"Measurement": digest}, "AcceptedTCBStatuses": ["OutOfDate"]}));
    assert_eq!(list(&idle.warnings), [("no-effect-on-snp", "Packages.app")]);
}

#[test]
fn what_is_plainly_a_mistake_is_accepted_with_a_warning() {
    let with_spaces = ALICE.replace('\n', " \n");
    let twice = format!("{ALICE}{BOB}");
    let template = |text: &str| json!({"Env": {"K": text}});
    for (pointer, value, code, path) in [
        ("/Pakages", json!({}), "unknown-field", "Pakages"),
        ("/Packages/app/UniqueID", json!("5a"), "bad-enclave-id", "Packages.app.UniqueID"),
        ("/Packages/b", json!({}), "unused-package", "Packages.b"),
        ("/Packages/app/Debug", json!(true), "debug-package", "Packages.app.Debug"),
        ("/Packages/app", json!({"Debug": true}), "open-identity", "Packages.app"),
        ("/Packages/app", json!({"Debug": true, "UniqueID": ID, "ProductID": 1}), "ambiguous-identity", "Packages.app"),
        (
            "/Packages/app/AcceptedTCBStatuses",
            json!(["UptoDate"]),
            "unknown-tcb-status",
            "Packages.app.AcceptedTCBStatuses[0]",
        ),
        (
            "/Packages/app/AcceptedTCBStatuses",
            json!(["Revoked"]),
            "revoked-accepted",
            "Packages.app.AcceptedTCBStatuses[0]",
        ),
        ("/Packages/app/AcceptedAdvisories", json!(["SA-1"]), "unknown-advisory", "Packages.app.AcceptedAdvisories[0]"),
        ("/Packages/b", json!({"SecurityVersion": 65_536}), "number-beyond-sgx", "Packages.b.SecurityVersion"),
        ("/Infrastructures", json!({"rack": {}}), "infrastructures-not-enforced", "Infrastructures"),
        ("/Marbles/web/TLS", json!(["t", "t"]), "duplicate-item", "Marbles.web.TLS[1]"),
        ("/Marbles/web/Parameters/Argv", json!(["a", "{{ 1 }}"]), "template-in-argv", "Marbles.web.Parameters.Argv[1]"),
        ("/Marbles/web/Parameters/Files", json!({"/a/": "x"}), "bad-file-path", "Marbles.web.Parameters.Files.\"/a/\""),
        ("/Marbles/web/Parameters/Env/A=B", json!("x"), "bad-variable-name", "Marbles.web.Parameters.Env.\"A=B\""),
        (
            "/Marbles/web/Parameters/Env/MARBLE_TTLS_CONFIG",
            json!("x"),
            "overwritten-variable",
            "Marbles.web.Parameters.Env.MARBLE_TTLS_CONFIG",
        ),
        ("/TLS/u", json!({}), "unused-tls-tag", "TLS.u"),
        ("/TLS/t/Incoming/0/Port", json!("http"), "bad-port", "TLS.t.Incoming[0].Port"),
        ("/TLS/t/Incoming/0/Addr", json!("a"), "ignored-field", "TLS.t.Incoming[0].Addr"),
        (
            "/TLS/u",
            json!({"Incoming": [{"Port": "1", "Cert": "key", "DisableClientAuth": true}]}),
            "secret-is-no-certificate",
            "TLS.u.Incoming[0].Cert",
        ),
        ("/TLS/t", json!({}), "empty-ttls", "Marbles.web.TLS"),
        (
            "/Marbles/web/Parameters/Files",
            json!({"/a": "x".repeat((4 << 20) + 1)}),
            "parameters-too-large",
            "Marbles.web.Parameters",
        ),
        ("/TLS/t/Outgoing/0/Cert", json!("cert"), "ignored-field", "TLS.t.Outgoing[0].Cert"),
        ("/Users/bob", json!({"Certificate": BOB}), "user-without-roles", "Users.bob.Roles"),
        (
            "/Users/bob",
            json!({"Certificate": with_spaces, "Roles": ["owner"]}),
            "duplicate-certificate",
            "Users.bob.Certificate",
        ),
        ("/Users/alice/Certificate", json!(DAVE_EXPIRED), "expired-certificate", "Users.alice.Certificate"),
        ("/Users/alice/Certificate", json!(twice), "several-pem-blocks", "Users.alice.Certificate"),
        (
            "/Users/alice/Certificate",
            json!(ALICE.replace("CERTIFICATE", "X")),
            "wrong-pem-label",
            "Users.alice.Certificate",
        ),
        ("/Users/alice/Roles", json!(["writer"]), "nobody-may-update", "Users"),
        ("/Roles/x", json!({"ResourceType": "Manifest"}), "unused-role", "Roles.x"),
        ("/Roles/writer/Actions", json!([]), "empty-role", "Roles.writer.Actions"),
        ("/Roles/writer/ResourceNames", json!([]), "empty-role", "Roles.writer.ResourceNames"),
        ("/Roles/writer/ResourceNames", json!([]), "nobody-may-write", "Secrets.user"),
        ("/Marbles/web/Parameters", template("x"), "unused-secret", "Secrets.key"),
        ("/Secrets/key/Size", json!(64), "weak-secret", "Secrets.key.Size"),
        ("/Secrets/key/ValidFor", json!(1), "ignored-field", "Secrets.key.ValidFor"),
        ("/Secrets/key/Cert", json!({}), "ignored-field", "Secrets.key.Cert"),
        ("/Secrets/key/Private", json!("AAAA"), "embedded-secret", "Secrets.key.Private"),
        ("/Secrets/user/Public", json!("AAAA"), "embedded-secret", "Secrets.user.Public"),
        (
            "/Secrets/user",
            json!({"Type": "symmetric-key", "UserDefined": true}),
            "bad-secret-size",
            "Secrets.user.Size",
        ),
        ("/Secrets/cert/Cert", json!("&"), "cert-not-base64", "Secrets.cert.Cert"),
        ("/Secrets/cert/Cert", json!({"Issuer": {}}), "cert-field-without-effect", "Secrets.cert.Cert.Issuer"),
        ("/Secrets/cert/Cert", json!({"IPAddresses": [""]}), "cert-empty-address", "Secrets.cert.Cert.IPAddresses"),
        ("/Secrets/cert/Cert", json!({"IsCA": true}), "certificate-authority", "Secrets.cert.Cert.IsCA"),
        ("/Secrets/cert/Cert", json!({"KeyUsage": 512}), "bad-key-usage", "Secrets.cert.Cert.KeyUsage"),
        ("/Secrets/cert/Cert", json!({"NotAfter": "2020-01-01T00:00:00Z"}), "expired-certificate", "Secrets.cert"),
        ("/Secrets/cert/ValidFor", json!(u64::MAX), "expired-certificate", "Secrets.cert"),
        ("/RecoveryKeys", json!({}), "no-recovery-keys", "RecoveryKeys"),
        ("/RecoveryKeys/holder", json!(RSA_1024), "weak-rsa-key", "RecoveryKeys.holder"),
        ("/RecoveryKeys/other", json!(RECOVERY), "duplicate-recovery-key", "RecoveryKeys.other"),
        ("/Config/SealMode", json!("Disabled"), "sealing-disabled", "Config.SealMode"),
        ("/Config/RotateRootSecret", json!(true), "root-secret-rotates", "Config.RotateRootSecret"),
    ] {
        let report = with(pointer, value.clone());
        assert_eq!(
            list(&report.errors).len(),
            usize::from(pointer.ends_with("/Roles")),
            "{pointer}: {:?}",
            report.errors
        );
        assert!(list(&report.warnings).contains(&(code, path)), "{pointer} = {value}: {:#?}", report.warnings);
    }
}

#[test]
fn a_secret_counts_as_used_wherever_it_is_named() {
    for text in [
        "{{ hex .Secrets.key }}",
        "{{ pem (index .Secrets \"key\").Private }}",
        "{{ index .Secrets `key` }}",
        "{{ hex .Previous.Secrets.key }}",
        "{{ range $name, $secret := .Secrets }}x{{ end }}",
    ] {
        let report = with("/Marbles/web/Parameters/Env/K", json!(text));
        assert_eq!(report.warnings, [], "{text}");
    }
    let untouched = json!({"Data": "{{ hex .Secrets.key }}", "NoTemplates": true});
    let report = with("/Marbles/web/Parameters/Env/K", untouched);
    assert_eq!(list(&report.warnings), [("unused-secret", "Secrets.key")]);
}

#[test]
fn a_template_that_cannot_work_is_refused_and_one_that_may_is_not() {
    let with_env = |text: &str| with("/Marbles/web/Parameters/Env/K", json!(text));
    let report = with_env("{{ hex .Secrets.key }}{{ hex .Secrets.missing }}");
    assert_eq!(list(&report.errors), [("template-fails", "Marbles.web.Parameters.Env.K")]);
    assert!(
        report.errors[0].peer_text().starts_with("running manifest template dry run: in Marble web: env variable K: ")
    );
    // Whether the certificate has a name shows once it is generated.
    let report = with_env("{{ hex .Secrets.key }}{{ index .Secrets.cert.Cert.DNSNames 0 }}");
    assert!(report.is_accepted());
    assert_eq!(list(&report.warnings), [("template-may-fail", "Marbles.web.Parameters.Env.K")]);
    assert!(!with_env("{{ hex .Secrets.cert.Cert }}{{").is_accepted());
}

#[test]
fn several_faults_are_told_at_once_in_upstreams_order() {
    let mut manifest = good();
    put(&mut manifest, "/Marbles/web/Parameters/Env/K", json!("\0"));
    put(&mut manifest, "/RecoveryKeys/holder", json!("x"));
    put(&mut manifest, "/Secrets/key/Size", json!(1));
    put(&mut manifest, "/Secrets/cert/Size", json!(1));
    put(&mut manifest, "/Config/SealMode", json!("x"));
    put(&mut manifest, "/Marbles/web/Package", json!("x"));
    put(&mut manifest, "/Users/alice/Certificate", json!("x"));
    let report = review(manifest.to_string().as_bytes(), &env()).1;
    let stages: Vec<Stage> = report.errors.iter().map(|finding| finding.stage).collect();
    let expected = [
        Stage::Check,
        Stage::Check,
        Stage::SecretsShared,
        Stage::SecretsPrivate,
        Stage::RecoveryKeys,
        Stage::Users,
        Stage::Template,
    ];
    assert_eq!(stages, expected);
    assert_eq!(report.errors[0].path, "Marbles.web.Package");
    assert_eq!(report.errors[4].peer_text(), "generating recovery encryption key: given PEM data is not a public key");
}

#[test]
fn away_from_the_coordinator_its_variables_are_a_warning() {
    let mut manifest = good();
    put(&mut manifest, "/Config/FeatureGates/0", json!("AzureHSMSealing"));
    let raw = manifest.to_string();
    let unknown = CheckEnv { variables: None, ..env() };
    let report = review(raw.as_bytes(), &unknown).1;
    assert_eq!((report.errors.len(), list(&report.warnings)), (0, vec![("azure-variables", "Config.FeatureGates[0]")]));
    let mut names =
        ["EDG_MAA_URL", "EDG_AZURE_HSM_VAULT_URL", "EDG_AZURE_HSM_KEY_NAME", "EDG_AZURE_CLIENT_ID"].to_vec();
    names.extend(["EDG_AZURE_TENANT_ID", "EDG_AZURE_AUTHORITY_HOST", "EDG_AZURE_FEDERATED_TOKEN_FILE"]);
    let variables = Some(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(review(raw.as_bytes(), &CheckEnv { variables, ..env() }).1, Report::default());
}

#[test]
fn too_many_entries_are_refused_in_bounded_time() {
    let mut secrets = String::new();
    for index in 0..100_000 {
        let _ = write!(secrets, "\"s{index}\":{{\"Type\":\"symmetric-key\",\"Size\":128}},");
    }
    let raw = format!(
        r#"{{"Packages":{{"a":{{"UniqueID":"{ID}"}}}},"Marbles":{{"m":{{"Package":"a"}}}},"Secrets":{{{}}}}}"#,
        secrets.trim_end_matches(',')
    );
    let report = review(raw.as_bytes(), &env()).1;
    assert_eq!(list(&report.errors), [("too-many-entries", "Secrets")]);
}

/// None of these may take time in the square of its length.
#[test]
fn long_lists_are_checked_in_bounded_time() {
    let many = |count: usize, item: &str| vec![item; count].join(",");
    let named = |count: usize, item: &str| -> String {
        let entries: Vec<String> = (0..count).map(|index| format!("\"n{index}\":{item}")).collect();
        entries.join(",")
    };
    for (what, json) in [
        ("tags", format!(r#"{{"Marbles":{{"m":{{"TLS":[{}]}}}}}}"#, many(300_000, "\"t\""))),
        ("roles", format!(r#"{{"Users":{{"u":{{"Roles":[{}]}}}}}}"#, many(300_000, "\"r\""))),
        (
            "statuses",
            format!(r#"{{"Packages":{{"p":{{"AcceptedTCBStatuses":[{}]}}}}}}"#, many(300_000, "\"UptoDate\"")),
        ),
        ("features", format!(r#"{{"Config":{{"FeatureGates":[{}]}}}}"#, many(300_000, "\"Sign\""))),
        ("fields", format!("{{{}}}", named(300_000, "1"))),
        (
            "secrets, users and roles",
            format!(
                r#"{{"Secrets":{{{}}},"Users":{{{}}},"Roles":{{{}}}}}"#,
                named(20_000, r#"{"Type":"plain","UserDefined":true}"#),
                named(20_000, r#"{"Certificate":"x","Roles":["n1","n2"]}"#),
                named(20_000, r#"{"ResourceType":"Secrets","ResourceNames":["n1"],"Actions":["WriteSecret"]}"#)
            ),
        ),
        (
            "templates",
            format!(
                r#"{{"Secrets":{{{}}},"Marbles":{{"m":{{"Parameters":{{"Files":{{{}}}}}}}}}}}"#,
                named(20_000, r#"{"Type":"cert-ed25519"}"#),
                named(20_000, r#""{{ hex .Secrets.no }}""#)
            ),
        ),
    ] {
        let (manifest, report) = review(json.as_bytes(), &env());
        assert!(manifest.is_some() && report.errors.len() <= MAX_FINDINGS, "{what}");
        assert!(report.warnings.len() <= 2 * MAX_FINDINGS, "{what}");
    }
}

#[test]
fn what_is_told_does_not_multiply_what_was_sent() {
    let long = "n".repeat(200_000);
    let fields: String = (0..2_000).map(|n| format!(r#","f{n}":1"#)).collect();
    let list = (0..2_000).map(|n| format!(r#""r{n}""#)).collect::<Vec<_>>().join(",");
    for json in [
        format!(r#"{{"Packages":{{"p":{{}}}},"Users":{{"{long}":{{"Certificate":"x","Roles":[{list}]}}}}}}"#),
        format!(r#"{{"Packages":{{"{long}":{{"Debug":true{fields}}}}}}}"#),
        format!(r#"{{"Packages":{{"{long}":{{"Debug":1{fields}}}}}}}"#),
        format!(r#"{{"Packages":{{"p":{{}}}},"Marbles":{{"m":{{"Package":"{long}"}}}}}}"#),
    ] {
        let (_, report) = review(json.as_bytes(), &env());
        assert!(!report.errors.is_empty());
        let told: usize = report.errors.iter().chain(&report.warnings).map(|f| f.path.len() + f.text.len()).sum();
        assert!(told < 2 * json.len(), "{told} bytes about {}", json.len());
    }
}

#[test]
fn what_refers_to_what_is_bounded_where_it_multiplies() {
    let many = vec!["user"; 1_001];
    let mut manifest = good();
    put(&mut manifest, "/Roles/writer/ResourceNames", json!(many));
    put(&mut manifest, "/Users/alice/Roles", json!(vec!["writer"; 999]));
    put(&mut manifest, "/Config/UpdateThreshold", json!(0));
    let codes = |manifest: &Value| -> Vec<&'static str> {
        review(manifest.to_string().as_bytes(), &env()).1.errors.iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(&manifest), [""; 0], "999,999 permissions");
    put(&mut manifest, "/Users/alice/Roles", json!(vec!["writer"; 1_000]));
    assert_eq!(codes(&manifest), ["too-many-permissions"]);

    let mut manifest = good();
    put(&mut manifest, "/TLS/t/Outgoing", json!(vec![json!({"Addr": "a", "Port": "1"}); 999]));
    put(&mut manifest, "/Marbles/web/TLS", json!(vec!["t"; 1_000]));
    assert_eq!(codes(&manifest), [""; 0], "1,000 connections of 1,000 tags");
    put(&mut manifest, "/Marbles/web/TLS", json!(vec!["t"; 1_001]));
    assert_eq!(codes(&manifest), ["too-many-connections"]);

    let mut manifest = good();
    for number in 0..390 {
        let key = json!({"Type": "cert-rsa", "Size": 4096, "Shared": true, "Cert": {}});
        put(&mut manifest, &format!("/Secrets/rsa{number}"), key);
    }
    assert_eq!(codes(&manifest), [""; 0], "99,840 units of work");
    put(&mut manifest, "/Secrets/last", json!({"Type": "cert-rsa", "Size": 4096, "Cert": {}}));
    assert_eq!(codes(&manifest), [""; 0], "one of a single Marble is not generated now");
    put(&mut manifest, "/Secrets/last/Shared", json!(true));
    assert_eq!(codes(&manifest), ["too-many-rsa-keys"]);
}

#[test]
fn a_name_is_bounded_and_one_within_the_bound_is_not_cut() {
    let json = |length: usize| format!(r#"{{"Packages":{{"{}":{{"Debug":true}}}}}}"#, "n".repeat(length));
    let within = review(json(limits::MAX_NAME).as_bytes(), &env()).1;
    assert!(within.errors.iter().all(|finding| finding.code != "name-too-long"));
    let report = review(json(limits::MAX_NAME + 1).as_bytes(), &env()).1;
    assert_eq!(report.errors.first().unwrap().code, "name-too-long");
}

#[test]
fn an_update_of_packages_alone_is_known_as_one() {
    let is_package_update = |json: &str| Manifest::decode(json.as_bytes()).unwrap().is_package_update();
    for json in ["{}", "null", r#"{"Packages":{"a":{}},"Config":{"SealMode":"x"},"Marbles":{},"Users":null,"X":1}"#] {
        assert!(is_package_update(json), "{json}");
    }
    for section in ["Infrastructures", "Marbles", "Users", "Secrets", "Roles", "TLS"] {
        assert!(!is_package_update(&format!("{{\"{section}\":{{\"x\":{{}}}}}}")), "{section}");
    }
    assert!(!is_package_update(r#"{"RecoveryKeys":{"x":""}}"#));
}

#[test]
fn the_reference_describes_every_kind_of_finding() {
    let reference = include_str!("../../../../docs/src/reference/manifest.md");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/check");
    let mut codes = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests.rs") {
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        // Codes are the only texts of lower-case words joined by dashes, but for the names of stages and types.
        for text in source.split('"').skip(1).step_by(2) {
            let is_code = text.contains('-') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_code && Stage::ALL.iter().all(|stage| stage.as_str() != text) {
                codes.insert(text.to_owned());
            }
        }
    }
    assert!(codes.len() > 80, "only {} codes", codes.len());
    let missing: Vec<&String> = codes.iter().filter(|code| !reference.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

proptest! {
    #[test]
    fn no_manifest_that_decodes_breaks_the_checks(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut raw = include_bytes!("../../tests/fixtures/manifests/maximal.json").to_vec();
        let at = at.index(raw.len());
        raw[at] = byte;
        let (manifest, report) = review(&raw, &env());
        prop_assert_eq!(manifest.is_none(), report.errors.iter().any(|finding| finding.stage == Stage::Decode));
        // The same bytes always give the same report.
        prop_assert_eq!(report, review(&raw, &env()).1);
    }
}
