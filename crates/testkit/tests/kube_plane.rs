//! A control plane of the tests' own: what it keeps, what it tells, how it ends; and the rights of a Coordinator's
//! account in it.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use marblerun_testkit::chaos::ChaosProxy;
use marblerun_testkit::kube::{ControlPlane, Role, ServiceAccount};

#[test]
fn a_namespace_of_a_test_lives_as_long_as_its_handle() {
    let plane = ControlPlane::shared().unwrap();
    let (namespace, other) = (plane.namespace().unwrap(), plane.namespace().unwrap());
    assert_ne!(namespace.name(), other.name());
    namespace.kubectl(["create", "secret", "generic", "s", "--from-literal=k=v"]).unwrap().ok().unwrap();
    assert!(!other.kubectl(["get", "secret", "s"]).unwrap().is_ok());

    let name = namespace.name().to_owned();
    drop(namespace);
    let dropped = Instant::now();
    while plane.kubectl(["get", "namespace", &name]).unwrap().is_ok() {
        assert!(dropped.elapsed() < Duration::from_secs(60), "{name} is still there");
    }
    assert!(!plane.kubectl(["get", "secret", "s", "--namespace", &name]).unwrap().is_ok());
    assert!(plane.kubectl(["get", "namespace", other.name()]).unwrap().is_ok());
}

#[test]
fn an_api_server_comes_back_with_all_it_had_and_controllers_go_on_with_it() {
    let plane = ControlPlane::builder().audit().controller_manager().start().unwrap();
    let namespace = plane.namespace().unwrap();
    let account = namespace.service_account(Role::Ours).unwrap();
    namespace.kubectl(["create", "secret", "generic", "marblerun-state", "--from-literal=k=v"]).unwrap().ok().unwrap();
    let port = plane.port().unwrap();
    let proxy = ChaosProxy::start(&plane).unwrap();
    let through = account.clone().with_kubeconfig(proxy.kubeconfig(&account).unwrap());
    through.kubectl(["get", "secret", "marblerun-state"]).unwrap().ok().unwrap();

    plane.stop_api_server().unwrap();
    let refused = account.kubectl(["get", "secret", "marblerun-state"]).unwrap();
    assert!(refused.stderr.contains("refused"), "{refused:?}");
    assert!(!through.kubectl(["get", "secret", "marblerun-state"]).unwrap().is_ok(), "what is absent is so to all");
    assert!(plane.stop_api_server().is_err() && plane.snapshot().is_err(), "it is stopped");
    plane.start_api_server().unwrap();
    assert!(plane.start_api_server().is_err(), "it runs");
    let log = plane.audit_log().from_now().unwrap();
    assert_eq!(plane.port().unwrap(), port);
    let value = account.kubectl(["get", "secret", "marblerun-state", "-o", "jsonpath={.data.k}"]).unwrap();
    assert_eq!(value.ok().unwrap(), "dg==");
    let restarted = Instant::now();
    while !through.kubectl(["get", "endpointslices"]).unwrap().is_ok() {
        assert!(restarted.elapsed() < Duration::from_secs(60), "the proxy does not find the API server again");
    }
    plane.restart_api_server().unwrap();
    assert!(account.kubectl(["get", "secret", "marblerun-state"]).unwrap().is_ok());

    let told: Vec<(String, String, Option<u16>)> = log
        .requests_of(&account.user)
        .unwrap()
        .into_iter()
        .filter(|request| request.resource == "secrets")
        .map(|request| (request.verb, request.name, request.code))
        .collect();
    let get = ("get".to_owned(), "marblerun-state".to_owned(), Some(200));
    assert_eq!(told, [get.clone(), get], "what was asked before `from_now` is not told");

    let version = ["get", "secret", "s", "--output=jsonpath={.metadata.resourceVersion}"];
    namespace.kubectl(["create", "secret", "generic", "s", "--from-literal=k=1"]).unwrap().ok().unwrap();
    let before = namespace.kubectl(version).unwrap().ok().unwrap();
    let snapshot = plane.snapshot().unwrap();
    let change = "--patch={\"data\":{\"k\":\"Mg==\"}}";
    namespace.kubectl(["patch", "secret", "s", change]).unwrap().ok().unwrap();
    assert_ne!(namespace.kubectl(version).unwrap().ok().unwrap(), before);
    plane.restore(&snapshot).unwrap();
    assert_eq!(namespace.kubectl(version).unwrap().ok().unwrap(), before, "the database is what it was");

    // Which is the work of a controller; without one the handle does it.
    namespace.kubectl(["delete", "namespace", namespace.name(), "--timeout=60s"]).unwrap().ok().unwrap();
}

/// In the test's own words: what a Coordinator does, and what nobody who takes one over may do.
#[test]
fn our_role_allows_a_coordinator_its_own_objects_by_name_and_nothing_else() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let account = namespace.service_account(Role::Ours).unwrap();
    let name = namespace.name();
    let allowed: [&[&str]; 10] = [
        &["get", "secret", "marblerun-state"],
        &["get", "secrets", "--field-selector=metadata.name=marblerun-state"],
        &["get", "secrets", "--field-selector=metadata.name=marblerun-state", "--watch", "--request-timeout=1s"],
        &["patch", "secret", "marblerun-state", "--patch={\"data\":{\"k\":\"dg==\"}}"],
        &["get", "secret", "marblerun-state-archive-4"],
        &["patch", "configmap", "marblerun-sealed-kek", "--patch={\"data\":{\"k\":\"v\"}}"],
        &["get", "configmaps", "--field-selector=metadata.name=marblerun-sealed-kek"],
        &["get", "endpointslices"],
        &["get", "endpointslices", "--watch", "--request-timeout=1s"],
        &["create", "--filename=-"],
    ];
    let denied: [&[&str]; 12] = [
        &["get", "secrets"],
        &["get", "secret", "other"],
        &["create", "secret", "generic", "other"],
        &["delete", "secret", "marblerun-state"],
        &["delete", "secret", "marblerun-state-archive-4"],
        &["get", "secrets", "--field-selector=metadata.name=marblerun-state-archive-4"],
        &["get", "configmaps"],
        &["delete", "configmap", "marblerun-sealed-kek"],
        &["get", "pods"],
        &["get", "leases"],
        &["get", "events"],
        &["get", "namespaces"],
    ];
    // Created as a Coordinator does it: `create` by POST is never limited by name.
    for object in
        ["v1 Secret marblerun-state", "v1 Secret marblerun-state-archive-4", "v1 ConfigMap marblerun-sealed-kek"]
    {
        apply(&account, object).unwrap_or_else(|error| panic!("{object}: {error}"));
    }
    assert!(apply(&account, "v1 Secret other").unwrap_err().contains("Forbidden"));
    assert!(apply(&account, "v1 ConfigMap other").unwrap_err().contains("Forbidden"));
    let event = format!(
        "{{apiVersion: v1, kind: Event, metadata: {{name: e}}, involvedObject: {{kind: Secret, namespace: {name}}}}}"
    );
    let log = plane.audit_log().from_now().unwrap();
    for words in allowed {
        account.kubectl_with_input(words, &event).unwrap();
    }
    let told = log.requests_of(&account.user).unwrap();
    assert!(told.iter().all(|request| request.code.is_some_and(|code| code < 300)), "{told:#?}");
    let verbs: BTreeSet<(&str, &str)> = told.iter().map(|r| (r.resource.as_str(), r.verb.as_str())).collect();
    for (resource, used) in [
        ("secrets", &["get", "list", "watch", "patch"][..]),
        ("configmaps", &["list", "patch"]),
        ("endpointslices", &["list", "watch"]),
        ("events", &["create"]),
    ] {
        used.iter().for_each(|verb| assert!(verbs.contains(&(resource, *verb)), "{verb} {resource}: {verbs:?}"));
    }
    for words in denied {
        let output = account.kubectl(words).unwrap();
        assert!(output.stderr.to_lowercase().contains("forbidden"), "{words:?}: {output:?}");
    }
    let refused = log.requests_of(&account.user).unwrap().into_iter().filter(|request| request.code == Some(403));
    assert_eq!(refused.count(), denied.len(), "the audit log tells each refusal");
}

#[test]
fn upstreams_role_lets_a_coordinator_create_by_post_but_neither_list_watch_nor_patch_its_state() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let account = namespace.service_account(Role::Upstream).unwrap();
    account.kubectl(["create", "secret", "generic", "marblerun-state"]).unwrap().ok().unwrap();
    account.kubectl(["get", "endpointslices"]).unwrap().ok().unwrap();
    let denied: [&[&str]; 4] = [
        &["get", "secrets", "--field-selector=metadata.name=marblerun-state"],
        &["patch", "secret", "marblerun-state", "--patch={\"data\":{\"k\":\"dg==\"}}"],
        &["delete", "secret", "marblerun-state"],
        &["get", "secret", "marblerun-state", "--namespace=default"],
    ];
    for words in denied {
        let output = account.kubectl(words).unwrap();
        assert!(output.stderr.to_lowercase().contains("forbidden"), "{words:?}: {output:?}");
    }
}

#[test]
fn a_proxy_without_faults_gives_an_account_its_own_rights_and_the_api_servers_own_answers() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let account = namespace.service_account(Role::Ours).unwrap();
    let proxy = ChaosProxy::start(&plane).unwrap();
    let through = account.clone().with_kubeconfig(proxy.kubeconfig(&account).unwrap());
    let log = plane.audit_log().from_now().unwrap();
    apply(&through, "v1 Secret marblerun-state").unwrap();
    apply(&through, "v1 Secret other").unwrap_err();
    // What changes from one answer to the next stands elsewhere.
    let get: &[&str] = &["get", "secret", "marblerun-state", "--output=yaml"];
    for words in [get, &["get", "secrets"], &["get", "endpointslices"], &["get", "secret", "marblerun-state-archive-0"]]
    {
        assert_eq!(through.kubectl(words).unwrap(), account.kubectl(words).unwrap(), "{words:?}");
    }
    let told = log.requests_of(&account.user).unwrap();
    assert_eq!(told.iter().filter(|request| request.uri.contains("/secrets/marblerun-state?fieldManager")).count(), 1);
    let passed = proxy.calls();
    assert!(passed.iter().all(|record| record.over && told.iter().any(|request| request.uri == record.call.uri)));
    assert_eq!(proxy.counts().into_iter().collect::<Vec<_>>(), [("pass", passed.len())]);
}

/// The test is its own victim: told so by the environment, it starts a control plane and waits to be killed.
#[test]
fn a_killed_test_leaves_no_control_plane_behind() {
    const VICTIM: &str = "MARBLERUN_TEST_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let plane = ControlPlane::builder().start().unwrap();
        println!("\nplane {}", plane.kubeconfig().display());
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_killed_test_leaves_no_control_plane_behind"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let kubeconfig = PathBuf::from(lines.find_map(|line| line.strip_prefix("plane ").map(str::to_owned)).unwrap());
    let data = kubeconfig.parent().unwrap();
    assert_eq!(processes_in(data).len(), 2, "etcd and the API server");
    victim.kill().unwrap();
    victim.wait().unwrap();
    let killed = Instant::now();
    while data.exists() || !processes_in(data).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(60), "{:?} are left in {}", processes_in(data), data.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes whose command line names that folder, but for scripts that work on it.
fn processes_in(folder: &Path) -> Vec<String> {
    let command_lines = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    let inside = format!("{}/", folder.display());
    command_lines.filter(|line| line.contains(&inside) && !line.contains("bash")).collect()
}

/// Server-side apply of an empty object: the error, if it is refused.
fn apply(account: &ServiceAccount, object: &str) -> Result<(), String> {
    let [version, kind, name] = object.split(' ').collect::<Vec<_>>()[..] else { panic!("{object}") };
    let text = format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}}}}}");
    let words = ["apply", "--server-side", "--validate=false", "--filename=-"];
    let output = account.kubectl_with_input(words, &text).unwrap();
    if output.is_ok() { Ok(()) } else { Err(output.stderr) }
}
