//! Our values in the form upstream stores them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use marblerun_manifest::model::{Encoding, File, Infrastructure, Marble, Package, TlsEntry, TlsTag};
use marblerun_pki::Secret;
use zeroize::Zeroizing;

use super::json::Json;
use crate::wire::stored_unique_id;
use crate::{PendingUpdate, User};

/// Room for field names and numbers of one value.
const FRAME: usize = 512;

pub(super) fn package(package: &Package) -> Zeroizing<Vec<u8>> {
    let mut json = Json::with_capacity(FRAME);
    json.field("Debug").bool(package.debug);
    // The original knows no VMs: what is one here must fit nothing there.
    json.field("UniqueID").string(stored_unique_id(package));
    json.field("SignerID").string(&package.signer_id);
    json.field("ProductID").optional(package.product_id);
    json.field("SecurityVersion").optional(package.security_version);
    let given = |flag: bool, list: &[String]| flag || !list.is_empty();
    let (statuses, advisories) = (&package.accepted_tcb_statuses, &package.accepted_advisories);
    json.field("AcceptedTCBStatuses").strings(statuses, given(package.tcb_statuses_given, statuses));
    json.field("AcceptedAdvisories").strings(advisories, given(package.advisories_given, advisories));
    vm(&mut json, package);
    json.end();
    json.finish()
}

/// What the original passes over, and an import here reads again.
fn vm(json: &mut Json, package: &Package) {
    if let Some(tdx) = &package.tdx {
        json.field("TDX");
        for (name, value, _) in tdx.fields() {
            json.field(name).string(value);
        }
        json.end();
    }
    if let Some(snp) = &package.snp {
        json.field("SNP");
        for (name, value, _) in snp.fields() {
            json.field(name).string(value);
        }
        json.field("Policy").optional(snp.policy);
        json.field("VMPL").optional(snp.vmpl);
        json.field("Products").strings(&snp.products, true);
        json.field("MinTCB");
        for (name, value) in snp.min_tcb.unwrap_or_default().components() {
            json.field(name).optional(value);
        }
        json.end();
        if !snp.pcrs.is_empty() {
            json.field("PCRs");
            for (number, value) in &snp.pcrs {
                json.field(number).string(value);
            }
            json.end();
        }
        json.end();
    }
}

pub(super) fn infrastructure(infrastructure: &Infrastructure) -> Zeroizing<Vec<u8>> {
    let mut json = Json::with_capacity(FRAME);
    json.field("CPUSVN").bytes(infrastructure.cpu_svn.as_deref());
    json.field("QESVN").optional(infrastructure.qe_svn);
    json.field("PCESVN").optional(infrastructure.pce_svn);
    json.field("RootCA").bytes(infrastructure.root_ca.as_deref());
    json.end();
    json.finish()
}

/// Empty lists and maps are written as `null`: that is how they are when the manifest does not name them. The
/// imported form of one that names an empty one is kept by the import.
pub(super) fn marble(marble: &Marble) -> Zeroizing<Vec<u8>> {
    fn files<'a>(json: &mut Json, files: impl ExactSizeIterator<Item = (&'a String, &'a File)>) {
        if files.len() == 0 {
            json.raw("null");
            return;
        }
        json.map(files, |json, file| {
            json.field("Data");
            match file.encoding {
                Encoding::String => json.string(&String::from_utf8_lossy(&file.data)),
                Encoding::Base64 => json.string(&BASE64_STANDARD.encode(&file.data)),
                Encoding::Hex => json.string(&hex::encode(&file.data)),
            };
            json.field("Encoding").string(match file.encoding {
                Encoding::String => "string",
                Encoding::Base64 => "base64",
                Encoding::Hex => "hex",
            });
            json.field("NoTemplates").bool(file.no_templates).end();
        });
    }

    let mut json = Json::with_capacity(FRAME);
    json.field("Package").string(&marble.package);
    json.field("MaxActivations").number(marble.max_activations);
    json.field("Parameters").field("Files");
    files(&mut json, marble.parameters.files.iter());
    json.field("Env");
    files(&mut json, marble.parameters.env.iter());
    let argv = &marble.parameters.argv;
    json.field("Argv").strings(argv, !argv.is_empty()).end();
    json.field("TLS").strings(&marble.tls, !marble.tls.is_empty());
    json.field("DisableSecretBinding").bool(marble.disable_secret_binding);
    json.end();
    json.finish()
}

pub(super) fn tls_tag(tag: &TlsTag) -> Zeroizing<Vec<u8>> {
    fn entries(json: &mut Json, entries: &[TlsEntry]) {
        if entries.is_empty() {
            json.raw("null");
            return;
        }
        json.list(entries, |json, entry| {
            json.field("Port").string(&entry.port);
            json.field("Addr").string(&entry.addr);
            json.field("Cert").string(&entry.cert);
            json.field("DisableClientAuth").bool(entry.disable_client_auth).end();
        });
    }

    let mut json = Json::with_capacity(FRAME);
    json.field("Outgoing");
    entries(&mut json, &tag.outgoing);
    json.field("Incoming");
    entries(&mut json, &tag.incoming);
    json.end();
    json.finish()
}

pub(super) fn user(user: &User) -> Zeroizing<Vec<u8>> {
    let mut json = Json::with_capacity(FRAME + user.certificate.len() * 2);
    json.field("Name").string(&user.name);
    json.field("Certificate").bytes(Some(&user.certificate));
    let permissions = user.permissions.iter().map(|(permission, names)| (permission.as_str(), (permission, names)));
    json.field("Permissions").map(permissions, |json, (permission, resources)| {
        json.field("PermissionID").string(permission.as_str());
        json.field("ResourceID").map(resources.iter().map(|name| (name, ())), |json, ()| {
            json.bool(true);
        });
        json.end();
    });
    json.end();
    json.finish()
}

pub(super) fn secret(secret: &Secret) -> Zeroizing<Vec<u8>> {
    let parts = [&secret.private, &secret.public].map(|part| part.as_ref().map_or(0, |part| part.len()));
    let certificate = secret.certificate.as_ref().map_or(0, Vec::len);
    let mut json = Json::with_capacity(FRAME + (parts.iter().sum::<usize>() + certificate) * 4 / 3);
    json.field("Type").string(secret.kind.as_str());
    json.field("Size").number(secret.size);
    json.field("Shared").bool(secret.shared);
    json.field("UserDefined").bool(secret.user_defined);
    json.field("Cert").bytes(secret.certificate.as_deref());
    json.field("ValidFor").number(secret.valid_for);
    json.field("Private").bytes(secret.private.as_ref().map(|value| value.as_slice()));
    json.field("Public").bytes(secret.public.as_ref().map(|value| value.as_slice()));
    json.end();
    json.finish()
}

pub(super) fn pending_update(update: &PendingUpdate) -> Zeroizing<Vec<u8>> {
    let mut json = Json::with_capacity(FRAME + update.raw.len() * 2);
    json.field("manifestRaw").bytes(Some(&update.raw));
    json.field("requiredUsers").map(&update.required_users, |json, acknowledged| {
        json.bool(*acknowledged);
    });
    json.field("missingAcknowledgments").number(update.missing_acknowledgments);
    json.end();
    json.finish()
}
