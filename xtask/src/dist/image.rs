//! A container image as the OCI image specification lays it out, made without a daemon: a folder of blobs that are
//! named by their SHA-256, and an index that says where to begin.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::contents::{Plan, USER};
use super::release::Release;
use super::tree::{Tree, gzip};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One layer: files, and a word about them.
pub struct Layer<'a> {
    /// For the history.
    pub about: &'a str,
    /// Its files.
    pub tree: &'a Tree,
}

/// Where a blob is, and what it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Map::is_empty")]
    annotations: Map<String, Value>,
}

/// The layout, as files.
pub fn layout(plan: &Plan, release: &Release, layers: &[Layer<'_>]) -> Result<Tree> {
    let mut layout = Tree::default();
    let (mut descriptors, mut diff_ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for layer in layers {
        let archive = layer.tree.archive(release.time)?;
        diff_ids.push(digest(&archive));
        descriptors.push(blob(&mut layout, LAYER, gzip(&archive, release.effort)?));
        history.push(json!({"created": release.created()?, "created_by": "cargo xtask dist", "comment": layer.about}));
    }
    let config = json!({
        "created": release.created()?,
        "architecture": release.debian_architecture,
        "os": "linux",
        "config": configuration(plan, release)?,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let config = blob(&mut layout, CONFIG, serde_json::to_vec(&config)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": descriptors,
        "annotations": labels(plan, release)?,
    });
    let mut manifest = blob(&mut layout, MANIFEST, serde_json::to_vec(&manifest)?);
    // The first is the tag, for skopeo and crane; the second the whole name, for podman and docker.
    manifest.annotations.insert("org.opencontainers.image.ref.name".into(), json!(release.version));
    let name = format!("localhost/marblerun/{}:{}", release.suffixed(plan.repository), release.version);
    manifest.annotations.insert("io.containerd.image.name".into(), json!(name));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
    layout.file("index.json", 0o644, serde_json::to_vec(&index)?);
    layout.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
    Ok(layout)
}

fn blob(layout: &mut Tree, media_type: &'static str, bytes: Vec<u8>) -> Descriptor {
    let (digest, size) = (digest(&bytes), bytes.len());
    layout.file(&format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes);
    Descriptor { media_type, digest, size, annotations: Map::new() }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// How the image runs.
fn configuration(plan: &Plan, release: &Release) -> Result<Value> {
    let ports: Map<String, Value> = plan.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
    let volumes: Map<String, Value> = plan.volume.iter().map(|folder| ((*folder).to_owned(), json!({}))).collect();
    Ok(json!({
        "User": format!("{USER}:{USER}"),
        "ExposedPorts": ports,
        "Env": plan.environment,
        "Entrypoint": [plan.entry],
        "Volumes": volumes,
        "WorkingDir": plan.folder,
        "Labels": labels(plan, release)?,
    }))
}

fn labels(plan: &Plan, release: &Release) -> Result<Map<String, Value>> {
    let mut labels = Map::new();
    let mut set = |name: &str, value: &str| labels.insert(format!("org.opencontainers.image.{name}"), json!(value));
    set("title", plan.title);
    set("description", plan.description);
    set("version", &release.version);
    set("created", &release.created()?);
    set("licenses", "Apache-2.0");
    if let Some(commit) = &release.commit {
        set("revision", commit);
    }
    if let Some(tee) = release.tee {
        labels.insert("marblerun.tee".to_owned(), json!(tee.name()));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::super::contents::IMAGES;
    use super::*;

    fn read(layout: &Tree, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = layout.bytes(&format!("blobs/{}", digest.replace(':', "/"))).unwrap();
        assert_eq!(super::digest(bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.to_vec()
    }

    #[test]
    fn everything_is_found_from_the_index_and_is_what_its_digest_says() {
        let mut tree = Tree::default();
        tree.file("etc/passwd", 0o644, "root");
        let layers = [Layer { about: "system", tree: &tree }, Layer { about: "programs", tree: &Tree::default() }];
        let layout = layout(&IMAGES[0], &Release::sample(), &layers).unwrap();
        let index: Value = serde_json::from_slice(layout.bytes("index.json").unwrap()).unwrap();
        let manifest: Value = serde_json::from_slice(&read(&layout, &index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&read(&layout, &manifest["config"])).unwrap();
        for (number, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
            let mut archive = Vec::new();
            std::io::copy(&mut flate2::read::GzDecoder::new(read(&layout, layer).as_slice()), &mut archive).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][number], super::digest(&archive));
        }
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(config["config"]["User"], "10001:10001", "a number, and not root");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "c0ffee");
        let blobs = layout.iter().filter(|(path, _)| path.starts_with("blobs/sha256/")).count();
        assert_eq!(blobs, 4, "and nothing else is there");
    }
}
