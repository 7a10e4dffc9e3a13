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

#[test]
fn wrong_values_are_refused_by_name() {
    for (name, value) in [
        ("EDG_MARBLE_COORDINATOR_ADDR", "a:b"),
        ("EDG_MARBLE_DNS_NAMES", "ü"),
        ("MARBLERUN_COORDINATOR_ROOT_CA", "/nonexistent"),
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
