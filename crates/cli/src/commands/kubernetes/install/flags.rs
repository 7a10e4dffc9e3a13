//! What the command line says, as values of the chart.

use std::path::Path;

use anyhow::{Context as _, Result};
use marblerun_install::devices::{KNOWN_KEYS, Plugin};
use marblerun_install::values::{ChartValues, UserValues};
use serde_json::{Value, json};

use crate::args::InstallArgs;

/// The values that files and flags name: files first, then `--set`, then the flags.
pub fn values(args: &InstallArgs, chart: &ChartValues, read: impl Fn(&Path) -> Result<String>) -> Result<UserValues> {
    let mut user = UserValues::default();
    for path in &args.values {
        let file = UserValues::from_yaml(&read(path)?).with_context(|| format!("reading {}", path.display()))?;
        user.add(file);
    }
    for text in &args.set {
        user.set(text)?;
    }
    let mut put = |path: &[&str], value: Option<Value>| {
        if let Some(value) = value {
            user.put(path, value);
        }
    };
    put(&["coordinator", "repository"], args.repository.as_deref().map(|text| json!(text.trim_end_matches('/'))));
    put(&["coordinator", "replicas"], args.replicas.map(Value::from));
    put(&["coordinator", "distributedDeployment"], args.distributed_deployment.then_some(json!(true)));
    put(&["coordinator", "meshServerPort"], args.mesh_server_port.map(Value::from));
    put(&["coordinator", "clientServerPort"], args.client_server_port.map(Value::from));
    for (path, flag) in [
        (&["coordinator", "tee"][..], &args.tee),
        (&["coordinator", "seal", "backends"], &args.seal),
        (&["coordinator", "seal", "passphrase", "secretName"], &args.seal_passphrase_secret),
        (&["coordinator", "seal", "pkcs11", "secretName"], &args.seal_pkcs11_secret),
        (&["coordinator", "seal", "pkcs11", "keyLabel"], &args.seal_pkcs11_key_label),
        (&["coordinator", "collateral", "url"], &args.collateral_url),
        (&["coordinator", "collateral", "configMap"], &args.collateral_config_map),
    ] {
        put(path, flag.clone().map(Value::from));
    }
    if args.simulation {
        put(&["coordinator", "simulation"], Some(json!(true)));
        // Nothing of SGX is used, neither by the Coordinator nor by Marbles.
        put(&["dcap"], Some(Value::Null));
        put(&["marbleInjector", "resourceKey"], Some(json!("")));
    } else {
        let file = args.dcap_qcnl_config_file.as_deref().map(&read).transpose()?;
        put(&["dcap", "qcnlConfig"], file.map(Value::from));
        put(&["dcap", "pccsUrl"], args.dcap_pccs_url.clone().map(Value::from));
        put(&["dcap", "useSecureCert"], args.dcap_secure_cert.clone().map(Value::from));
    }
    if args.disable_auto_injection {
        put(&["marbleInjector", "start"], Some(json!(false)));
    }
    if user.get(&["marbleInjector", "start"]).is_none() {
        user.put(&["marbleInjector", "start"], json!(true));
    }
    if !args.domain.is_empty() {
        let hostname = ["coordinator", "hostname"];
        let before = user.get(&hostname).or_else(|| chart.get(&hostname)).and_then(Value::as_str).unwrap_or_default();
        let names = args.domain.iter().map(String::as_str).chain((!before.is_empty()).then_some(before));
        let joined = names.collect::<Vec<_>>().join(",");
        user.put(&hostname, json!(joined));
    }
    Ok(user)
}

/// The same, for the SGX device plugin of the cluster. What the user said of resources and tolerations stays.
pub fn use_plugin(user: &mut UserValues, chart: &ChartValues, plugin: &Plugin) {
    let key = plugin.resource_key();
    if user.get(&["marbleInjector", "resourceKey"]).is_none() {
        user.put(&["marbleInjector", "resourceKey"], json!(key));
    }
    let merged = chart.with(user);
    let mut tolerations = merged.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    if !tolerations.iter().any(|toleration| toleration.get("key").and_then(Value::as_str) == Some(key)) {
        tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}));
        user.put(&["tolerations"], json!(tolerations));
    }
    let limits = plugin.limits();
    let amounts = |kind: &str| merged.pointer(&format!("/coordinator/resources/{kind}")).and_then(Value::as_object);
    for kind in ["limits", "requests"] {
        let foreign = KNOWN_KEYS.iter().filter(|known| limits.iter().all(|(own, _)| own != *known));
        for name in foreign.filter(|name| amounts(kind).is_some_and(|amounts| amounts.contains_key(**name))) {
            user.put(&["coordinator", "resources", kind, name], Value::Null);
        }
    }
    for (name, amount) in limits {
        if amounts("limits").is_none_or(|amounts| !amounts.contains_key(name)) {
            user.put(&["coordinator", "resources", "limits", name], json!(amount));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use marblerun_install::{Chart, Settings};

    use super::*;
    use crate::args::{Cli, Command};

    fn args(line: &str) -> InstallArgs {
        let words = ["marblerun", "install"].into_iter().chain(line.split_whitespace());
        match Cli::parse_from(words).command {
            Command::Install(args) => *args,
            _ => unreachable!(),
        }
    }

    fn merged(line: &str, files: &[(&str, &str)]) -> Value {
        let chart = Chart::built_in().unwrap().values;
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            Ok(found.unwrap().1.to_owned())
        };
        chart.with(&values(&args(line), &chart, read).unwrap())
    }

    #[test]
    fn flags_win_over_set_and_that_over_files_and_a_later_file_over_an_earlier() {
        let files =
            [("a", "coordinator: {replicas: 2, hostname: a, logFormat: text}"), ("b", "coordinator: {hostname: b}")];
        let values = merged(
            "--values a --values b --set coordinator.logFormat=json --replicas 3 --distributed-deployment --domain x,y --domain z",
            &files,
        );
        let coordinator = &values["coordinator"];
        assert_eq!(coordinator["replicas"], 3);
        assert_eq!(coordinator["hostname"], "x,y,z,b");
        assert_eq!(coordinator["logFormat"], "json");
        assert_eq!(coordinator["distributedDeployment"], true);
        assert_eq!(values["marbleInjector"]["start"], true);
    }

    #[test]
    fn without_flags_the_defaults_are_those_of_the_chart_and_the_webhook_is_there() {
        let chart = Chart::built_in().unwrap().values;
        let mut expected = chart.with(&UserValues::default());
        expected["marbleInjector"]["start"] = json!(true);
        assert_eq!(merged("", &[]), expected);
        assert_eq!(merged("--disable-auto-injection", &[])["marbleInjector"]["start"], false);
        let off = [("f", "marbleInjector: {start: false}")];
        assert_eq!(merged("--values f", &off)["marbleInjector"]["start"], false);
    }

    #[test]
    fn a_simulation_has_nothing_of_sgx_and_neither_have_its_marbles() {
        let values = merged("--simulation", &[]);
        assert!(values.get("dcap").is_none_or(Value::is_null));
        assert_eq!(values["marbleInjector"]["resourceKey"], "");
        assert_eq!(values["coordinator"]["simulation"], true);
    }

    #[test]
    fn hardware_sealing_and_collateral_are_values_too() {
        let values = merged(
            "--tee tdx --seal tpm,tpm+passphrase --seal-passphrase-secret words --collateral-config-map files",
            &[("f", "")],
        );
        let coordinator = &values["coordinator"];
        assert_eq!(coordinator["tee"], "tdx");
        assert_eq!(coordinator["seal"]["backends"], "tpm,tpm+passphrase");
        let passphrase = json!({"secretName": "words", "secretKey": "passphrase"});
        assert_eq!(coordinator["seal"]["passphrase"], passphrase);
        assert_eq!(coordinator["collateral"]["configMap"], "files");
        Settings::read(values).unwrap();
        for wrong in [
            &["--tee", "simulation"][..],
            &["--tee", "tdx", "--simulation"],
            &["--collateral-url", "https://p", "--collateral-config-map", "c"],
        ] {
            assert!(Cli::try_parse_from([&["marblerun", "install"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_quote_providers_file_is_one_or_the_other() {
        let values = merged("--dcap-qcnl-config-file f", &[("f", "PCCS_URL=x")]);
        assert_eq!(values["dcap"]["qcnlConfig"], "PCCS_URL=x");
        let values = merged("--dcap-pccs-url https://p --dcap-secure-cert FALSE", &[]);
        assert_eq!(
            (&values["dcap"]["pccsUrl"], &values["dcap"]["useSecureCert"]),
            (&json!("https://p"), &json!("FALSE"))
        );
        let both = ["marblerun", "install", "--dcap-qcnl-config-file", "f", "--dcap-pccs-url", "https://p"];
        assert!(Cli::try_parse_from(both).is_err());
    }

    fn with_plugin(key: &str, said: &str) -> Settings {
        let chart = Chart::built_in().unwrap().values;
        let mut user = UserValues::from_yaml(said).unwrap();
        use_plugin(&mut user, &chart, &Plugin::from_resource_key(key));
        Settings::read(chart.with(&user)).unwrap()
    }

    #[test]
    fn the_coordinator_asks_for_the_resources_of_the_plugin_that_is_there_and_no_others() {
        let limits = |settings: &Settings| format!("{settings:?}");
        let azure = limits(&with_plugin("kubernetes.azure.com/sgx_epc_mem_in_MiB", ""));
        assert!(azure.contains(r#""kubernetes.azure.com/sgx_epc_mem_in_MiB": Quantity("10")"#), "{azure}");
        assert!(
            !azure.contains(r#""sgx.intel.com/enclave": Quantity"#)
                && !azure.contains(r#""sgx.intel.com/epc": Quantity"#)
        );
        assert!(azure.contains(r#"key: Some("kubernetes.azure.com/sgx_epc_mem_in_MiB")"#));
        let own = limits(&with_plugin("example.com/epc", "coordinator: {resources: {limits: {cpu: 1}}}"));
        assert!(
            own.contains(r#""example.com/epc": Quantity("10")"#) && own.contains(r#""cpu": Quantity("1")"#),
            "{own}"
        );
        let said = "coordinator: {resources: {limits: {sgx.intel.com/epc: 64Mi}}}";
        let intel = limits(&with_plugin("sgx.intel.com/epc", said));
        assert!(
            intel.contains(r#""sgx.intel.com/epc": Quantity("64Mi")"#)
                && intel.contains(r#""sgx.intel.com/provision": Quantity("1")"#)
        );
    }
}
