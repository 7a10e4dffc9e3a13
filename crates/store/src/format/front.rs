//! What stands before the records: prologue and header. Needs no key to read.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use marblerun_sealing::SlotKind;
use x509_cert::Certificate;

use super::header::MAX_HEADER;
use super::marks::MARKS_PAGE;
use super::{Dek, FileId, FileKeys, Header, Refusal, Source, WriteError, upstream};

/// Length of the prologue.
pub(super) const PROLOGUE: usize = 256;
/// Room for a signature in it.
pub(super) const MAX_SIGNATURE: usize = 126;

const MAGIC: &[u8; 8] = b"MRSEAL\r\n";
const VERSION: u16 = 1;
const FLAG_MARKS: u16 = 1;
const SIGNED: &[u8] = b"marblerun sealed v1 header";

/// Which layout a file has.
#[derive(Debug)]
pub enum Layout {
    /// Ours.
    Sealed(Box<Front>),
    /// Upstream's: `sealed_data` of a Go Coordinator.
    Upstream(upstream::UpstreamFront),
}

/// State of the header's signature. Who has pinned the root certificate can trust a valid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// None in the file.
    Absent,
    /// Made by the key of the root certificate in the header.
    Valid,
    /// Not made by it.
    Invalid,
}

/// Prologue and header of a file of ours.
#[derive(Debug, Clone)]
pub struct Front {
    /// Name of the file.
    pub file_id: FileId,
    /// Tells the right data encryption key from a wrong one.
    pub dek_check: [u8; 32],
    /// Offset of the first record.
    pub records_at: u64,
    /// Whether there is a marks page (at `records_at - 4096`).
    pub marked: bool,
    /// Signature over the header, DER.
    pub signature: Vec<u8>,
    /// The outer header. Decides nothing once the state is open.
    pub header: Header,
    /// Its exact bytes.
    pub header_bytes: Vec<u8>,
    /// The first 256 bytes of the file.
    pub prologue: [u8; PROLOGUE],
}

/// Reads what needs no key: upstream's layout or ours, prologue, header.
///
/// # Errors
/// [`Refusal::Damaged`], [`Refusal::NewerFormat`], [`Refusal::Unreadable`].
pub fn read_front(source: &(impl Source + ?Sized)) -> Result<Layout, Refusal> {
    let length = source.length()?;
    let mut magic = [0; MAGIC.len()];
    if length >= magic.len() as u64 {
        source.read_exact_at(&mut magic, 0)?;
    }
    if &magic != MAGIC {
        return upstream::read_front(source, length).map(Layout::Upstream);
    }
    let incomplete = || Refusal::damaged("the file ends inside its header: an incomplete copy?");
    let mut prologue = [0; PROLOGUE];
    if length < PROLOGUE as u64 {
        return Err(incomplete());
    }
    source.read_exact_at(&mut prologue, 0)?;
    let fields = Fields::parse(&prologue).ok_or_else(|| Refusal::damaged("the prologue is malformed"))?;
    if fields.version != VERSION {
        return Err(Refusal::NewerFormat { what: format!("version {}", fields.version) });
    }
    let header_length = fields.header_length as usize;
    if header_length == 0 || header_length > MAX_HEADER {
        return Err(Refusal::damaged("the length of the header is wrong"));
    }
    if length < (PROLOGUE + header_length) as u64 {
        return Err(incomplete());
    }
    let mut header_bytes = vec![0; header_length];
    source.read_exact_at(&mut header_bytes, PROLOGUE as u64)?;
    if checksum(&prologue, &header_bytes) != fields.crc {
        return Err(Refusal::damaged("the checksum of the header is wrong"));
    }
    if fields.flags & !FLAG_MARKS != 0 {
        return Err(Refusal::NewerFormat { what: format!("flags {:#x}", fields.flags) });
    }
    let marked = fields.flags & FLAG_MARKS != 0;
    if fields.records_at != records_at(header_length, marked) {
        return Err(Refusal::damaged("the offset of the first record is wrong"));
    }
    let Some(signature) = fields.signature else {
        return Err(Refusal::damaged("the length of the signature is wrong"));
    };
    let header = Header::decode(&header_bytes)?;
    Ok(Layout::Sealed(Box::new(Front {
        file_id: FileId(fields.file_id),
        dek_check: fields.dek_check,
        records_at: fields.records_at.into(),
        marked,
        signature,
        header,
        header_bytes,
        prologue,
    })))
}

impl Front {
    /// The front of a new file. `sign` makes the signature over the message it is given.
    pub(super) fn new(
        header: Header,
        file_id: FileId,
        keys: &FileKeys,
        marked: bool,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, WriteError>,
    ) -> Result<Self, WriteError> {
        let header_bytes = header.encode()?;
        let dek_check = *keys.check();
        let signature = sign(&signed_message(&file_id, &dek_check, &header_bytes))?;
        WriteError::check("the signature of the header", signature.len() as u64, MAX_SIGNATURE as u64)?;
        let records_at = records_at(header_bytes.len(), marked);
        let header_length = u32::try_from(header_bytes.len()).unwrap_or(u32::MAX);
        let fields = Fields {
            version: VERSION,
            flags: if marked { FLAG_MARKS } else { 0 },
            header_length,
            file_id: file_id.0,
            dek_check,
            records_at,
            signature: Some(signature.clone()),
            crc: 0,
        };
        let prologue = fields.encode(&header_bytes);
        let records_at = records_at.into();
        Ok(Self { file_id, dek_check, records_at, marked, signature, header, header_bytes, prologue })
    }

    /// Where the marks stand.
    pub(crate) fn marks_page(&self) -> Option<u64> {
        self.marked.then_some(self.records_at.saturating_sub(MARKS_PAGE))
    }

    /// Everything before the first record, with an empty marks page.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.prologue.as_slice(), &self.header_bytes].concat();
        bytes.resize(usize::try_from(self.records_at).unwrap_or(bytes.len()), 0);
        bytes
    }

    /// Whether this is the data encryption key of the file (constant time).
    #[must_use]
    pub fn accepts(&self, dek: &Dek) -> bool {
        self.keys(dek).is_some()
    }

    /// The keys of the file, if this is its data encryption key.
    pub(super) fn keys(&self, dek: &Dek) -> Option<FileKeys> {
        FileKeys::derive(dek, self.file_id).ok().filter(|keys| keys.fits(&self.dek_check))
    }

    /// Whether recovery secrets may open it at all.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        self.header.slots.iter().any(|slot| slot.kind() == Some(SlotKind::Recovery))
    }

    /// Tries a candidate recovery root on the recovery slots, O(1). The result also passes [`Front::accepts`].
    #[must_use]
    pub fn dek_from_recovery_root(&self, root: &[u8]) -> Option<Dek> {
        let slots = self.header.slots.iter().filter(|slot| slot.kind() == Some(SlotKind::Recovery));
        slots.filter_map(|slot| slot.unwrap(root, self.header.dek_id)).find(|dek| self.accepts(dek))
    }

    /// Checks the signature under the root certificate in the header.
    #[must_use]
    pub fn check_signature(&self) -> Signature {
        if self.signature.is_empty() {
            return Signature::Absent;
        }
        let message = signed_message(&self.file_id, &self.dek_check, &self.header_bytes);
        let Some((algorithm, key)) = public_key(&self.header.root_certificate) else { return Signature::Invalid };
        match UnparsedPublicKey::new(algorithm, key).verify(&message, &self.signature) {
            Ok(()) => Signature::Valid,
            Err(_) => Signature::Invalid,
        }
    }
}

/// The key of a certificate, with the algorithm its signatures over headers have.
fn public_key(certificate: &[u8]) -> Option<(&'static dyn VerificationAlgorithm, Vec<u8>)> {
    const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    let curve = ObjectIdentifier::from_der(&key.algorithm.parameters.as_ref()?.to_der().ok()?).ok()?;
    let algorithm: &'static dyn VerificationAlgorithm = match curve {
        P384 => &ECDSA_P384_SHA384_ASN1,
        P256 => &ECDSA_P256_SHA256_ASN1,
        _ => return None,
    };
    Some((algorithm, key.subject_public_key.as_bytes()?.to_vec()))
}

fn signed_message(file_id: &FileId, dek_check: &[u8; 32], header: &[u8]) -> Vec<u8> {
    [SIGNED, &file_id.0, dek_check, header].concat()
}

fn records_at(header_length: usize, marked: bool) -> u32 {
    let end = u32::try_from(PROLOGUE + header_length).unwrap_or(u32::MAX);
    if marked { end.next_multiple_of(MARKS_PAGE as u32) + MARKS_PAGE as u32 } else { end }
}

fn checksum(prologue: &[u8; PROLOGUE], header: &[u8]) -> u32 {
    let (body, _crc) = prologue.split_at(PROLOGUE - 4);
    crc32c::crc32c_append(crc32c::crc32c(body), header)
}

/// The prologue, field by field.
struct Fields {
    version: u16,
    flags: u16,
    header_length: u32,
    file_id: [u8; 32],
    dek_check: [u8; 32],
    records_at: u32,
    /// `None`: longer than its room.
    signature: Option<Vec<u8>>,
    crc: u32,
}

impl Fields {
    fn parse(prologue: &[u8; PROLOGUE]) -> Option<Self> {
        let number = |at: usize| prologue.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let short = |at: usize| prologue.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
        let signature_length = usize::from(short(84)?);
        let signature = (signature_length <= MAX_SIGNATURE).then(|| prologue.get(86..86 + signature_length));
        Some(Self {
            version: short(8)?,
            flags: short(10)?,
            header_length: number(12)?,
            file_id: prologue.get(16..48)?.try_into().ok()?,
            dek_check: prologue.get(48..80)?.try_into().ok()?,
            records_at: number(80)?,
            signature: signature.flatten().map(<[u8]>::to_vec),
            crc: number(252)?,
        })
    }

    fn encode(&self, header: &[u8]) -> [u8; PROLOGUE] {
        let signature = self.signature.as_deref().unwrap_or_default();
        let signature_length = u16::try_from(signature.len()).unwrap_or(u16::MAX);
        let mut bytes = [
            MAGIC.as_slice(),
            &self.version.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.header_length.to_le_bytes(),
            &self.file_id,
            &self.dek_check,
            &self.records_at.to_le_bytes(),
            &signature_length.to_le_bytes(),
            signature,
        ]
        .concat()
        .into_iter();
        let mut prologue = [0; PROLOGUE];
        prologue.fill_with(|| bytes.next().unwrap_or_default());
        let crc = checksum(&prologue, header).to_le_bytes();
        if let Some(room) = prologue.last_chunk_mut() {
            *room = crc;
        }
        prologue
    }
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;
