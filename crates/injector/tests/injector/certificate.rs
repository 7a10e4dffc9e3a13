//! Certificates of the webhook, as an operator would make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// A self-signed certificate for 127.0.0.1, and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    pub fn new(name: &str) -> Self {
        Self::valid_for(name, 365)
    }

    pub fn valid_for(name: &str, days: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-subj", &format!("/CN={name}"), "-days", &days.to_string(), "-keyout", "key", "-out", "crt"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        Self { certificate: read("crt"), key: read("key") }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// A mounted Secret: files are links into a folder that is replaced as one, as the kubelet does it.
#[derive(Debug)]
pub struct MountedSecret {
    dir: tempfile::TempDir,
    version: u32,
}

impl MountedSecret {
    pub fn new(pair: &Pair) -> Self {
        let mut secret = Self { dir: tempfile::tempdir().unwrap(), version: 0 };
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(file), secret.path(file)).unwrap();
        }
        secret.replace(&pair.certificate, &pair.key);
        secret
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn replace(&mut self, certificate: &str, key: &str) {
        self.version += 1;
        let version = format!("..version-{}", self.version);
        std::fs::create_dir(self.path(&version)).unwrap();
        std::fs::write(self.path(&version).join("tls.crt"), certificate).unwrap();
        std::fs::write(self.path(&version).join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&version, self.path("..data-new")).unwrap();
        std::fs::rename(self.path("..data-new"), self.path("..data")).unwrap();
    }
}
