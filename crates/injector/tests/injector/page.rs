//! What the page on injection says to type is typed here, in a cluster with controllers.

use marblerun_testkit::kube::ControlPlane;

use crate::registration::{Webhook, injector, marble};

/// The blocks of the page in that language.
fn blocks(language: &str) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/how-to/inject.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

#[test]
fn what_the_page_says_is_done_and_seen() {
    let plane = ControlPlane::builder().controller_manager().start().unwrap();
    let (injector, pair) = injector(&[]);
    let webhook = Webhook::register_in(&plane, &injector, &[&pair], |_| {});
    let kubectl = |command: &str| {
        let words = command.split_whitespace().skip(1);
        webhook.namespace.kubectl(words).unwrap().ok().unwrap()
    };
    let commands = blocks("sh");
    let [get, dry_run, events] = commands.as_slice() else { panic!("{commands:?}") };
    let deployment = blocks("yaml").remove(0);
    webhook.namespace.kubectl_with_input(["apply", "--filename", "-"], &deployment).unwrap().ok().unwrap();

    // The page says that there are four variables, a volume, limits and a toleration, in one of two containers.
    let seen = eventually(|| Some(kubectl(get)).filter(|seen| seen.contains("kind: Pod")));
    assert_eq!(seen.matches("name: EDG_MARBLE_").count(), 4, "{seen}");
    for said in ["mountPath: /web-uid", "name: uuid-file-", "sgx.intel.com/epc: 10Mi", "key: sgx.intel.com/epc"] {
        assert!(seen.contains(said), "{said:?} is not in {seen}");
    }
    assert!(
        seen.contains(&format!("value: web,web.{0},web.{0}.svc.cluster.local", webhook.namespace.name())),
        "{seen}"
    );

    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), marble("tried").to_string()).unwrap();
    let tried = kubectl(&dry_run.replace("pod.yaml", &file.path().display().to_string()));
    assert!(tried.contains("EDG_MARBLE_TYPE"), "{tried}");
    assert!(!webhook.namespace.kubectl(["get", "pod", "tried"]).unwrap().is_ok());

    // What keeps pods of a Deployment from being made stands where the page says.
    let mistyped = r#"{"spec":{"template":{"metadata":{"labels":{"marblerun/marblecontainer":"sever"}}}}}"#;
    webhook.namespace.kubectl(["patch", "deployment", "web", "--patch", mistyped]).unwrap().ok().unwrap();
    let why = "names container \"sever\", which this pod does not have";
    eventually(|| kubectl(events).contains(why).then_some(()));
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it does not come");
}
