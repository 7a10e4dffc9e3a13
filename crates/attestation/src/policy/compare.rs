//! What was asked beside what was found, field by field: refusals are made of it, and people are shown it.

use marblerun_manifest::vm::{SnpPackage, TdxPackage};

use super::Policy;
use crate::{EnclaveClaims, Identity, Pcrs, SgxIdentity, SnpIdentity, TdxIdentity, Tee};

/// Whose evidence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// A Marble, as one of a package.
    Marble,
    /// A Coordinator, by a client.
    Coordinator,
}

/// One field of a policy and of claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// As policies name it.
    pub field: &'static str,
    /// What is asked; `None`: nothing.
    pub expected: Option<String>,
    /// What was found.
    pub got: String,
    /// Whether it will do.
    pub fits: bool,
}

impl Policy {
    /// The family of hardware that is asked for.
    #[must_use]
    pub fn tee(&self) -> Tee {
        match (&self.tdx, &self.snp) {
            (Some(_), _) => Tee::Tdx,
            (None, Some(snp)) if !snp.pcrs.is_empty() => Tee::SnpVtpm,
            (None, Some(_)) => Tee::Snp,
            (None, None) => Tee::Sgx,
        }
    }

    /// Compares what is asked of an identity, field by field. States of platforms are not among them, nor what evidence
    /// is bound to.
    #[must_use]
    pub fn compare(&self, claims: &EnclaveClaims, judged: Judged) -> Vec<Comparison> {
        let (asked, tee) = (self.tee(), claims.identity.tee());
        let mut fields = vec![Comparison {
            field: "TEE",
            expected: Some(asked.to_string()),
            got: tee.to_string(),
            fits: asked == tee,
        }];
        let expected = match judged {
            Judged::Marble => Some(self.debug),
            // A client that takes debug builds takes others too.
            Judged::Coordinator => (!self.debug).then_some(false),
        };
        let fits = expected.is_none_or(|expected| expected == claims.debug);
        let expected = expected.map(|debug| debug.to_string());
        fields.push(Comparison { field: "Debug", expected, got: claims.debug.to_string(), fits });
        match (&claims.identity, &self.tdx, &self.snp) {
            (Identity::Sgx(sgx), None, None) => self.compare_sgx(sgx, &mut fields),
            (Identity::Tdx(tdx), Some(asked), None) => compare_tdx(asked, tdx, &mut fields),
            (Identity::Snp(snp), None, Some(wanted)) if asked == tee => self.compare_snp(wanted, snp, &mut fields),
            // Another family, or a policy of two, which nothing fits.
            _ => fields.iter_mut().take(1).for_each(|family| family.fits = false),
        }
        fields
    }

    fn compare_sgx(&self, sgx: &SgxIdentity, fields: &mut Vec<Comparison>) {
        fields.push(hex("UniqueID", &self.unique_id, &sgx.unique_id));
        fields.push(hex("SignerID", &self.signer_id, &sgx.signer_id));
        fields.push(equal("ProductID", self.product_id, sgx.product_id));
        fields.push(least("SecurityVersion", self.security_version, sgx.security_version));
    }

    fn compare_snp(&self, asked: &SnpPackage, snp: &SnpIdentity, fields: &mut Vec<Comparison>) {
        let pairs = asked.fields().into_iter().zip(snp.fields());
        fields.extend(pairs.map(|((field, asked, _), (_, got))| hex(field, asked, got)));
        fields.push(least("SecurityVersion", self.security_version, u64::from(snp.guest_svn)));
        // Who names the whole policy of the VM has thought of migration.
        let expected = asked.policy.map_or_else(|| "no migration".to_owned(), |policy| format!("{policy:#x}"));
        let fits = asked.policy.map_or(snp.policy & SnpIdentity::POLICY_MIGRATION == 0, |policy| policy == snp.policy);
        fields.push(Comparison { field: "Policy", expected: Some(expected), got: format!("{:#x}", snp.policy), fits });
        fields.push(equal("VMPL", Some(u64::from(asked.vmpl.unwrap_or(0))), u64::from(snp.vmpl)));
        let lists = asked.min_tcb.unwrap_or_default().components().into_iter().zip(snp.tcb.components());
        fields.extend(lists.map(|((name, asked), (_, got))| {
            let field = match name {
                "Bootloader" => "MinTCB.Bootloader",
                "TEE" => "MinTCB.TEE",
                "SNP" => "MinTCB.SNP",
                "Microcode" => "MinTCB.Microcode",
                _ => "MinTCB.FMC",
            };
            least(field, asked.map(u64::from), u64::from(got))
        }));
        let product = snp.product.as_str();
        let expected = (!asked.products.is_empty()).then(|| asked.products.join(", "));
        let fits = asked.products.is_empty() || asked.products.iter().any(|name| name == product);
        fields.push(Comparison { field: "Products", expected, got: product.to_owned(), fits });
        if let Some(pcrs) = &snp.pcrs {
            compare_pcrs(asked, pcrs, fields);
        }
    }
}

/// Registers that are not asked are shown too: who writes a package wants to know them.
fn compare_pcrs(asked: &SnpPackage, pcrs: &Pcrs, fields: &mut Vec<Comparison>) {
    for (number, field) in Pcrs::NAMES.into_iter().enumerate() {
        let expected = asked.pcrs.get(&number.to_string());
        match (expected, pcrs.value(number)) {
            (Some(expected), Some(got)) => fields.push(hex(field, expected, got)),
            (Some(expected), None) => fields.push(Comparison {
                field,
                expected: Some(expected.clone()),
                got: "not in the quote".to_owned(),
                fits: false,
            }),
            (None, Some(got)) => fields.push(hex(field, "", got)),
            (None, None) => {}
        }
    }
}

fn compare_tdx(asked: &TdxPackage, tdx: &TdxIdentity, fields: &mut Vec<Comparison>) {
    let pairs = asked.fields().into_iter().zip(tdx.fields());
    fields.extend(pairs.map(|((field, asked, _), (_, got))| hex(field, asked, got)));
}

fn hex(field: &'static str, asked: &str, got: &[u8]) -> Comparison {
    let got = hex::encode(got);
    let expected = (!asked.is_empty()).then(|| asked.to_owned());
    Comparison { field, fits: asked.is_empty() || asked.eq_ignore_ascii_case(&got), expected, got }
}

fn equal(field: &'static str, asked: Option<u64>, got: u64) -> Comparison {
    let fits = asked.is_none_or(|asked| asked == got);
    Comparison { field, expected: asked.map(|asked| asked.to_string()), got: got.to_string(), fits }
}

fn least(field: &'static str, asked: Option<u64>, got: u64) -> Comparison {
    let fits = asked.is_none_or(|least| least <= got);
    Comparison { field, expected: asked.map(|least| format!("{least} or more")), got: got.to_string(), fits }
}

/// The fields that do not fit, for logs and people.
pub(super) fn differences(fields: &[Comparison]) -> String {
    let wrong = fields.iter().filter(|field| !field.fits).map(|field| {
        format!("{}: expected {}, got {}", field.field, field.expected.as_deref().unwrap_or("anything"), field.got)
    });
    wrong.collect::<Vec<_>>().join("; ")
}

/// The names of the fields that do not fit.
pub(super) fn names(fields: &[Comparison]) -> String {
    let wrong: Vec<&str> = fields.iter().filter(|field| !field.fits).map(|field| field.field).collect();
    wrong.join(", ")
}
