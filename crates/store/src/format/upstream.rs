//! Upstream's `sealed_data`: u32 header length, header (recovery hash map, JSON), nonce, AES-GCM ciphertext, tag.
//!
//! The header is not authenticated, the key length selects the cipher, and there is no way to tell a wrong key
//! from damage.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::keys::{NONCE, TAG, fill_random};
use super::{MAX_STATE, Refusal, Source, WriteError};

/// Most bytes of the header: upstream's hash map of 255 parties has about 18 KiB.
const MAX_HEADER: u64 = 1 << 20;

/// The readable part of an upstream file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFront {
    /// Recovery hash map, JSON; maybe empty or `null`.
    pub header: Vec<u8>,
    /// Offset of the nonce.
    pub sealed_at: u64,
    /// Length of the file.
    pub length: u64,
}

/// Recognises upstream's layout.
pub(super) fn read_front(source: &(impl Source + ?Sized), length: u64) -> Result<UpstreamFront, Refusal> {
    let foreign = || Refusal::damaged("it is neither a sealed state of this program nor one of the Go Coordinator");
    if length <= 4 {
        return Err(Refusal::damaged("the file is empty, or nearly so"));
    }
    let mut header_length = [0; 4];
    source.read_exact_at(&mut header_length, 0)?;
    let header_length = u64::from(u32::from_le_bytes(header_length));
    let sealed_at = 4 + header_length;
    if header_length > MAX_HEADER || sealed_at + (NONCE + TAG) as u64 >= length {
        return Err(foreign());
    }
    let mut header = vec![0; usize::try_from(header_length).map_err(|_| foreign())?];
    source.read_exact_at(&mut header, 4)?;
    let mut nonce = [0; NONCE];
    source.read_exact_at(&mut nonce, sealed_at)?;
    if header.is_empty() && nonce == [0; NONCE] {
        // A file of zeros, as some file systems leave after a crash, would look like an empty header.
        return Err(Refusal::damaged("the file begins with zeros"));
    }
    Ok(UpstreamFront { header, sealed_at, length })
}

/// Decrypts an upstream file with a 16, 24 or 32 byte key.
///
/// # Errors
/// [`Refusal::WrongKey`] (upstream's layout cannot tell damage from a wrong key), [`Refusal::Damaged`], [`Refusal::Unreadable`].
pub fn open(source: &(impl Source + ?Sized), front: &UpstreamFront, dek: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let key = key(dek).ok_or(Refusal::WrongKey)?;
    let too_large = || Refusal::damaged("it is larger than a state can be");
    let sealed = front.length.saturating_sub(front.sealed_at + NONCE as u64);
    if sealed > MAX_STATE || source.length()? < front.length {
        return Err(too_large());
    }
    let mut nonce = [0; NONCE];
    source.read_exact_at(&mut nonce, front.sealed_at)?;
    let mut sealed = Zeroizing::new(vec![0; usize::try_from(sealed).map_err(|_| too_large())?]);
    source.read_exact_at(&mut sealed, front.sealed_at + NONCE as u64)?;
    let plaintext = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed);
    let length = plaintext.map_err(|_| Refusal::WrongKey)?.len();
    sealed.truncate(length);
    Ok(sealed)
}

/// Makes an upstream file (export), with a random nonce.
///
/// # Errors
/// [`WriteError`].
pub fn seal(header: &[u8], plaintext: &[u8], dek: &[u8]) -> Result<Vec<u8>, WriteError> {
    let mut nonce = [0; NONCE];
    fill_random(&mut nonce)?;
    seal_with(header, plaintext, dek, nonce)
}

fn seal_with(header: &[u8], plaintext: &[u8], dek: &[u8], nonce: [u8; NONCE]) -> Result<Vec<u8>, WriteError> {
    WriteError::check("the header", header.len() as u64, MAX_HEADER)?;
    WriteError::check("the state", plaintext.len() as u64, MAX_STATE)?;
    let key = key(dek).ok_or(WriteError::Crypto("AES key of an upstream state: 16, 24 or 32 bytes"))?;
    let header_length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    // The cipher works on a buffer that never holds plaintext once it is part of the file.
    let mut sealed = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG));
    sealed.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut *sealed)
        .map_err(|_| WriteError::Crypto("AES-GCM"))?;
    Ok([header_length.to_le_bytes().as_slice(), header, &nonce, &sealed].concat())
}

/// Name of the entry of a host without enclave in the ConfigMap of several Go Coordinators.
pub const NO_HOST: &str = "00000000000000000000000000000000";

/// A data encryption key as several Go Coordinators without enclave keep it.
pub struct SealedToNoHost {
    /// Value `sealed_key` of the Secret.
    pub sealed_key: Vec<u8>,
    /// Value of the entry [`NO_HOST`] of the ConfigMap.
    pub entry: Vec<u8>,
}

/// Seals a data encryption key under a new key encryption key, and that one under the key of a host without enclave,
/// which is all zeros. `None` if it has another length than theirs.
///
/// # Errors
/// [`WriteError::Crypto`].
pub fn seal_to_no_host(sealed_data: &[u8], dek: &[u8]) -> Result<Option<SealedToNoHost>, WriteError> {
    if dek.len() != KEK {
        return Ok(None);
    }
    let mut kek = Zeroizing::new([0; KEK]);
    fill_random(&mut *kek)?;
    let bound_to = digest(&SHA256, sealed_data);
    let sealed_key = seal_key(&*kek, dek, bound_to.as_ref())?;
    let mut entry = (2 * KEY_REQUEST as u32).to_le_bytes().to_vec();
    for _ in 0..2 {
        entry.extend_from_slice(&key_request()?);
    }
    entry.extend_from_slice(&seal_key(&[0; KEK], &*kek, &[])?);
    Ok(Some(SealedToNoHost { sealed_key, entry }))
}

/// The data encryption key that [`seal_to_no_host`] sealed. `None` if it does not open: another state, or a host with an
/// enclave.
#[must_use]
pub fn open_to_no_host(sealed_data: &[u8], sealed_key: &[u8], entry: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (length, rest) = entry.split_first_chunk::<4>()?;
    let kek = open_key(&[0; KEK], rest.get(u32::from_le_bytes(*length) as usize..)?, &[])?;
    open_key(&kek, sealed_key, digest(&SHA256, sealed_data).as_ref())
}

/// Length of a key encryption key, and of the data encryption key in a Secret.
const KEK: usize = 32;
/// Length of an SGX key request.
const KEY_REQUEST: usize = 512;

/// What a program without enclave writes in place of what its processor was asked: key name 4 (seal key), policy 2
/// (by signer), no versions, and a random key id that decides nothing.
fn key_request() -> Result<[u8; KEY_REQUEST], WriteError> {
    let mut key_id = [0; 32];
    fill_random(&mut key_id)?;
    let mut request = [0; KEY_REQUEST];
    let fields = 4_u16.to_le_bytes().into_iter().chain(2_u16.to_le_bytes()).chain([0; 20]);
    let masks = [0xff00_0000_0000_000b_u64.to_le_bytes(), [0; 8]].into_iter().flatten();
    let rest = key_id.into_iter().chain(0xf000_0000_u32.to_le_bytes());
    request.iter_mut().zip(fields.chain(masks).chain(rest)).for_each(|(to, from)| *to = from);
    Ok(request)
}

/// Nonce, ciphertext, tag.
fn seal_key(under: &[u8], plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, WriteError> {
    let mut nonce = [0; NONCE];
    fill_random(&mut nonce)?;
    let key = key(under).ok_or(WriteError::Crypto("AES key"))?;
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), &mut sealed)
        .map_err(|_| WriteError::Crypto("AES-GCM"))?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// What [`seal_key`] sealed.
fn open_key(under: &[u8], sealed: &[u8], bound_to: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let mut plain = Zeroizing::new(rest.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key(under)?.open_in_place(nonce, Aad::from(bound_to), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

fn key(dek: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match dek.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        32 => &AES_256_GCM,
        _ => return None,
    };
    UnboundKey::new(algorithm, dek).ok().map(LessSafeKey::new)
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
