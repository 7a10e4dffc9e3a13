//! A Coordinator in the pod that the chart describes: with the environment and the files that an API server hands out for
//! it, and no others. The test does what a node does; the enclave is played by files where Gramine has them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marblerun_testkit::kube::{ControlPlane, Namespace};
use marblerun_testkit::{Coordinator, RecoveryKeyPair, TestUser, binary, free_port, load};
use serde_json::{Value, json};

use crate::helm::{Helm, chart, fixtures, root};

/// A root of its own with the system's programs and libraries, the enclave's files, and the pod's mounts; then the program.
const START: &str = r#"
root=$1 enclave=$2 program=$3
shift 3
mount -t tmpfs tmpfs "$root"
for folder in bin lib lib64 usr proc; do
    if [ -e "/$folder" ]; then
        mkdir "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    fi
done
mkdir "$root/dev" "$root/dev/attestation"
for device in null zero random urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --rbind "$enclave" "$root/dev/attestation"
: > "$root/program"
mount --bind "$program" "$root/program"
while [ $# -ge 2 ]; do
    if [ -d "$1" ]; then
        mkdir -p "$root/$2"
    else
        mkdir -p "$(dirname "$root/$2")"
        : > "$root/$2"
    fi
    mount --rbind "$1" "$root/$2"
    shift 2
done
exec chroot "$root" /program
"#;

/// The files that Gramine shows to what runs in its enclave. Quotes are made up, over the report data that was written.
struct Enclave {
    folder: PathBuf,
    is_over: Arc<AtomicBool>,
    answers: Option<JoinHandle<()>>,
}

impl Enclave {
    fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("user_report_data"), [0; 64]).unwrap();
        fs::write(folder.join("keys/_sgx_mrsigner"), [7; 16]).unwrap();
        fs::write(folder.join("keys/_sgx_mrenclave"), [8; 16]).unwrap();
        let quote = root().join("crates/attestation/tests/fixtures/quotes/synthetic/sgx_UpToDate.quote");
        let quote = fs::read(quote).unwrap();
        pipe(&folder.join("quote"));
        let is_over = Arc::new(AtomicBool::new(false));
        let (place, ends) = (folder.to_path_buf(), Arc::clone(&is_over));
        let answers = std::thread::spawn(move || {
            loop {
                // Open until somebody reads. The next who does finds another pipe.
                let mut reader = fs::File::options().write(true).open(place.join("quote")).unwrap();
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                pipe(&place.join("next"));
                fs::rename(place.join("next"), place.join("quote")).unwrap();
                let mut quote = quote.clone();
                // Header, and the place of the report data in the report.
                quote[48 + 320..48 + 384].copy_from_slice(&fs::read(place.join("user_report_data")).unwrap());
                // A reader that went away asks again.
                let _ = std::io::Write::write_all(&mut reader, &quote);
            }
        });
        Self { folder: folder.to_path_buf(), is_over, answers: Some(answers) }
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = fs::File::open(self.folder.join("quote"));
        if let Some(answers) = self.answers.take() {
            let _ = answers.join();
        }
    }
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success(), "{}", path.display());
}

/// A node: volumes of pods, and what survives them.
struct Node {
    // Ends before its folder goes.
    enclave: Enclave,
    home: tempfile::TempDir,
    starts: usize,
}

impl Node {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let enclave = Enclave::new(&home.path().join("enclave"));
        Self { enclave, home, starts: 0 }
    }

    /// Starts the Coordinator of a namespace, as its Deployment says.
    async fn start(&mut self, namespace: &Namespace) -> anyhow::Result<Coordinator> {
        self.starts += 1;
        let pod_folder = self.home.path().join(format!("pod-{}", self.starts));
        fs::create_dir_all(pod_folder.join("root")).unwrap();
        let deployment = get(namespace, "deployment", "marblerun-coordinator");
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let volumes: BTreeMap<&str, PathBuf> = list(&pod["volumes"])
            .map(|volume| (text(&volume["name"]), self.volume(namespace, volume, &pod_folder)))
            .collect();
        let mut command: Vec<OsString> =
            ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-ec", START, "start"]
                .map(OsString::from)
                .into();
        command.push(pod_folder.join("root").into());
        command.push(self.enclave.folder.clone().into());
        command.push(binary("marblerun-coordinator").into());
        for mount in list(&container["volumeMounts"]) {
            let volume = &volumes[text(&mount["name"])];
            let source = mount["subPath"].as_str().map_or(volume.clone(), |path| volume.join(path));
            command.extend([source.into(), OsString::from(text(&mount["mountPath"]))]);
        }
        let port = |name: &str| {
            let found = list(&container["ports"]).find(|port| port["name"] == name).unwrap();
            u16::try_from(found["containerPort"].as_u64().unwrap()).unwrap()
        };
        let mut builder =
            Coordinator::builder(&self.home.path().join("seal")).command(command).ports(port("http"), port("grpc"));
        for variable in list(&container["env"]) {
            builder = builder.env(text(&variable["name"]), value(namespace, variable));
        }
        builder.start().await
    }

    /// A folder with what a volume has.
    fn volume(&self, namespace: &Namespace, volume: &Value, pod: &Path) -> PathBuf {
        let folder = pod.join(text(&volume["name"]));
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            let folder = self.home.path().join(claim);
            fs::create_dir_all(&folder).unwrap();
            return folder;
        }
        fs::create_dir(&folder).unwrap();
        if volume["emptyDir"].is_object() {
            return folder;
        }
        let secret = &volume["secret"];
        let files = match (secret["secretName"].as_str(), volume["configMap"]["name"].as_str()) {
            (Some(name), _) => data(&get(namespace, "secret", name)),
            (_, Some(name)) => data(&get(namespace, "configmap", name)),
            _ => panic!("nobody tells here what is in {volume}"),
        };
        // As a node writes them: a folder for each change, and links to the newest.
        fs::create_dir(folder.join("..now")).unwrap();
        symlink("..now", folder.join("..data")).unwrap();
        let put = |name: &str, content: &[u8]| {
            fs::write(folder.join("..now").join(name), content).unwrap();
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        };
        match secret["items"].as_array() {
            Some(items) => items.iter().for_each(|item| put(text(&item["path"]), &files[text(&item["key"])])),
            None => files.iter().for_each(|(name, content)| put(name, content)),
        }
        folder
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn get(namespace: &Namespace, kind: &str, name: &str) -> Value {
    let answer = namespace.kubectl(["get", kind, name, "--output=json"]).unwrap().ok().unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Files of a Secret or ConfigMap.
fn data(object: &Value) -> BTreeMap<String, Vec<u8>> {
    let is_secret = object["kind"] == "Secret";
    let decode = |value: &Value| STANDARD.decode(text(value)).unwrap();
    let content = |value: &Value| if is_secret { decode(value) } else { text(value).as_bytes().to_vec() };
    let fields = |name: &str| object[name].as_object().cloned().unwrap_or_default();
    let mut files: BTreeMap<_, _> = fields("data").into_iter().map(|(name, value)| (name, content(&value))).collect();
    files.extend(fields("binaryData").into_iter().map(|(name, value)| (name, decode(&value))));
    files
}

/// The value of a variable.
fn value(namespace: &Namespace, variable: &Value) -> String {
    let Some(key) = variable["valueFrom"]["secretKeyRef"].as_object() else {
        return variable["value"].as_str().unwrap_or_default().to_owned();
    };
    let files = data(&get(namespace, "secret", text(&key["name"])));
    String::from_utf8(files[text(&key["key"])].clone()).unwrap()
}

/// Makes or replaces a Secret or ConfigMap.
fn put(namespace: &Namespace, object: &Value) {
    namespace.kubectl_with_input(["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
}

fn put_passphrase(namespace: &Namespace, passphrase: &str) {
    put(
        namespace,
        &json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "state"}, "stringData": {"words": passphrase},
        }),
    );
}

/// Real evidence, and what belongs to it; no part of the project.
fn real(name: &str) -> Option<Vec<u8>> {
    let path = root().join("../shared/fixtures/quotes/sgx").join(name);
    let found = fs::read(&path).ok();
    if found.is_none() {
        eprintln!("SKIPPED: {} is not there, so no real evidence is verified", path.display());
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_seals_with_the_secret_and_verifies_with_the_config_map_that_the_values_name() {
    let plane = ControlPlane::shared().unwrap();
    let namespace = plane.namespace().unwrap();
    let (client, mesh) = (free_port().to_string(), free_port().to_string());
    let set = [
        "coordinator.tee=sgx",
        "coordinator.seal.backends=platform+passphrase",
        "coordinator.seal.passphrase.secretName=state",
        "coordinator.seal.passphrase.secretKey=words",
        "coordinator.collateral.configMap=collateral",
        "coordinator.clientServerHost=127.0.0.1",
        "coordinator.meshServerHost=127.0.0.1",
        &format!("coordinator.clientServerPort={client}"),
        &format!("coordinator.meshServerPort={mesh}"),
    ];
    let helm = Helm::in_cluster(&plane.kubeconfig()).args(["install", "marblerun"]).args([chart()]);
    let helm = helm.args(["--namespace", namespace.name(), "--values"]).args([fixtures().join("common.yaml")]);
    helm.args(set.iter().flat_map(|set| ["--set", set])).succeeds();
    put_passphrase(&namespace, "correct horse battery staple");
    let collateral = real("00606a-202508.collateral.json");
    let files = collateral.as_deref().map_or_else(String::new, |bytes| String::from_utf8(bytes.to_vec()).unwrap());
    put(
        &namespace,
        &json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "collateral"}, "data": {"00606a.json": files},
        }),
    );

    let mut node = Node::new();
    let coordinator = node.start(&namespace).await.unwrap();
    let (owner, party) = (TestUser::new("owner").unwrap(), RecoveryKeyPair::new().unwrap());
    let parties = [("party", party.public_pem().unwrap())];
    let mut manifest: Value = serde_json::from_slice(&load::manifest(&owner, &parties, 1).unwrap()).unwrap();
    manifest["Config"]["FeatureGates"] = json!(["SignQuoteEndpoint"]);
    let api = coordinator.client().await.unwrap();
    api.set_manifest(manifest.to_string().as_bytes()).await.unwrap();
    let slots = api.v3().status().await.unwrap();
    let slots = serde_json::to_value(slots).unwrap();
    assert_eq!(slots["tee"], "sgx", "{slots}");
    assert!(slots.to_string().contains("platform+passphrase"), "{slots}");

    // What the ConfigMap has is what is verified with. It is of a platform, and of a time that is over.
    if let Some(quote) = real("automata-00606a.quote") {
        let error = api.sign_quote(&quote).await.unwrap_err().to_string();
        assert!(error.contains("quote verification failed"), "{error}");
        assert!(coordinator.log().contains("newer collateral is needed"), "{}", coordinator.log());
        put(
            &namespace,
            &json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "collateral"}, "data": {"notes": "none"},
            }),
        );
    }
    coordinator.terminate().await.unwrap();

    let coordinator = node.start(&namespace).await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 3, "{}", coordinator.log());
    assert!(coordinator.log().contains("/etc/marblerun/collateral"), "{}", coordinator.log());
    if let Some(quote) = real("automata-00606a.quote") {
        coordinator.client().await.unwrap().sign_quote(&quote).await.unwrap_err();
        assert!(coordinator.log().contains("/etc/marblerun/collateral has none of"), "{}", coordinator.log());
    }
    coordinator.terminate().await.unwrap();

    put_passphrase(&namespace, "another horse, another staple");
    let coordinator = node.start(&namespace).await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 1, "it opens with that passphrase alone: {}", coordinator.log());
}
