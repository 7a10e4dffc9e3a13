//! `marblerun certificate root|intermediate|chain`.

use anyhow::{Context as _, Result, bail};
use x509_cert::Certificate;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode as _, EncodePem as _};

use crate::args::{CertificateCommand, Global};
use crate::failure::Failure;
use crate::files;
use crate::output::Output;
use crate::trust::{self, Session};

/// Writes a certificate of the attested Coordinator.
pub async fn run(global: &Global, output: &Output<'_>, command: CertificateCommand) -> Result<()> {
    let (at, default, what) = match &command {
        CertificateCommand::Root { at } => (at, "marblerunRootCA.crt", "Root certificate"),
        CertificateCommand::Intermediate { at } => (at, "marblerunIntermediateCA.crt", "Intermediate certificate"),
        CertificateCommand::Chain { at } => (at, "marblerunChainCA.crt", "Certificate chain"),
    };
    if output.file() == Some("") {
        return Err(Failure::usage("output flag must not be empty"));
    }
    let coordinator = global.coordinator(at)?;
    let session = Session::attest(global, &coordinator).await.context("retrieving certificate from Coordinator")?;
    if !global.is_insecure_at(&coordinator)? {
        compare_with_cache(global, &coordinator, &session)?;
    }
    let attested = &session.attested;
    let pem = |der: &[u8]| -> Result<String> { Ok(Certificate::from_der(der)?.to_pem(LineEnding::LF)?) };
    let text = match command {
        CertificateCommand::Root { .. } => pem(&attested.root)?,
        CertificateCommand::Intermediate { .. } => pem(&attested.intermediate)?,
        CertificateCommand::Chain { .. } => marblerun_client::chain_pem(&attested.intermediate, &attested.root)?,
    };
    if output.is_structured() {
        output.result(&serde_json::json!({"certificate": text}), String::new)?;
    } else {
        match output.file() {
            Some("-") => output.data(text.as_bytes(), |_| None)?,
            file => {
                let file = file.unwrap_or(default);
                files::write_private(file.as_ref(), text.as_bytes())?;
                output.progress(&format!("{what} written to {file}"));
            }
        }
    }
    session.save_quote(global)
}

fn compare_with_cache(global: &Global, coordinator: &str, session: &Session) -> Result<()> {
    let path = trust::cache_path(global, coordinator)?;
    let Some(cached) = trust::read_cache(&path)? else {
        bail!(
            "open {}: no such file or directory. Run 'marblerun manifest verify' first: it verifies the instance and \
             caches its certificates",
            path.display()
        );
    };
    if cached.root == session.attested.root { Ok(()) } else { Err(trust::root_changed()) }
}
