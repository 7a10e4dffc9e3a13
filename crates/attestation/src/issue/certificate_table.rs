//! The table in which an SEV-SNP host hands over certificates (GHCB specification, SNP extended guest request): entries of
//! GUID, offset and length, ended by zeroes, then what they point to. The host wrote it, so it is foreign.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::Bundle;

const ENTRY: usize = 24;

/// Keys that sign reports, and above. Revocation lists have another one and are not for here.
const KINDS: [[u8; 16]; 4] = [
    // VCEK, 63da758d-e664-4564-adc5-f4b93be8accd
    [0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd],
    // VLEK, a8074bc2-a25a-483e-aae6-39c045a0b8a1
    [0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1],
    // ASK, 4ab7b379-bbac-4fe4-a02f-05aef327c782
    [0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82],
    // ARK, c0b406a4-a803-4952-9743-3fb6014cd0ae
    [0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae],
];

/// The certificates (DER) of a table, keys that sign reports first. Empty or zero: the host has none.
pub(super) fn read(table: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found: [Option<Vec<u8>>; KINDS.len()] = Default::default();
    for entry in table.chunks_exact(ENTRY) {
        let (guid, place) = entry.split_at(16);
        if guid.iter().all(|byte| *byte == 0) {
            break;
        }
        let Some(slot) = KINDS.iter().position(|kind| is(guid, kind)).and_then(|kind| found.get_mut(kind)) else {
            continue;
        };
        let number = |at: usize| place.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
        let place = || {
            let (offset, length) = (usize::try_from(number(0)?).ok()?, usize::try_from(number(4)?).ok()?);
            table.get(offset..offset.checked_add(length)?)
        };
        let contents = place().ok_or("the host's table of certificates points beyond its end")?;
        // Some hosts were given PEM files.
        let der = CertificateDer::from_pem_slice(contents).map_or_else(|_| contents.to_vec(), |der| der.to_vec());
        slot.get_or_insert(der);
    }
    let certificates: Vec<Vec<u8>> = found.into_iter().flatten().collect();
    let length: usize = certificates.iter().map(Vec::len).sum();
    if length > Bundle::MAX_CERTIFICATE_BYTES {
        return Err(format!("the host's table has {length} bytes of certificates, more than anybody takes"));
    }
    Ok(certificates)
}

/// Hosts write GUIDs as their text reads, or with their first three numbers in little-endian order.
fn is(guid: &[u8], kind: &[u8; 16]) -> bool {
    let mut swapped = *kind;
    for part in [0..4, 4..6, 6..8] {
        if let Some(number) = swapped.get_mut(part) {
            number.reverse();
        }
    }
    guid == kind || guid == swapped
}

#[cfg(test)]
mod tests {
    use super::super::testing::table;
    use super::*;

    #[test]
    fn certificates_come_leaf_first_in_whatever_order_and_form_the_host_has_them() {
        let pem = "-----BEGIN CERTIFICATE-----\nMAMBAgM=\n-----END CERTIFICATE-----\n";
        let bytes = table(&[("ARK", b"0ark"), ("CRL", b"crl"), ("ASK", b"0ask"), ("VLEK", pem.as_bytes())]);
        let expected = [[0x30, 3, 1, 2, 3].to_vec(), b"0ask".to_vec(), b"0ark".to_vec()];
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn guids_are_known_in_both_orders() {
        let mut bytes = table(&[("VCEK", b"leaf")]);
        for part in [0..4, 4..6, 6..8] {
            bytes[part].reverse();
        }
        assert_eq!(read(&bytes).unwrap(), [b"leaf".to_vec()]);
    }

    #[test]
    fn a_host_without_certificates_is_no_error() {
        assert_eq!((read(&[]), read(&[0; 4096])), (Ok(vec![]), Ok(vec![])));
    }

    #[test]
    fn what_points_beyond_the_table_is_refused() {
        let mut bytes = table(&[("VCEK", b"leaf")]);
        for (offset, length) in [(0u32, u32::MAX), (u32::MAX, 1), (1 << 20, 4)] {
            bytes[16..20].copy_from_slice(&offset.to_le_bytes());
            bytes[20..24].copy_from_slice(&length.to_le_bytes());
            assert!(read(&bytes).unwrap_err().contains("beyond its end"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_table_is_read_or_refused(bytes: Vec<u8>, kind in 0..KINDS.len()) {
            let _ = read(&[&KINDS[kind][..], &bytes].concat());
        }
    }
}
