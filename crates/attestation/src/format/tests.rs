use super::*;

/// A quote of made-up parts with the right lengths: 436 bytes, then a signature.
fn quote(signature: usize) -> Vec<u8> {
    let mut quote = vec![7; SGX_SIGNATURE_AT + signature];
    quote[..8].copy_from_slice(&[3, 0, 2, 0, 0, 0, 0, 0]);
    quote[SGX_SIGNATURE_LENGTH_AT..SGX_SIGNATURE_AT].copy_from_slice(&u32::try_from(signature).unwrap().to_le_bytes());
    quote
}

fn report(kind: u32, length: usize, data: &[u8]) -> Vec<u8> {
    [&1u32.to_le_bytes()[..], &kind.to_le_bytes(), &(length as u64).to_le_bytes(), data].concat()
}

fn evidence(format: [u8; 16], length: usize, data: &[u8]) -> Vec<u8> {
    [&3u32.to_le_bytes()[..], &format, &[0; 4], &(length as u64).to_le_bytes(), data].concat()
}

fn refusal(bytes: &[u8]) -> String {
    Format::of(bytes).unwrap_err().to_string()
}

#[test]
fn a_quote_is_found_in_every_frame_that_marbles_use() {
    let quote = quote(100);
    let padded = [&quote[..], &[0; 30]].concat();
    for framed in [
        quote.clone(),
        report(2, quote.len(), &quote),
        report(2, padded.len(), &padded),
        evidence(RAW_QUOTE, quote.len(), &quote),
    ] {
        assert_eq!(Format::of(&framed), Ok(Format::SgxQuote(&quote)));
    }
    // The vector of the header for a quote of 4600 bytes.
    assert_eq!(hex::encode(&report(2, 4600, &[])[..]), "0100000002000000f811000000000000");
}

#[test]
fn other_hardware_is_known_by_name() {
    for (start, kind) in [
        (&[4, 0, 2, 0, 0x81, 0, 0, 0, 1][..], "Intel TDX"),
        (&[5, 0, 2, 0, 0x81, 0, 0, 0, 1], "Intel TDX"),
        (b"MREV\x01\0\0\0..", "AMD SEV-SNP, cloud VM or TPM"),
    ] {
        assert_eq!(Format::of(start).unwrap().kind(), kind);
    }
}

#[test]
fn lengths_that_contradict_the_bytes_are_refused() {
    let quote = quote(100);
    for stated in [0, quote.len() - 1, quote.len() + 1, usize::MAX] {
        let text = refusal(&report(2, stated, &quote));
        assert_eq!(text, format!("damaged Open Enclave report: it states {stated} bytes and has 536"));
        assert!(refusal(&evidence(RAW_QUOTE, stated, &quote)).starts_with("damaged Open Enclave evidence"));
    }
    let mut liar = quote.clone();
    liar[SGX_SIGNATURE_LENGTH_AT..SGX_SIGNATURE_AT].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refusal(&liar), "damaged SGX quote: it states 4294967295 bytes of signature and has 100");
    let trailing = [&quote[..], &[0, 0, 1]].concat();
    assert_eq!(refusal(&trailing), "damaged SGX quote: 3 bytes follow its end");
    assert_eq!(refusal(&report(2, trailing.len(), &trailing)), "damaged SGX quote: 3 bytes follow its end");
    let bare = [&quote[..], &[0; 3]].concat();
    assert_eq!(refusal(&bare), "damaged SGX quote: 3 bytes follow its end", "padding is for frames alone");
}

#[test]
fn every_cut_is_refused_and_none_panics() {
    let quote = quote(64);
    for whole in [quote.clone(), report(2, quote.len(), &quote), evidence(RAW_QUOTE, quote.len(), &quote)] {
        for length in 0..whole.len() {
            assert!(Format::of(&whole[..length]).is_err(), "{length}");
        }
    }
}

#[test]
fn what_is_no_evidence_for_others_is_named() {
    assert_eq!(refusal(b""), "empty report");
    assert_eq!(refusal(b"garbage of any kind"), "evidence of no known kind (it begins with 6761726261676520)");
    assert_eq!(refusal(&report(1, 3, b"abc")), "the frame holds a local SGX report, which is not evidence for others");
    assert!(refusal(&report(9, 3, b"abc")).contains("unknown type"));
    assert!(refusal(&report(2, 3, b"abc")).contains("no SGX quote of version 3"));
    let custom = [0xc8; 16];
    assert!(refusal(&evidence(custom, 3, b"abc")).contains(&hex::encode(custom)));
    assert!(refusal(&vec![3; crate::Evidence::MAX_LEN + 1]).contains("longer than"));
}

proptest::proptest! {
    #[test]
    fn foreign_bytes_never_panic(start in 0usize..5, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let starts: [&[u8]; 5] = [&[], &[1, 0, 0, 0, 2, 0, 0, 0], &[3, 0, 0, 0], &[3, 0, 2, 0, 0, 0, 0, 0], b"MREV"];
        let bytes = [starts[start], &bytes].concat();
        if let Ok(Format::SgxQuote(quote)) = Format::of(&bytes) {
            proptest::prop_assert!(quote.len() >= SGX_SIGNATURE_AT && quote.len() <= bytes.len());
        }
    }
}
