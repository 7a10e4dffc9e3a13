//! Identities of confidential VMs: what a package asks of a VM in Intel TDX or AMD SEV-SNP. Measurements are kept as
//! they were written, hexadecimal in any case; what is empty is not asked.

use std::collections::BTreeMap;

use crate::decode_object;

/// What a package asks of a TDX VM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TdxPackage {
    /// Measurement of the VM's initial memory: its firmware.
    pub mrtd: String,
    /// Register 0: configuration of the firmware.
    pub rtmr0: String,
    /// Register 1: boot loader and kernel.
    pub rtmr1: String,
    /// Register 2: command line, initial RAM disk, and what the operating system measures.
    pub rtmr2: String,
    /// Register 3: what applications measure.
    pub rtmr3: String,
    /// Measurement of the TDX module.
    pub mr_seam: String,
    /// Chosen by whoever starts the VM, for its configuration.
    pub mr_config_id: String,
    /// Chosen by whoever starts the VM, for its owner.
    pub mr_owner: String,
    /// Chosen by whoever starts the VM, for the owner's configuration.
    pub mr_owner_config: String,
    /// Attributes of the VM.
    pub attributes: String,
    /// Extended features the VM may use.
    pub xfam: String,
}

decode_object!(TdxPackage as "TDX" {
    "MRTD" => mrtd,
    "RTMR0" => rtmr0,
    "RTMR1" => rtmr1,
    "RTMR2" => rtmr2,
    "RTMR3" => rtmr3,
    "MRSEAM" => mr_seam,
    "MRConfigID" => mr_config_id,
    "MROwner" => mr_owner,
    "MROwnerConfig" => mr_owner_config,
    "Attributes" => attributes,
    "XFAM" => xfam,
});

impl TdxPackage {
    /// The fields with their values and lengths in bytes.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &str, usize); 11] {
        [
            ("MRTD", &self.mrtd, 48),
            ("RTMR0", &self.rtmr0, 48),
            ("RTMR1", &self.rtmr1, 48),
            ("RTMR2", &self.rtmr2, 48),
            ("RTMR3", &self.rtmr3, 48),
            ("MRSEAM", &self.mr_seam, 48),
            ("MRConfigID", &self.mr_config_id, 48),
            ("MROwner", &self.mr_owner, 48),
            ("MROwnerConfig", &self.mr_owner_config, 48),
            ("Attributes", &self.attributes, 8),
            ("XFAM", &self.xfam, 8),
        ]
    }

    /// Why these values name no VM; `None` if they do. The field comes first.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.mrtd.is_empty() {
            return Some(("MRTD", "it is missing: without it any VM is meant".to_owned()));
        }
        self.fields().into_iter().find_map(|(name, text, length)| hex_problem(text, length).map(|text| (name, text)))
    }
}

/// What a package asks of an SEV-SNP VM. The least version of what is in it is the package's `SecurityVersion`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnpPackage {
    /// Measurement of the VM's initial memory.
    pub measurement: String,
    /// SHA-384 of the key that signed the VM's ID block.
    pub id_key_digest: String,
    /// SHA-384 of the key that signed the key of the ID block.
    pub author_key_digest: String,
    /// Family, from the ID block.
    pub family_id: String,
    /// Image, from the ID block.
    pub image_id: String,
    /// Chosen by whoever starts the VM.
    pub host_data: String,
    /// The VM's policy, bit by bit.
    pub policy: Option<u64>,
    /// Privilege level that made the report; not given: 0.
    pub vmpl: Option<u32>,
    /// The oldest firmware.
    pub min_tcb: Option<SnpTcb>,
    /// Processor families: `Milan`, `Genoa`, `Turin`; empty = all.
    pub products: Vec<String>,
    /// Registers (PCRs, SHA-256) of the VM's TPM by number. Given: a VM below a paravisor that plays its TPM is meant, and
    /// no other; not given: a VM that asks the processor itself.
    pub pcrs: BTreeMap<String, String>,
}

decode_object!(SnpPackage as "SNP" {
    "Measurement" => measurement,
    "IDKeyDigest" => id_key_digest,
    "AuthorKeyDigest" => author_key_digest,
    "FamilyID" => family_id,
    "ImageID" => image_id,
    "HostData" => host_data,
    "Policy" => policy,
    "VMPL" => vmpl,
    "MinTCB" => min_tcb,
    "Products" => products,
    "PCRs" => pcrs,
});

/// Versions of a platform's firmware; what is not given is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnpTcb {
    /// Boot loader of the secure processor.
    pub bootloader: Option<u16>,
    /// Operating system of the secure processor.
    pub tee: Option<u16>,
    /// SNP firmware.
    pub snp: Option<u16>,
    /// Microcode.
    pub microcode: Option<u16>,
    /// Firmware of the memory controller; from Turin on.
    pub fmc: Option<u16>,
}

decode_object!(SnpTcb as "MinTCB" {
    "Bootloader" => bootloader,
    "TEE" => tee,
    "SNP" => snp,
    "Microcode" => microcode,
    "FMC" => fmc,
});

impl SnpTcb {
    /// The components by name.
    #[must_use]
    pub fn components(&self) -> [(&'static str, Option<u16>); 5] {
        [
            ("Bootloader", self.bootloader),
            ("TEE", self.tee),
            ("SNP", self.snp),
            ("Microcode", self.microcode),
            ("FMC", self.fmc),
        ]
    }
}

impl SnpPackage {
    /// Families of processors, by the names of AMD's key service.
    pub const PRODUCTS: [&'static str; 3] = ["Milan", "Genoa", "Turin"];

    /// The measurements and ids with their values and lengths in bytes.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &str, usize); 6] {
        [
            ("Measurement", &self.measurement, 48),
            ("IDKeyDigest", &self.id_key_digest, 48),
            ("AuthorKeyDigest", &self.author_key_digest, 48),
            ("FamilyID", &self.family_id, 16),
            ("ImageID", &self.image_id, 16),
            ("HostData", &self.host_data, 32),
        ]
    }

    /// How many registers a TPM has.
    pub const PCR_COUNT: u8 = 24;
    /// Registers that firmware measures into before anything else runs: the boot loader, and whose boot loaders it
    /// accepts.
    pub const FIRMWARE_PCRS: [&'static str; 2] = ["4", "7"];

    /// Why these values name no VM; `None` if they do. The field comes first.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let keys = [("IDKeyDigest", &self.id_key_digest), ("AuthorKeyDigest", &self.author_key_digest)];
        if self.measurement.is_empty() && keys.iter().all(|(_, digest)| digest.is_empty()) {
            let text = "it is missing, and so are IDKeyDigest and AuthorKeyDigest: any VM would be meant";
            return Some(("Measurement", text.to_owned()));
        }
        if let Some((name, _)) = keys.iter().find(|(_, digest)| !digest.is_empty() && digest.bytes().all(|b| b == b'0'))
        {
            return Some((name, "zeroes stand for no key at all, so any VM would be meant".to_owned()));
        }
        let bad_product = |name: &&String| !Self::PRODUCTS.contains(&name.as_str());
        if let Some(name) = self.products.iter().find(bad_product) {
            return Some(("Products", format!("{name:?} is none of {}", Self::PRODUCTS.join(", "))));
        }
        if self.vmpl.is_some_and(|level| level > 3) {
            return Some(("VMPL", "privilege levels go from 0 to 3".to_owned()));
        }
        if self.min_tcb.is_some_and(|tcb| tcb.components().iter().any(|(_, least)| least.is_some_and(|v| v > 255))) {
            return Some(("MinTCB", "versions go from 0 to 255".to_owned()));
        }
        if let Some(problem) = self.pcr_problem() {
            return Some(("PCRs", problem));
        }
        self.fields().into_iter().find_map(|(name, text, length)| hex_problem(text, length).map(|text| (name, text)))
    }

    /// A report of a VM below a paravisor measures the paravisor and its firmware alone; whatever they start is told by
    /// registers, and only those that the firmware writes itself cannot be played by what it starts.
    fn pcr_problem(&self) -> Option<String> {
        if self.pcrs.is_empty() {
            return None;
        }
        let is_number = |text: &str| (0..Self::PCR_COUNT).any(|number| number.to_string() == text);
        if let Some(name) = self.pcrs.keys().find(|name| !is_number(name)) {
            return Some(format!("{name:?} is no register: they are numbered 0 to {}", Self::PCR_COUNT - 1));
        }
        if !Self::FIRMWARE_PCRS.iter().any(|number| self.pcrs.contains_key(*number)) {
            let text = "neither 4 nor 7 is among them. The firmware measures into these before anything else runs; any \
                        operating system can bring the others to these values";
            return Some(text.to_owned());
        }
        if self.vmpl.is_some_and(|level| level != 0) {
            return Some("a paravisor reports from privilege level 0, and VMPL asks for another".to_owned());
        }
        let bad = |(number, text): (&String, &String)| {
            let problem = if text.is_empty() { Some("it is empty".to_owned()) } else { hex_problem(text, 32) };
            problem.map(|problem| format!("register {number}: {problem}"))
        };
        self.pcrs.iter().find_map(bad)
    }

    /// What registers leave open; `None` if they name the whole boot chain, or none is asked.
    #[must_use]
    pub fn open_boot(&self) -> Option<&'static str> {
        let has = |number: &str| self.pcrs.contains_key(number);
        if self.pcrs.is_empty() {
            None
        } else if !has("4") {
            Some(
                "without register 4, any boot loader is accepted that the settings in register 7 let start: one that is \
                 signed with a key there, and any at all if that is Secure Boot switched off",
            )
        } else if !["8", "9", "11"].into_iter().any(has) {
            Some(
                "register 4 is the boot loader: without 8 and 9 (GRUB) or 11 (unified kernel image), any kernel or \
                 command line is accepted that it starts",
            )
        } else {
            None
        }
    }
}

fn hex_problem(text: &str, length: usize) -> Option<String> {
    let is_good = text.is_empty() || (text.len() == 2 * length && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (!is_good).then(|| format!("not {} hexadecimal digits", 2 * length))
}

#[cfg(test)]
mod tests {
    use crate::model::Package;

    fn decode(json: &str) -> Package {
        crate::gojson::from_slice(json.as_bytes()).unwrap().value
    }

    #[test]
    fn objects_are_read_with_names_in_any_case() {
        let tdx = decode(r#"{"TDX": {"mrtd": "aa", "RTMR1": "bb", "XFAM": "cc"}}"#).tdx.unwrap();
        assert_eq!((tdx.mrtd.as_str(), tdx.rtmr1.as_str(), tdx.xfam.as_str()), ("aa", "bb", "cc"));
        let snp = decode(r#"{"SNP": {"Measurement": "aa", "VMPL": 1, "MinTCB": {"SNP": 8}, "Products": ["Milan"]}}"#);
        let snp = snp.snp.unwrap();
        assert_eq!((snp.vmpl, snp.min_tcb.unwrap().snp, snp.products.len()), (Some(1), Some(8), 1));
        assert_eq!(decode(r#"{"TDX": null, "SNP": null}"#), Package::default());
    }

    #[test]
    fn values_that_name_nothing_are_told_by_their_field() {
        let tdx = |json: &str| decode(json).tdx.unwrap().problem().map(|(field, _)| field);
        assert_eq!(tdx(r#"{"TDX": {}}"#), Some("MRTD"));
        assert_eq!(tdx(&format!(r#"{{"TDX": {{"MRTD": "{}"}}}}"#, "aB".repeat(48))), None);
        assert_eq!(tdx(&format!(r#"{{"TDX": {{"MRTD": "{}", "XFAM": "e7"}}}}"#, "aB".repeat(48))), Some("XFAM"));
        let snp = |json: &str| decode(json).snp.unwrap().problem().map(|(field, _)| field);
        let digest = "12".repeat(48);
        assert_eq!(snp(r#"{"SNP": {"ImageID": "aa"}}"#), Some("Measurement"));
        for (more, field) in [
            ("", None),
            (r#", "Products": ["milan"]"#, Some("Products")),
            (r#", "VMPL": 4"#, Some("VMPL")),
            (r#", "MinTCB": {"FMC": 256}"#, Some("MinTCB")),
            (r#", "HostData": "zz""#, Some("HostData")),
        ] {
            assert_eq!(snp(&format!(r#"{{"SNP": {{"IDKeyDigest": "{digest}"{more}}}}}"#)), field, "{more}");
        }
        assert_eq!(snp(&format!(r#"{{"SNP": {{"IDKeyDigest": "{}"}}}}"#, "00".repeat(48))), Some("IDKeyDigest"));
    }

    #[test]
    fn registers_name_a_boot_only_with_one_that_the_firmware_writes() {
        let value = "ab".repeat(32);
        let asked = |pcrs: &[(&str, &str)]| {
            let pcrs: Vec<String> = pcrs.iter().map(|(number, value)| format!("{number:?}: {value:?}")).collect();
            let json =
                format!(r#"{{"SNP": {{"Measurement": "{}", "PCRs": {{{}}}}}}}"#, "12".repeat(48), pcrs.join(", "));
            let snp = decode(&json).snp.unwrap();
            (snp.problem().map(|(field, text)| format!("{field}: {text}")), snp.open_boot())
        };
        assert_eq!(asked(&[]), (None, None));
        for numbers in [&["4", "9"][..], &["4", "7", "11"], &["4", "8", "9", "14"]] {
            let pcrs: Vec<(&str, &str)> = numbers.iter().map(|number| (*number, value.as_str())).collect();
            assert_eq!(asked(&pcrs), (None, None), "{numbers:?}");
        }
        assert!(asked(&[("7", &value)]).1.unwrap().starts_with("without register 4"));
        assert!(asked(&[("4", &value)]).1.unwrap().starts_with("register 4 is the boot loader"));
        for (pcrs, part) in [
            (&[("11", value.as_str()), ("0", &value)][..], "neither 4 nor 7"),
            (&[("4", &value), ("24", &value)], "\"24\" is no register"),
            (&[("04", &value)], "\"04\" is no register"),
            (&[("4", "ab")], "register 4: not 64 hexadecimal digits"),
            (&[("4", &value), ("9", "")], "register 9: it is empty"),
        ] {
            let problem = asked(pcrs).0.unwrap();
            assert!(problem.starts_with("PCRs: ") && problem.contains(part), "{problem}");
        }
    }
}
