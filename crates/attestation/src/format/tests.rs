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
    for (quote, kind) in [
        (tdx4(40), "Intel TDX"),
        (tdx5(648, 40), "Intel TDX"),
        (b"MREV\x01\0\0\0..".to_vec(), "AMD SEV-SNP, cloud VM or TPM"),
    ] {
        assert_eq!(Format::of(&quote).unwrap().kind(), kind);
    }
}

fn tdx4(signature: usize) -> Vec<u8> {
    let start = [4, 0, 2, 0, 0x81, 0, 0, 0];
    let length = u32::try_from(signature).unwrap().to_le_bytes();
    [&start[..], &[7; 624], &length, &vec![7; signature]].concat()
}

fn tdx5(body: usize, signature: usize) -> Vec<u8> {
    let start = [5, 0, 2, 0, 0x81, 0, 0, 0];
    let lengths = [body, signature].map(|length| u32::try_from(length).unwrap().to_le_bytes());
    [&start[..], &[7; 40], &[3, 0], &lengths[0], &vec![7; body], &lengths[1], &vec![7; signature]].concat()
}

#[test]
fn a_tdx_quote_ends_where_it_says_and_only_zeroes_may_follow() {
    for quote in [tdx4(40), tdx5(584, 40), tdx5(648, 0)] {
        assert_eq!(Format::of(&quote), Ok(Format::TdxQuote(&quote)));
        let padded = [&quote[..], &[0; 5000]].concat();
        assert_eq!(Format::of(&padded), Ok(Format::TdxQuote(&quote)));
        let longer = [&quote[..], &[0, 0, 1]].concat();
        assert_eq!(refusal(&longer), "damaged TDX quote: 3 bytes follow its end");
        for length in 8..quote.len() {
            assert!(refusal(&quote[..length]).starts_with("damaged TDX quote"), "{length}");
        }
    }
    let mut liar = tdx5(648, 4);
    liar[50..54].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(refusal(&liar).starts_with("damaged TDX quote"));
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
    fn foreign_bytes_never_panic(start in 0usize..7, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let starts: [&[u8]; 7] = [
            &[],
            &[1, 0, 0, 0, 2, 0, 0, 0],
            &[3, 0, 0, 0],
            &[3, 0, 2, 0, 0, 0, 0, 0],
            &[4, 0, 2, 0, 0x81, 0, 0, 0],
            &[5, 0, 2, 0, 0x81, 0, 0, 0],
            b"MREV",
        ];
        let bytes = [starts[start], &bytes].concat();
        if let Ok(Format::SgxQuote(quote)) = Format::of(&bytes) {
            proptest::prop_assert!(quote.len() >= SGX_SIGNATURE_AT && quote.len() <= bytes.len());
        }
    }
}
