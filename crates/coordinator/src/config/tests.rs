use super::*;

fn options(arguments: &[&str]) -> Options {
    Options::try_parse_from(std::iter::once(&"marblerun-coordinator").chain(arguments)).unwrap()
}

fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
    Config::from_options(&options(arguments), Ok(PathBuf::from("/work")))
}

#[test]
fn without_any_option_the_defaults_are_those_that_users_know() {
    let config = config(&[]).unwrap();
    assert_eq!(config.mesh_addr.to_string(), ":2001");
    assert_eq!(config.client_addr.to_string(), ":4433");
    assert_eq!(config.prometheus_addr, None);
    assert_eq!(config.dns_names, "localhost");
    assert_eq!(config.seal_dir, Path::new("/work/marblerun-coordinator-data"));
    assert_eq!(config.startup_recovery_data, Path::new("/work/startup-recovery-data.json"));
    assert_eq!(config.tee, TeeChoice::Auto);
    assert_eq!(config.rollback, None);
    assert!(!config.debug_logging && !config.deny_recovery_reset);
    assert!(config.recovery_in_header);
    assert!(config.warnings.is_empty());
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let config = config(&[
        "--mesh-addr=",
        "--client-addr=",
        "--dns-names=",
        "--seal-dir=",
        "--tee=",
        "--log-format=",
        "--rollback=",
    ])
    .unwrap();
    assert_eq!(config.mesh_addr.to_string(), ":2001");
    assert_eq!(config.dns_names, "localhost");
    assert_eq!(config.seal_dir, Path::new("/work/marblerun-coordinator-data"));
    assert_eq!(config.tee, TeeChoice::Auto);
}

#[test]
fn the_grace_of_marbles_is_a_duration_within_bounds() {
    for (text, minutes) in
        [("", 1440), ("24h", 1440), ("90m", 90), ("1h 30m", 90), ("0", 0), ("0s", 0), ("720h", 43_200), ("60s", 1)]
    {
        let grace = config(&[&format!("--marble-grace={text}")]).unwrap().marble_grace;
        assert_eq!(grace, SignedDuration::from_mins(minutes), "{text}");
    }
    assert_eq!(config(&[]).unwrap().marble_grace, crate::core::DEFAULT_MARBLE_GRACE);
    for text in ["1", "-1h", "721h", "1d", "for ever", "9999999999999h"] {
        let error = config(&[&format!("--marble-grace={text}")]).unwrap_err();
        assert!(matches!(error, ConfigError::BadValue { variable: "MARBLERUN_MARBLE_GRACE", .. }), "{text}: {error}");
    }
}

#[test]
fn edg_cwd_stands_for_the_working_directory() {
    assert_eq!(config(&["--cwd=/data"]).unwrap().seal_dir, Path::new("/data/marblerun-coordinator-data"));
    assert_eq!(config(&["--cwd=/data", "--seal-dir=/seal"]).unwrap().seal_dir, Path::new("/seal"));
}

#[test]
fn a_missing_working_directory_only_matters_where_it_is_needed() {
    let gone = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    assert!(matches!(Config::from_options(&options(&[]), gone()), Err(ConfigError::NoWorkingDirectory(_))));
    assert!(Config::from_options(&options(&["--seal-dir=/seal"]), gone()).is_ok());
}

#[test]
fn addresses_are_read_as_go_writes_them() {
    let read = |text: &str| ListenAddress::parse(text).map(|a| (a.host, a.port));
    assert_eq!(read(":4433"), Some((String::new(), 4433)));
    assert_eq!(read("localhost:0"), Some(("localhost".into(), 0)));
    assert_eq!(read("0.0.0.0:2001"), Some(("0.0.0.0".into(), 2001)));
    assert_eq!(read("[::1]:4433"), Some(("::1".into(), 4433)));
    for bad in ["", "4433", "localhost", "::1:4433", "[::1:4433", "[x]:1", "a:b", ":65536", ":-1"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn an_empty_host_listens_on_both_address_families() {
    let wildcards = ListenAddress::parse(":4433").unwrap().wildcards().unwrap().map(|a| a.to_string());
    assert_eq!(wildcards, ["[::]:4433", "0.0.0.0:4433"]);
    assert_eq!(ListenAddress::parse("localhost:4433").unwrap().wildcards(), None);
}

#[test]
fn a_value_that_means_nothing_is_refused_by_the_name_of_its_variable() {
    for (argument, variable) in [
        ("--mesh-addr=nowhere", "EDG_COORDINATOR_MESH_ADDR"),
        ("--client-addr=nowhere", "EDG_COORDINATOR_CLIENT_ADDR"),
        ("--prometheus-addr=nowhere", "EDG_COORDINATOR_PROMETHEUS_ADDR"),
        ("--tee=magic", "MARBLERUN_TEE"),
        ("--log-format=xml", "EDG_LOG_FORMAT"),
        ("--rollback=maybe", "MARBLERUN_ROLLBACK"),
        ("--recovery-reset=maybe", "MARBLERUN_RECOVERY_RESET"),
        ("--recovery-in-header=maybe", "MARBLERUN_RECOVERY_IN_HEADER"),
    ] {
        let error = config(&[argument]).unwrap_err();
        assert!(error.to_string().contains(variable), "{error}");
    }
}

#[test]
fn who_asks_for_a_shared_store_never_gets_a_private_one_in_silence() {
    for arguments in [
        &["--distributed=1", "--store-backend=k8s-secret"][..],
        &["--licensed-features=x,DistributedCoordinator", "--store-backend=k8s-secret"],
    ] {
        let place = config(arguments).unwrap().cluster.unwrap().place;
        assert!(matches!(place, ClusterPlace::Kubernetes(_)), "{arguments:?}");
    }
    for arguments in [&["--store-backend=etcd"][..], &["--store-backend=etcd", "--distributed=1"]] {
        assert!(matches!(config(arguments).unwrap().cluster.unwrap().place, ClusterPlace::Etcd(_)));
    }
    for arguments in
        [&["--store-backend=k8s-secret"][..], &["--distributed=1"], &["--distributed=1", "--store-backend=consul"]]
    {
        let config = config(arguments).unwrap();
        assert!(!config.warnings.is_empty() && config.cluster.is_none(), "{arguments:?}");
    }
    assert_eq!(config(&[]).unwrap().cluster, None);
}

#[test]
fn the_objects_of_a_cluster_have_the_names_of_the_chart() {
    let place = |arguments: &[&str]| -> Result<KubernetesPlace, ConfigError> {
        let arguments = [&["--distributed=1", "--store-backend=k8s-secret"], arguments].concat();
        match config(&arguments)?.cluster.unwrap().place {
            ClusterPlace::Kubernetes(place) => Ok(place),
            ClusterPlace::Etcd(_) => unreachable!(),
        }
    };
    assert_eq!(
        place(&[]).unwrap(),
        KubernetesPlace {
            namespace: None,
            state: "marblerun-state".into(),
            kek_map: "marblerun-sealed-kek".into(),
            service: "coordinator-key-api".into(),
            api_server: None,
        }
    );
    let named = place(&[
        "--k8s-namespace=ns",
        "--k8s-state-name=s.1",
        "--k8s-kek-map=k",
        "--k8s-service-name=p",
        "--kubernetes-service-host=10.0.0.1",
        "--kubernetes-service-port=6443",
    ]);
    let named = named.unwrap();
    assert_eq!((named.namespace.as_deref(), named.state.as_str(), named.kek_map.as_str()), (Some("ns"), "s.1", "k"));
    assert_eq!((named.service.as_str(), named.api_server), ("p", Some(("10.0.0.1".to_owned(), 6443))));
    assert_eq!(place(&["--kubernetes-service-host=h"]).unwrap().api_server, Some(("h".to_owned(), 443)));
    for (argument, variable) in [
        ("--k8s-namespace=../x", "EDG_K8S_NAMESPACE"),
        ("--k8s-state-name=Upper", "EDG_K8S_STATE_NAME"),
        ("--k8s-kek-map=a..b", "EDG_K8S_KEK_MAP"),
        ("--k8s-service-name=-a", "EDG_K8S_SERVICE_NAME"),
        ("--kubernetes-service-port=1", "EDG_KUBERNETES_SERVICE_PORT"),
    ] {
        let error = place(&[argument]).unwrap_err();
        assert!(error.to_string().contains(variable), "{error}");
    }
    let error = place(&["--kubernetes-service-host=h", "--kubernetes-service-port=0"]).unwrap_err();
    assert!(error.to_string().contains("EDG_KUBERNETES_SERVICE_PORT"), "{error}");
}

#[test]
fn activations_go_on_for_five_minutes_unless_told_otherwise() {
    let settings = |arguments: &[&str]| {
        let arguments = [&["--store-backend=etcd"], arguments].concat();
        config(&arguments).map(|config| config.cluster.unwrap())
    };
    for (text, seconds) in [("", 300), ("5m", 300), ("90s", 90), ("0", 0), ("0s", 0), ("24h", 86_400)] {
        let grace = settings(&[&format!("--offline-grace={text}")]).unwrap().offline_grace;
        assert_eq!(grace.as_secs(), seconds, "{text}");
    }
    assert_eq!(settings(&[]).unwrap().offline_grace, crate::core::DEFAULT_OFFLINE_GRACE);
    assert_eq!(settings(&[]).unwrap().inline_max, 950_000);
    assert_eq!(settings(&["--state-inline-max=100000"]).unwrap().inline_max, 100_000);
    for text in ["--offline-grace=25h", "--offline-grace=-1s", "--offline-grace=5"] {
        let error = settings(&[text]).unwrap_err();
        assert!(matches!(error, ConfigError::BadValue { variable: "MARBLERUN_OFFLINE_GRACE", .. }), "{text}");
    }
    for text in ["--state-inline-max=0", "--state-inline-max=2000000", "--state-inline-max=1MB"] {
        assert!(settings(&[text]).unwrap_err().to_string().contains("MARBLERUN_STATE_INLINE_MAX"), "{text}");
    }
}

#[test]
fn keeping_and_discarding_a_damaged_state_at_once_is_refused() {
    assert!(matches!(config(&["--accept-loss-after=16", "--discard-existing-state"]), Err(ConfigError::Conflict(_))));
    assert_eq!(config(&["--accept-loss-after=16"]).unwrap().accept_loss_after, Some(16));
}

#[test]
fn dev_mode_changes_nothing_and_is_told() {
    let (with, without) = (config(&["--dev-mode=1"]).unwrap(), config(&[]).unwrap());
    assert_eq!(with.tee, without.tee);
    let [warning] = with.warnings.as_slice() else { panic!("{:?}", with.warnings) };
    assert!(warning.starts_with("EDG_COORDINATOR_DEV_MODE=1 has no effect"), "{warning}");
    assert!(without.warnings.is_empty());
}

#[test]
fn help_names_every_variable_and_default() {
    use clap::CommandFactory as _;
    let help = Options::command().render_long_help().to_string();
    for name in [
        "EDG_COORDINATOR_MESH_ADDR",
        "EDG_COORDINATOR_CLIENT_ADDR",
        "EDG_COORDINATOR_DNS_NAMES",
        "EDG_COORDINATOR_PROMETHEUS_ADDR",
        "EDG_COORDINATOR_SEAL_DIR",
        "EDG_COORDINATOR_DEV_MODE",
        "EDG_STARTUP_MANIFEST",
        "EDG_DEBUG_LOGGING",
        "EDG_LOG_FORMAT",
        "EDG_CWD",
        "EDG_DISTRIBUTED_COORDINATOR",
        "EDG_STORE_BACKEND",
        "EDG_K8S_NAMESPACE",
        "EDG_K8S_STATE_NAME",
        "EDG_K8S_KEK_MAP",
        "EDG_K8S_SERVICE_NAME",
        "EDG_KUBERNETES_SERVICE_HOST",
        "EDG_KUBERNETES_SERVICE_PORT",
        "MARBLERUN_ETCD_ENDPOINTS",
        "MARBLERUN_ETCD_CA_FILE",
        "MARBLERUN_ETCD_CERT_FILE",
        "MARBLERUN_ETCD_KEY_FILE",
        "MARBLERUN_ETCD_PREFIX",
        "MARBLERUN_ETCD_ADVERTISE",
        "MARBLERUN_OFFLINE_GRACE",
        "MARBLERUN_STATE_INLINE_MAX",
        "MARBLERUN_TEE",
        "MARBLERUN_COLLATERAL",
        "MARBLERUN_COLLATERAL_CACHE",
        "MARBLERUN_KDS_URL",
        "MARBLERUN_RECOVERY_RESET",
        "MARBLERUN_ROLLBACK",
        "MARBLERUN_SIMULATION_HOST_KEY",
        "MARBLERUN_RECOVERY_IN_HEADER",
        "MARBLERUN_STARTUP_RECOVERY_DATA",
        "MARBLERUN_KEY_ADDR",
        "MARBLERUN_PEERS",
        "MARBLERUN_PEER_MIN_SVN",
        "MARBLERUN_SIMULATION_IDENTITY",
        "--accept-loss-after",
        "--discard-existing-state",
        "[default: :4433]",
        "[default: :2001]",
    ] {
        assert!(help.contains(name), "{name} is missing from:\n{help}");
    }
}

#[test]
fn collateral_is_at_an_address_or_in_files() {
    use marblerun_collateral::Place;
    assert_eq!(config(&[]).unwrap().collateral, super::CollateralPlaces::default());
    let flags = ["--collateral=https://pccs:8081/", "--kds-url=none", "--collateral-cache=/var/cache/c"];
    let places = config(&flags).unwrap().collateral;
    assert_eq!(places.intel, Some(Place::Url("https://pccs:8081/".to_owned())));
    assert_eq!((places.amd.as_deref(), places.cache.as_deref()), (Some("none"), Some(Path::new("/var/cache/c"))));
    let places = config(&["--collateral=/etc/collateral"]).unwrap().collateral;
    assert_eq!(places.intel, Some(Place::Path("/etc/collateral".into())));
}

#[test]
fn peers_are_named_by_host_and_port() {
    let config = config(&["--peers=a:1, [::1]:2,,192.0.2.1:3"]).unwrap();
    assert_eq!(config.peers, ["a:1", "[::1]:2", "192.0.2.1:3"]);
    assert_eq!((config.key_addr.to_string(), config.peer_min_svn), (":5433".to_owned(), None));
    for (argument, variable) in [
        ("--peers=a:1,b", "MARBLERUN_PEERS"),
        ("--peers=:1", "MARBLERUN_PEERS"),
        ("--peers=a:0", "MARBLERUN_PEERS"),
        ("--peer-min-svn=-1", "MARBLERUN_PEER_MIN_SVN"),
        ("--key-addr=nowhere", "MARBLERUN_KEY_ADDR"),
        ("--simulation-identity=svn", "MARBLERUN_SIMULATION_IDENTITY"),
    ] {
        let error = self::config(&[argument]).unwrap_err();
        assert!(error.to_string().contains(variable), "{argument}: {error}");
    }
    let config = self::config(&["--peer-min-svn=2", "--simulation-identity=signer=aa,svn=3"]).unwrap();
    assert_eq!((config.peer_min_svn, config.simulation_identity.svn), (Some(2), 3));
}

#[test]
fn the_reference_page_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/configuration.md");
    let page = reference_page();
    if std::env::var_os("MARBLERUN_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "out of date: run `MARBLERUN_UPDATE_DOCS=1 cargo test -p marblerun-coordinator reference_page`"
    );
}

/// Shipped with the packages; the section of programs that are started by the system.
#[test]
fn the_manual_reference_page_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/marblerun-coordinator.8");
    let mut page = Vec::new();
    clap_mangen::Man::new(<Options as clap::CommandFactory>::command()).section("8").render(&mut page).unwrap();
    if std::env::var_os("MARBLERUN_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    assert!(std::fs::read(&path).unwrap_or_default() == page, "out of date: run `cargo xtask docs`");
}
