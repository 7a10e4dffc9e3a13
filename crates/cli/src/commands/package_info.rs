//! `marblerun package-info`: the identity of an enclave, read from what its signer made.

mod sigstruct;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};
use serde_json::json;

use crate::files;
use crate::output::{Output, note};
use sigstruct::SigStruct;

/// Enclave images are large, but not this large.
const MAX_FILE: u64 = 4 << 30;

/// Where an identity was found.
struct Found {
    kind: &'static str,
    /// What is said before it.
    detected: Option<&'static str>,
    /// How the path is called.
    title: String,
    identity: SigStruct,
}

/// Looks for one kind of enclave at a path, which may be a folder.
type Attempt = fn(&Path, bool) -> Result<Found>;

/// Prints it.
pub fn run(output: &Output<'_>, path: &Path) -> Result<()> {
    let found = find(path)?;
    let identity = &found.identity;
    let value = json!({
        "path": path,
        "kind": found.kind,
        "uniqueId": hex::encode(identity.unique_id),
        "signerId": hex::encode(identity.signer_id),
        "productId": identity.product_id,
        "securityVersion": identity.security_version,
    });
    output.result(&value, || {
        let mut lines: Vec<String> = found.detected.map(str::to_owned).into_iter().collect();
        lines.push(format!("PackageProperties for {}:", found.title));
        lines.push(format!("UniqueID (MRENCLAVE)      : {}", hex::encode(identity.unique_id)));
        lines.push(format!("SignerID (MRSIGNER)       : {}", hex::encode(identity.signer_id)));
        lines.push(format!("ProductID (ISVPRODID)     : {}", identity.product_id));
        lines.push(format!("SecurityVersion (ISVSVN)  : {}", identity.security_version));
        lines.join("\n")
    })
}

/// Tries each kind; if none fits, tells why of each.
fn find(path: &Path) -> Result<Found> {
    let metadata = std::fs::metadata(path).with_context(|| format!("open {}", path.display()))?;
    let attempts: [(&str, Attempt); 3] =
        [("EGo / Open Enclave", open_enclave), ("Gramine", gramine), ("Occlum / SGX SDK", sgx_sdk)];
    let mut reasons = Vec::new();
    for (kind, attempt) in attempts {
        match attempt(path, metadata.is_dir()) {
            Ok(found) => return Ok(found),
            Err(error) => reasons.push(format!("  {kind}: {error:#}")),
        }
    }
    note(&format!("{} is none of these:", path.display()));
    reasons.iter().for_each(|reason| note(reason));
    bail!("unable to determine enclave properties")
}

/// A program signed by EGo or Open Enclave: its signature stands in section `.oeinfo`.
fn open_enclave(path: &Path, is_dir: bool) -> Result<Found> {
    if is_dir {
        bail!("it is a folder");
    }
    let identity = SigStruct::find(&section(path, ".oeinfo")?)?;
    Ok(Found { kind: "open-enclave", detected: None, title: quoted(path), identity })
}

/// Gramine: the one `.sig` file of a folder. A file is searched as it is, whatever it is.
fn gramine(path: &Path, is_dir: bool) -> Result<Found> {
    if !is_dir {
        let identity = SigStruct::find(&read(path)?)?;
        return Ok(Found { kind: "sigstruct", detected: None, title: quoted(path), identity });
    }
    let mut signatures: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("open {}", path.display()))? {
        let file = entry.with_context(|| format!("reading {}", path.display()))?.path();
        if file.extension().is_some_and(|extension| extension == "sig") && file.is_file() {
            signatures.push(file);
        }
    }
    let signature = match signatures.as_slice() {
        [one] => one,
        [] => bail!("did not find Gramine .sig file in directory"),
        _ => bail!("found multiple .sig files"),
    };
    Ok(Found {
        kind: "gramine",
        detected: Some("Detected Gramine instance."),
        title: format!("Gramine instance at {}", quoted(path)),
        identity: SigStruct::find(&read(signature)?)?,
    })
}

/// The SGX SDK, also inside an Occlum image: the signature stands in section `.note.sgxmeta`.
fn sgx_sdk(path: &Path, is_dir: bool) -> Result<Found> {
    const LIBRARY: &str = "build/lib/libocclum-libos.signed.so";
    if !is_dir {
        let identity = SigStruct::find(&section(path, ".note.sgxmeta")?)?;
        return Ok(Found { kind: "sgx-sdk", detected: None, title: quoted(path), identity });
    }
    Ok(Found {
        kind: "occlum",
        detected: Some("Detected Occlum image."),
        title: format!("Occlum image at {}", quoted(path)),
        identity: SigStruct::find(&section(&path.join(LIBRARY), ".note.sgxmeta")?)?,
    })
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let open = || format!("open {}", path.display());
    if !std::fs::metadata(path).with_context(open)?.is_file() {
        bail!("{} is no file", path.display());
    }
    files::read_at_most(path, MAX_FILE)
}

/// The bytes of a section of an ELF file.
fn section(path: &Path, name: &str) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    let file = object::File::parse(bytes.as_slice()).context("it is not an ELF file")?;
    let section = file.section_by_name(name).with_context(|| format!("it has no section {name}"))?;
    Ok(section.data().with_context(|| format!("reading section {name}"))?.to_vec())
}

#[cfg(test)]
mod tests;
