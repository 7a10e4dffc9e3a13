//! `marblerun certificate root|intermediate|chain`.

use anyhow::{Context as _, Result, bail};
use x509_cert::Certificate;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode as _, EncodePem as _};

use crate::args::{CertificateCommand, Global};
use crate::files;
use crate::output::Output;
use crate::trust::{self, Session};

/// Writes a certificate of the attested Coordinator.
pub async fn run(global: &Global, output: &Output<'_>, command: CertificateCommand) -> Result<()> {
    let (coordinator, default, what) = match &command {
        CertificateCommand::Root { coordinator } => (coordinator, "marblerunRootCA.crt", "Root certificate"),
        CertificateCommand::Intermediate { coordinator } => {
            (coordinator, "marblerunIntermediateCA.crt", "Intermediate certificate")
        }
        CertificateCommand::Chain { coordinator } => (coordinator, "marblerunChainCA.crt", "Certificate chain"),
    };
    if output.file() == Some("") {
        bail!("output flag must not be empty");
    }
    let session = Session::attest(global, coordinator).await.context("retrieving certificate from Coordinator")?;
    if !global.insecure {
        compare_with_cache(global, &session)?;
    }
    let attested = &session.attested;
    let pem = |der: &[u8]| -> Result<String> { Ok(Certificate::from_der(der)?.to_pem(LineEnding::LF)?) };
    let text = match command {
        CertificateCommand::Root { .. } => pem(&attested.root)?,
        CertificateCommand::Intermediate { .. } => pem(&attested.intermediate)?,
        CertificateCommand::Chain { .. } => marblerun_client::chain_pem(&attested.intermediate, &attested.root)?,
    };
    if output.is_json() {
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

fn compare_with_cache(global: &Global, session: &Session) -> Result<()> {
    let path = trust::cache_path(global)?;
    let Some(cached) = trust::read_cache(&path)? else {
        bail!(
            "open {}: no such file or directory. Run 'marblerun manifest verify' first: it verifies the instance and \
             caches its certificates",
            path.display()
        );
    };
    if cached.root != session.attested.root {
        bail!(
            "root certificate of Coordinator changed. Run 'marblerun manifest verify' to verify the instance and update \
             the local cache"
        );
    }
    Ok(())
}
