//! What the pages say to type is typed here, with the real programs.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use marblerun_testkit::{Coordinator, RecoveryKeyPair, binary};

/// The shell blocks of a page: of those with a prompt only what is typed.
fn blocks(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut blocks = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("\n```") {
        let (language, after) = after.split_once('\n').unwrap();
        let (block, after) = after.split_once("\n```").unwrap();
        match language {
            "sh" => blocks.push(block.to_owned()),
            "console" => {
                blocks.push(block.lines().filter_map(|line| line.strip_prefix("$ ")).collect::<Vec<_>>().join("\n"));
            }
            _ => {}
        }
        rest = after;
    }
    blocks
}

/// The only block of a page with that text in it.
fn block(page: &str, with: &str) -> String {
    let mut found: Vec<String> = blocks(page).into_iter().filter(|block| block.contains(with)).collect();
    assert_eq!(found.len(), 1, "{page}: blocks with {with:?}");
    found.remove(0)
}

/// A folder of a user, and a shell in it.
struct User {
    home: tempfile::TempDir,
    client: String,
    mesh: String,
}

impl User {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Types a block, with words of the page replaced by what is true here. Every such word must stand in it.
    fn types(&self, block: &str, replace: &[(&str, &str)]) -> String {
        let mut script = block.to_owned();
        for (said, here) in replace {
            assert!(script.contains(said), "{said:?} does not stand in: {block}");
            script = script.replace(said, here);
        }
        let path = std::env::var("PATH").unwrap();
        let programs = binary("marblerun").parent().unwrap().display().to_string();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(self.home.path())
            .env("PATH", format!("{programs}:{path}"))
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env("EDG_MARBLE_COORDINATOR_ADDR", &self.mesh)
            .output()
            .unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n--- gave\n{stdout}{stderr}");
        stdout
    }
}

/// The Coordinator of [`User`] on another host: what bound the state to the last one is gone.
async fn lose_the_host(user: &User, coordinator: Coordinator) -> Coordinator {
    let again = Coordinator::builder(&coordinator.seal_dir).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    std::fs::remove_file(user.path("marblerun-coordinator-data/sealed_key")).unwrap();
    let coordinator = again.start().await.unwrap();
    assert_eq!(coordinator.status().await.unwrap(), 1);
    coordinator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_types_getting_started_and_all_how_tos() {
    const START: &str = "docs/src/getting-started.md";
    const BACKUP: &str = "docs/src/how-to/backup.md";
    const RECOVER: &str = "docs/src/how-to/recover.md";
    const MARBLE: &str = "docs/src/how-to/marble.md";
    let home = tempfile::tempdir().unwrap();
    let seal = home.path().join("marblerun-coordinator-data");
    let mut coordinator = Coordinator::builder(&seal).start().await.unwrap();
    let user = User {
        client: format!("localhost:{}", coordinator.client_addr.port()),
        mesh: coordinator.mesh_addr.to_string(),
        home,
    };
    let client = ("localhost:4433", user.client.as_str());
    // In simulation the pages say to add it.
    let insecure = format!("{} --insecure", user.client);
    let insecure = ("localhost:4433", insecure.as_str());
    let hello = user.path("hello.pem").display().to_string();

    // Getting started.
    let mut here = vec![client, ("/tmp/hello.pem", &hello)];
    if Command::new("openssl").arg("version").output().is_err() {
        // The tests run without it.
        let key = RecoveryKeyPair::new().unwrap();
        std::fs::write(user.path("recovery-key.pem"), key.private_pem().unwrap()).unwrap();
        std::fs::write(user.path("recovery-key.pub"), key.public_pem().unwrap()).unwrap();
        here.extend([("openssl", ": openssl")]);
    }
    let set = user.types(&block(START, "manifest set"), &here);
    for promised in
        ["The manifest can be set.", "Manifest successfully set", "Recovery data saved to: recovery.json", "\n3: "]
    {
        assert!(set.contains(promised), "{promised:?}: {set}");
    }
    let key = user.types(&block(START, "marblerun-premain"), &[]);
    assert!(key.starts_with("my key is ") && key.contains(&hello), "{key}");
    let key = key.lines().next().unwrap();

    // Back up, verify.
    let backups = user.path("backups").display().to_string();
    std::fs::create_dir(&backups).unwrap();
    let seal = user.path("marblerun-coordinator-data").display().to_string();
    user.types(&block(BACKUP, "backup create /var/lib"), &[("/var/lib/marblerun/seal", &seal), ("/backups", &backups)]);
    let file = std::fs::read_dir(&backups).unwrap().next().unwrap().unwrap().path().display().to_string();
    let verified = user.types(&block(BACKUP, "backup verify"), &[("/backups/FILE", &file)]);
    assert!(verified.starts_with("OK") && verified.contains("root fingerprint"), "{verified}");

    // Recover: each way.
    coordinator = lose_the_host(&user, coordinator).await;
    let status = user.types(&block(RECOVER, "marblerun status"), &[client]);
    assert!(status.starts_with("1: Coordinator is in recovery mode."), "{status}");
    assert_eq!(user.types(&block(RECOVER, "--data"), &[insecure]), "Recovery successful.\n");
    coordinator = lose_the_host(&user, coordinator).await;
    let data: serde_json::Value = serde_json::from_slice(&std::fs::read(user.path("recovery.json")).unwrap()).unwrap();
    std::fs::write(user.path("mine"), data["RecoverySecrets"]["me"].as_str().unwrap()).unwrap();
    // Not every machine has jq.
    let jq = ("jq -r .RecoverySecrets.me recovery.json", "cat mine");
    assert_eq!(user.types(&block(RECOVER, "jq -r"), &[insecure, jq]), "Recovery successful.\n");
    coordinator = lose_the_host(&user, coordinator).await;
    assert_eq!(user.types(&block(RECOVER, "sign-secret"), &[insecure]), "Recovery successful.\n");

    // Restore, on yet another host.
    let again = Coordinator::builder(&user.path("elsewhere")).same_ports(&coordinator);
    coordinator.terminate().await.unwrap();
    let elsewhere = user.path("elsewhere").display().to_string();
    let restore = [("/backups/FILE", file.as_str()), ("/var/lib/marblerun/seal", &elsewhere)];
    user.types(&block(BACKUP, "backup restore"), &restore);
    let coordinator = again.start().await.unwrap();
    assert_eq!(user.types(&block(RECOVER, "--data"), &[insecure]), "Recovery successful.\n");

    // A Marble, and one that pins this Coordinator.
    let typed = block(MARBLE, "marblerun-premain ./server");
    let here = [("=web", "=hello"), ("coordinator:2001", &user.mesh), ("./server --listen :8443", "/bin/sh")];
    let again = user.types(&typed, &here);
    assert!(again.starts_with(key), "the same Marble has the same key, also after all that: {again}");
    let pin = block(MARBLE, "marblerun certificate root")
        + "\nexport MARBLERUN_COORDINATOR_ROOT_CA=root.pem\nEDG_MARBLE_TYPE=hello marblerun-premain /bin/sh";
    let pinned = user.types(&pin, &[("coordinator:4433", insecure.1)]);
    assert!(pinned.contains(key), "{pinned}");
    coordinator.terminate().await.unwrap();

    // The README's commands, with the manifest of the first page.
    let readme = User { home: tempfile::tempdir().unwrap(), client: String::new(), mesh: String::new() };
    std::fs::copy(user.path("manifest.yaml"), readme.path("manifest.yaml")).unwrap();
    let coordinator = Coordinator::builder(&readme.path("marblerun-coordinator-data")).start().await.unwrap();
    let address = format!("localhost:{}", coordinator.client_addr.port());
    let told = readme.types(&block("README.md", "manifest set"), &[("localhost:4433", &address)]);
    assert!(told.contains("\n3: ") && readme.path("backup").is_file(), "{told}");
}

/// The book and the files beside it: no page that is not in the table of contents, no link that leads nowhere.
#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("CHANGELOG.md")];
    pages.push(root.join("SECURITY.md"));
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 20, "the pages were not found");
    let mut linked_from_contents = Vec::new();
    let mut broken = Vec::new();
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let there = match target.canonicalize() {
                Ok(target) if anchor.is_empty() => {
                    linked_from_contents.extend(page.ends_with("SUMMARY.md").then_some(target));
                    true
                }
                Ok(target) => std::fs::read_to_string(target).unwrap().lines().any(|line| heading_of(line, anchor)),
                Err(_) => false,
            };
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    let of_the_book = |page: &&PathBuf| page.starts_with(root.join("docs/src")) && !page.ends_with("SUMMARY.md");
    let forgotten: Vec<_> =
        pages.iter().filter(of_the_book).filter(|page| !linked_from_contents.contains(page)).collect();
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}

/// Whether a line is the heading that an anchor names.
fn heading_of(line: &str, anchor: &str) -> bool {
    let Some(title) = line.strip_prefix('#') else { return false };
    let title = title.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    title.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-').collect::<String>() == anchor
}
