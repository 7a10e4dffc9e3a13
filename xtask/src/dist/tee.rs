//! Running the Coordinator in a trusted execution environment: templates, and what is known of measurements. The vendors'
//! tools compute those; here is what goes into them, and which tool to ask. Nothing is guessed.

use std::path::Path;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::hosts::{Layout, text};
use super::programs::Programs;
use super::release::Tee;
use super::tree::Tree;

/// The templates, below `packaging/tee`.
pub const TEMPLATES: [(&str, Tee); 5] = [
    ("gramine/marblerun-coordinator.manifest.template", Tee::Sgx),
    ("occlum/Occlum.json", Tee::Sgx),
    ("occlum/coordinator.yaml", Tee::Sgx),
    ("systemd/tdx.conf", Tee::Tdx),
    ("systemd/snp.conf", Tee::Snp),
];

/// Programs that run in a TEE.
const MEASURED: [&str; 2] = ["marblerun-coordinator", "marblerun-premain"];

const TOOLS: &str = "
# These are inputs. What evidence holds depends on the runtime, the image or the firmware as well, and comes from their tools:
#   MRENCLAVE, MRSIGNER in Gramine: gramine-sgx-sign prints, gramine-sgx-sigstruct-view tells
#   MRENCLAVE, MRSIGNER in Occlum:  occlum print mrenclave, occlum print mrsigner, after occlum build
#   MRTD, RTMR0..3 of TDX:          the tool of whoever makes firmware and image; or one attested start that you trust
#   measurement of SEV-SNP:         sev-snp-measure, over firmware, kernel, initial ramdisk and command line
";

/// Templates, with the folder of the programs filled in, and the list of what is measured. Of programs for one environment
/// there are its templates alone.
pub fn files(tree: &mut Tree, layout: &Layout, root: &Path, built: &Programs, only: Option<Tee>) -> Result<()> {
    let folder = format!("{}share/marblerun/tee", layout.prefix);
    for (name, _) in TEMPLATES.into_iter().filter(|(_, tee)| only.is_none_or(|only| only == *tee)) {
        let template = text(&root.join("packaging/tee").join(name))?.replace("@programs@", layout.programs);
        tree.file(&format!("{folder}/{name}"), 0o644, template);
    }
    let list = inputs(built)?.map(|(name, digest)| format!("{digest}  {}/{name}\n", layout.programs)).concat();
    tree.file(&format!("{folder}/measured"), 0o644, format!("# SHA-256 of what is measured:\n{list}{TOOLS}"));
    Ok(())
}

/// Each program that is measured, with its SHA-256: what stands in Gramine's manifest once it is signed.
pub fn inputs(built: &Programs) -> Result<[(&'static str, String); MEASURED.len()]> {
    let mut inputs = MEASURED.map(|name| (name, String::new()));
    for (name, digest) in &mut inputs {
        *digest = hex::encode(Sha256::digest(built.get(name)?));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        text(&root.join("packaging/tee").join(name)).unwrap_or_default()
    }

    /// `loader.env.X = { passthrough = true }`, `"untrusted"`: what the host may set.
    #[test]
    fn no_template_leaves_the_tee_to_the_host() {
        let [gramine, occlum, _, tdx, snp] = TEMPLATES.map(|(name, _)| template(name));
        assert!(gramine.lines().any(|line| line == "loader.env.MARBLERUN_TEE = \"sgx\""));
        assert!(gramine.lines().any(|line| line == "sgx.remote_attestation = \"dcap\""));
        assert!(gramine.lines().any(|line| line == "sgx.debug = false"));
        assert!(!gramine.contains("loader.insecure__use_cmdline_argv") && !gramine.contains("insecure__use_host_env"));
        let occlum: serde_json::Value = serde_json::from_str(&occlum).unwrap_or_default();
        let env = |kind: &str| occlum["env"][kind].as_array().cloned().unwrap_or_default();
        assert!(env("default").contains(&"MARBLERUN_TEE=sgx".into()));
        assert!(!env("untrusted").is_empty());
        assert!(env("untrusted").iter().all(|name| !name.as_str().unwrap_or_default().contains("TEE")));
        assert_eq!(occlum["metadata"]["debuggable"], false);
        for (unit, tee) in [(tdx, "tdx"), (snp, "snp")] {
            assert!(unit.contains(&format!("\nExecStart=\nExecStart=@programs@/marblerun-coordinator --tee={tee}\n")));
        }
    }

    #[test]
    fn what_the_host_may_set_decides_about_no_protection() {
        let gramine = template(TEMPLATES[0].0);
        let passed: Vec<&str> = gramine
            .lines()
            .filter(|line| line.contains("passthrough = true"))
            .filter_map(|line| line.strip_prefix("loader.env.")?.split_once(' ').map(|(name, _)| name))
            .collect();
        assert_eq!(
            passed,
            ["EDG_COORDINATOR_DNS_NAMES", "EDG_COORDINATOR_PROMETHEUS_ADDR", "EDG_DEBUG_LOGGING", "EDG_LOG_FORMAT"]
        );
    }
}
