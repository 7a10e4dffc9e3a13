use std::collections::HashMap;

use marblerun_attestation::Tee;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    Config::from_env(|name| variables.get(name).map(OsString::from))
}

#[test]
fn a_marble_type_is_all_that_must_be_given() {
    let config = read(&[("EDG_MARBLE_TYPE", "web")]).unwrap();
    assert_eq!(config.marble_type, "web");
    assert_eq!(config.coordinator.to_string(), "localhost:2001");
    assert_eq!(config.names, Names { dns: vec!["localhost".to_owned()], ips: vec![] });
    assert_eq!(config.uuid_file, Path::new("uuid"));
    assert_eq!(config.trust, Trust::Anyone);
    assert_eq!(config.timeout, Duration::from_secs(600));
    assert_eq!(config.tee, TeeChoice::Auto);
}

#[test]
fn a_missing_or_empty_marble_type_is_an_error_with_upstream_s_text() {
    for variables in [&[][..], &[("EDG_MARBLE_TYPE", "")]] {
        assert_eq!(read(variables).unwrap_err().to_string(), "environment variable not set: EDG_MARBLE_TYPE");
    }
}

#[test]
fn every_variable_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = read(&[
        ("EDG_MARBLE_TYPE", "web"),
        ("EDG_MARBLE_COORDINATOR_ADDR", "coordinator:1"),
        ("EDG_MARBLE_DNS_NAMES", "a, b,10.0.0.1,,fe80::1"),
        ("EDG_CWD", directory.path().to_str().unwrap()),
        ("MARBLERUN_COORDINATOR_ROOT_CA", &"Ab:".repeat(32)[..95]),
        ("MARBLERUN_PREMAIN_TIMEOUT", "2m"),
        ("MARBLERUN_TEE", "simulation"),
    ])
    .unwrap();
    assert_eq!(config.coordinator.to_string(), "coordinator:1");
    assert_eq!(config.names.dns, ["a", " b", ""]);
    assert_eq!(config.names.ips, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
    assert_eq!(config.uuid_file, directory.path().join("uuid"));
    assert_eq!(config.trust, Trust::Fingerprint([0xab; 32]));
    assert_eq!(config.timeout, Duration::from_secs(120));
    assert_eq!(config.tee, TeeChoice::Fixed(Tee::Simulation));
    let file = read(&[("EDG_MARBLE_TYPE", "web"), ("EDG_MARBLE_UUID_FILE", "/x/y"), ("EDG_CWD", "/z")]).unwrap();
    assert_eq!(file.uuid_file, Path::new("/x/y"));
}

const SIGNER: &str = "43361affedeb75affee9baec7e054a5e14883213e5a121b67d74a0e12e9d2b7a";

fn era(directory: &Path, json: &str) -> String {
    let path = directory.join("era.json");
    std::fs::write(&path, json).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_the_coordinator_must_run_is_read_from_its_vendor_s_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = era(directory.path(), &format!(r#"{{"SignerID":"{SIGNER}","ProductID":3,"SecurityVersion":3}}"#));
    let manifest = "Ab".repeat(32);
    let variables = |address| {
        let era = ("MARBLERUN_COORDINATOR_ERA", path.as_str());
        let manifest = ("MARBLERUN_COORDINATOR_MANIFEST", manifest.as_str());
        read(&[("EDG_MARBLE_TYPE", "web"), ("EDG_MARBLE_COORDINATOR_ADDR", address), era, manifest])
    };
    let expected = variables("coordinator:2001").unwrap().expected.unwrap();
    let policy = expected.policy.unwrap();
    assert_eq!((policy.signer_id.as_str(), policy.product_id, policy.security_version), (SIGNER, Some(3), Some(3)));
    assert_eq!((expected.manifest, expected.client_api.to_string().as_str()), (Some([0xab; 32]), "coordinator:4433"));
    let v6 = variables("[::1]:2001").unwrap().expected.unwrap();
    assert_eq!(v6.client_api.to_string(), "[::1]:4433");
    let named = read(&[
        ("EDG_MARBLE_TYPE", "web"),
        ("MARBLERUN_COORDINATOR_ERA", path.as_str()),
        ("MARBLERUN_COORDINATOR_CLIENT_ADDR", "api:1"),
    ]);
    assert_eq!(named.unwrap().expected.unwrap().client_api.to_string(), "api:1");
    assert!(read(&[("EDG_MARBLE_TYPE", "web")]).unwrap().expected.is_none());
}

#[test]
fn an_era_file_that_restricts_less_than_it_says_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (json, part) in [
        (format!(r#"{{"UniqueID":"{SIGNER}","SignerIDs":"x"}}"#), "unknown field SignerIDs (did you mean SignerID?)"),
        (r#"{"ProductID":3}"#.to_owned(), "neither UniqueID nor SignerID"),
        (format!(r#"{{"UniqueID":"{SIGNER}","InsecureSkipVerify":true}}"#), "InsecureSkipVerify"),
        ("[".to_owned(), "JSON"),
    ] {
        let path = era(directory.path(), &json);
        let error = read(&[("EDG_MARBLE_TYPE", "web"), ("MARBLERUN_COORDINATOR_ERA", path.as_str())]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("environment variable MARBLERUN_COORDINATOR_ERA: ") && text.contains(part), "{text}");
    }
}

#[test]
fn a_manifest_alone_does_not_say_who_answers() {
    let manifest = ("MARBLERUN_COORDINATOR_MANIFEST", &*"ab".repeat(32));
    let error = read(&[("EDG_MARBLE_TYPE", "web"), manifest]).unwrap_err().to_string();
    assert!(error.contains("set MARBLERUN_COORDINATOR_ERA or MARBLERUN_COORDINATOR_ROOT_CA as well"), "{error}");
    let root = ("MARBLERUN_COORDINATOR_ROOT_CA", &*"cd".repeat(32));
    let expected = read(&[("EDG_MARBLE_TYPE", "web"), manifest, root]).unwrap().expected.unwrap();
    assert_eq!((expected.manifest, expected.policy), (Some([0xab; 32]), None));
    let wrong = read(&[("EDG_MARBLE_TYPE", "web"), ("MARBLERUN_COORDINATOR_MANIFEST", "abc"), root]).unwrap_err();
    assert!(wrong.to_string().contains("\"abc\" is no SHA-256 in hex"), "{wrong}");
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (name, value) in [
        ("EDG_MARBLE_COORDINATOR_ADDR", "a:b"),
        ("EDG_MARBLE_DNS_NAMES", "ü"),
        ("MARBLERUN_COORDINATOR_ROOT_CA", "/nonexistent"),
        ("MARBLERUN_COORDINATOR_ERA", "/nonexistent"),
        ("MARBLERUN_PREMAIN_TIMEOUT", "soon"),
        ("MARBLERUN_PREMAIN_TIMEOUT", "-1"),
        ("MARBLERUN_PREMAIN_TIMEOUT", "m"),
        ("MARBLERUN_TEE", "magic"),
    ] {
        let error = read(&[("EDG_MARBLE_TYPE", "web"), (name, value)]).unwrap_err();
        assert!(matches!(error, ConfigError::Bad { name: bad, .. } if bad == name), "{error}");
    }
}

#[test]
fn durations_are_seconds_or_have_a_unit() {
    for (text, seconds) in [("0", 0), ("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)] {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
}
