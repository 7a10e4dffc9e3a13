use super::*;
use crate::admission::SgxResource;

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let arguments = ["marblerun-injector"].iter().chain(arguments).map(OsString::from);
    Settings::read(arguments, |name| {
        environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn the_defaults_are_upstreams() {
    let settings = read(&[], &[]).unwrap();
    assert_eq!(settings.rules.coordinator, "coordinator-mesh-api.marblerun:2001");
    assert_eq!(settings.rules.cluster_domain, "cluster.local");
    assert_eq!(settings.rules.sgx, SgxResource::Intel);
    assert_eq!(settings.tls_cert_file, PathBuf::from("/etc/webhook/certs/tls.crt"));
    assert_eq!(settings.tls_key_file, PathBuf::from("/etc/webhook/certs/tls.key"));
    assert_eq!(settings.listen, ListenAddress { host: String::new(), port: 8443 });
    assert_eq!(settings.http_error_log_level, tracing::Level::ERROR);
    assert_eq!((settings.log_format, settings.debug), (LogFormat::Text, false));
}

#[test]
fn flags_are_written_as_go_takes_them() {
    for arguments in [
        &["-coordAddr", "c:1", "-sgxResource", "example.com/epc"][..],
        &["-coordAddr=c:1", "-sgxResource=example.com/epc"],
        &["--coordAddr", "c:1", "--sgxResource", "example.com/epc"],
        &["--coordAddr=c:1", "--sgxResource=example.com/epc"],
        &["-coordAddr", "other:2", "-sgxResource=", "-sgxResource", "example.com/epc", "-coordAddr=c:1"],
    ] {
        let settings = read(arguments, &[]).unwrap();
        assert_eq!(settings.rules.coordinator, "c:1", "{arguments:?}");
        assert_eq!(settings.rules.sgx, SgxResource::Other("example.com/epc".to_owned()), "{arguments:?}");
    }
    // As in Go, what follows a flag is its value.
    let settings = read(&["-tlsCertFile", "-clusterDomain", "-tlsKeyFile", "a=b"], &[]).unwrap();
    assert_eq!(settings.tls_cert_file, PathBuf::from("-clusterDomain"));
    assert_eq!(settings.tls_key_file, PathBuf::from("a=b"));
}

#[test]
fn no_sgx_is_an_empty_flag_or_none() {
    for (arguments, environment) in [
        (&["-sgxResource", ""][..], &[][..]),
        (&["-sgxResource="], &[("MARBLERUN_INJECTOR_SGX_RESOURCE", "example.com/epc")]),
        (&["--sgxResource=none"], &[]),
        (&[], &[("MARBLERUN_INJECTOR_SGX_RESOURCE", "none")]),
    ] {
        assert_eq!(read(arguments, environment).unwrap().rules.sgx, SgxResource::None, "{arguments:?}");
    }
    let empty = read(&[], &[("MARBLERUN_INJECTOR_SGX_RESOURCE", "")]).unwrap();
    assert_eq!(empty.rules.sgx, SgxResource::Intel, "an empty variable is not set");
}

#[test]
fn every_flag_has_a_variable_and_wins_over_it() {
    let environment = [
        ("MARBLERUN_INJECTOR_COORD_ADDR", "c:1"),
        ("MARBLERUN_INJECTOR_TLS_CERT_FILE", "crt"),
        ("MARBLERUN_INJECTOR_TLS_KEY_FILE", "key"),
        ("MARBLERUN_INJECTOR_CLUSTER_DOMAIN", "k.example"),
        ("MARBLERUN_INJECTOR_SGX_RESOURCE", "kubernetes.azure.com/sgx_epc_mem_in_MiB"),
        ("MARBLERUN_INJECTOR_LISTEN", "[::1]:9"),
        ("EDG_LOG_FORMAT", "JSON"),
        ("EDG_HTTP_ERROR_LOG_LEVEL", "warn"),
        ("EDG_DEBUG_LOGGING", "1"),
    ];
    let expected = Settings {
        rules: Rules {
            coordinator: "c:1".to_owned(),
            cluster_domain: "k.example".to_owned(),
            sgx: SgxResource::Other(crate::admission::AZURE.to_owned()),
        },
        tls_cert_file: "crt".into(),
        tls_key_file: "key".into(),
        listen: ListenAddress { host: "::1".to_owned(), port: 9 },
        log_format: LogFormat::Json,
        http_error_log_level: tracing::Level::WARN,
        debug: true,
    };
    assert_eq!(read(&[], &environment).unwrap(), expected);
    let flags = [
        "-coordAddr=d:2",
        "-tlsCertFile=crt2",
        "-tlsKeyFile=key2",
        "-clusterDomain=l.example",
        "-sgxResource=none",
        "-listen=:8",
        "-logFormat=text",
        "-httpErrorLogLevel=info",
        "-debug=0",
    ];
    let settings = read(&flags, &environment).unwrap();
    assert_eq!(
        settings,
        Settings {
            rules: Rules {
                coordinator: "d:2".to_owned(),
                cluster_domain: "l.example".to_owned(),
                sgx: SgxResource::None
            },
            tls_cert_file: "crt2".into(),
            tls_key_file: "key2".into(),
            listen: ListenAddress { host: String::new(), port: 8 },
            log_format: LogFormat::Text,
            http_error_log_level: tracing::Level::INFO,
            debug: false,
        }
    );
}

#[test]
fn a_value_that_would_break_marbles_is_refused_with_both_its_names() {
    for (flag, variable, values) in [
        ("coordAddr", "MARBLERUN_INJECTOR_COORD_ADDR", &["", "host", ":2001", "a b:1", "h:0", "h:x", "$(X):1"][..]),
        ("clusterDomain", "MARBLERUN_INJECTOR_CLUSTER_DOMAIN", &["", ".", "Cluster.local", "a,b", "cluster.local."]),
        ("sgxResource", "MARBLERUN_INJECTOR_SGX_RESOURCE", &["epc", "a/b/c", "/x", "A/x", "x/", "x/-", "x/a b"]),
        ("listen", "MARBLERUN_INJECTOR_LISTEN", &["", "8443", "::1:8443", "[x]:1", "h:70000"]),
        ("httpErrorLogLevel", "EDG_HTTP_ERROR_LOG_LEVEL", &["loud"]),
        ("logFormat", "EDG_LOG_FORMAT", &["xml"]),
        ("tlsKeyFile", "MARBLERUN_INJECTOR_TLS_KEY_FILE", &[""]),
    ] {
        for value in values {
            let error = read(&[&format!("-{flag}={value}")], &[]).unwrap_err().to_string();
            assert!(error.contains(&format!("-{flag} (or {variable}) is {value:?}")), "{error}");
        }
    }
}

#[test]
fn unknown_flags_and_stray_words_are_refused() {
    for (arguments, says) in [
        (&["-coordAdr", "x:1"][..], "--coordAddr"),
        (&["stray"], "unexpected argument 'stray'"),
        (&["-coordAddr"], "a value is required"),
        (&["-"], "unexpected argument"),
    ] {
        let error = read(arguments, &[]).unwrap_err().to_string();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}

#[test]
fn help_and_reference_name_every_flag_with_its_variable_and_default() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/reference/injector.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    for asked in ["-h", "-help", "--help"] {
        // As wide as it comes: lines are broken anywhere.
        let help = read(&[asked], &[]).unwrap_err().to_string();
        let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for Setting { flag, variable, default } in SETTINGS {
            let row = reference.lines().find(|line| line.starts_with(&format!("| `-{flag}` ")));
            let row = row.unwrap_or_else(|| panic!("no row of -{flag}"));
            assert!(row.contains(&format!("`{variable}`")) && row.contains(&format!("`{default}`")), "{row}");
            for said in [format!("--{flag} <"), format!("[env: {variable}] [default: {default}]")] {
                assert!(help.contains(&said), "{said:?} is not in {help}");
            }
        }
    }
    assert!(read(&["-version"], &[]).unwrap_err().to_string().starts_with("marblerun-injector "));
}

#[test]
fn addresses_are_written_back_as_they_are_read() {
    for text in [":8443", "localhost:0", "127.0.0.1:1", "[::1]:2"] {
        assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
    }
}
