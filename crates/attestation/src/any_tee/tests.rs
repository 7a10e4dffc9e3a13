use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::{CollateralError, IntelCollateral, IntelPlatform, SnpProduct, VcekRequest};

const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/quotes");
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/quotes");

/// In the life of the synthetic collateral.
const NOW: u64 = 1_767_225_600;

/// A fixture; `None` if it is no part of the project, and not there.
fn fixture(name: &str) -> Option<Vec<u8>> {
    let paths: [PathBuf; 2] = [OURS, SHARED].map(|folder| Path::new(folder).join(name));
    paths.iter().find_map(|path| std::fs::read(path).ok())
}

fn verifier(collateral: IntelCollateral, root: Vec<u8>) -> AnyTee {
    AnyTee::with_roots(Arc::new(Arc::new(collateral)), Roots { intel: root, ..Roots::vendors() })
}

fn synthetic(collateral: &str) -> AnyTee {
    let json = fixture(&format!("synthetic/{collateral}")).unwrap();
    verifier(IntelCollateral::from_json(&json).unwrap(), fixture("synthetic/test_root.der").unwrap())
}

fn evidence(bytes: &[u8]) -> Evidence {
    Evidence::from_wire(bytes.to_vec()).unwrap()
}

/// As a Marble's runtime frames a quote.
fn framed(quote: &[u8]) -> Evidence {
    evidence(&[&[1, 0, 0, 0, 2, 0, 0, 0][..], &(quote.len() as u64).to_le_bytes(), quote].concat())
}

/// What the list of expectations says of a quote that was verified.
fn told(verified: &Verified) -> Value {
    let Findings::Intel(found) = &verified.findings else { panic!("no findings of Intel") };
    let claims = &verified.claims;
    let mut told = serde_json::json!({
        "status": claims.tcb_status.as_str(),
        "platformStatus": found.platform_status,
        "qeStatus": found.qe_status,
        "advisories": claims.advisories,
        "fmspc": hex::encode(found.platform.fmspc),
        "reportData": hex::encode(claims.report_data.0),
    });
    match &claims.identity {
        Identity::Sgx(sgx) => {
            told["mrenclave"] = hex::encode(sgx.unique_id).into();
            told["mrsigner"] = hex::encode(sgx.signer_id).into();
            told["isvprodid"] = sgx.product_id.into();
            told["isvsvn"] = sgx.security_version.into();
            told["debug"] = claims.debug.into();
        }
        Identity::Tdx(tdx) => {
            told["mrtd"] = hex::encode(tdx.mrtd).into();
            told["tdAttributes"] = hex::encode(tdx.attributes).into();
        }
        Identity::Snp(_) => panic!("a quote of AMD"),
    }
    told
}

#[test]
fn every_expectation_holds_framed_and_bare() {
    let cases: Vec<Value> = serde_json::from_slice(&fixture("expected.json").unwrap()).unwrap();
    assert_eq!(cases.len(), 35);
    let mut skipped = 0;
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let name = format!("{} with {} at {}", text("quote"), text("collateral"), case["now"]);
        let files = ["quote", "collateral", "root"].map(|key| fixture(text(key)));
        let [Some(quote), Some(collateral), Some(root)] = files else {
            eprintln!("SKIPPED: {name}: its files are not in {SHARED}");
            skipped += 1;
            continue;
        };
        let verifier = verifier(IntelCollateral::from_json(&collateral).unwrap(), root);
        let now = case["now"].as_u64().unwrap();
        let is_sgx = quote.starts_with(&[3, 0]);
        let verified = verifier.examine(&if is_sgx { framed(&quote) } else { evidence(&quote) }, now);
        if is_sgx {
            assert_eq!(verifier.examine(&evidence(&quote), now), verified, "{name}: bare");
        }
        match (case["expect"]["error"].as_str(), verified) {
            (Some("Debug mode is enabled"), Ok(verified)) => assert!(verified.claims.debug, "{name}"),
            // The root is looked at before anything else.
            (Some(text), Err(error)) if text.contains("root CA CRL") => {
                assert!(error.to_string().contains("not certified by Intel"), "{name}: {error}");
            }
            (Some(text), Err(error)) => assert!(error.to_string().starts_with(text), "{name}: {error}"),
            (None, Ok(verified)) => assert_eq!(told(&verified), case["expect"], "{name}"),
            (expected, got) => panic!("{name}: expected {expected:?}, got {got:?}"),
        }
    }
    assert!(skipped == 0 || skipped == 18, "{skipped} cases without their files");
}

#[test]
fn no_flipped_bit_of_a_quote_is_believed() {
    let verifier = synthetic("collateral.json");
    let quote = fixture("synthetic/sgx_UpToDate.quote").unwrap();
    verifier.examine(&framed(&quote), NOW).unwrap();
    // Header and body, length, signature, key, report of the quoting enclave and its signature: a sample that meets each.
    for (count, at) in (0..1012).step_by(7).enumerate() {
        let mut flipped = quote.clone();
        flipped[at] ^= 1 << (count % 8);
        assert!(verifier.examine(&framed(&flipped), NOW).is_err(), "byte {at}");
    }
}

#[test]
fn no_flipped_bit_of_what_is_signed_in_collateral_is_believed() {
    let json = fixture("synthetic/collateral.json").unwrap();
    let (root, quote) = (fixture("synthetic/test_root.der").unwrap(), fixture("synthetic/sgx_UpToDate.quote").unwrap());
    let whole: Value = serde_json::from_slice(&json).unwrap();
    let refused = |changed: &Value| {
        let Ok(collateral) = IntelCollateral::from_json(changed.to_string().as_bytes()) else { return true };
        verifier(collateral, root.clone()).examine(&framed(&quote), NOW).is_err()
    };
    assert!(!refused(&whole));
    for field in ["tcb_info", "qe_identity"] {
        let text = whole[field].as_str().unwrap();
        for at in (0..text.len()).step_by(23) {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1;
            let mut changed = whole.clone();
            changed[field] = String::from_utf8(bytes).unwrap().into();
            assert!(refused(&changed), "{field} {at}");
        }
        // As good as before to a reader of JSON, but not what was signed.
        let mut changed = whole.clone();
        changed[field] = format!("{text} ").into();
        assert!(refused(&changed), "{field} with a space");
    }
    for field in ["root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"] {
        let bytes = hex::decode(whole[field].as_str().unwrap()).unwrap();
        for at in (0..bytes.len()).step_by(9) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            let mut changed = whole.clone();
            changed[field] = hex::encode(flipped).into();
            assert!(refused(&changed), "{field} {at}");
        }
    }
}

#[test]
fn a_stranger_makes_nobody_ask_for_collateral() {
    struct Asked;
    impl CollateralSource for Asked {
        fn intel(&self, _: &IntelPlatform, _: u64) -> Result<Arc<IntelCollateral>, CollateralError> {
            panic!("collateral was asked for")
        }
        fn vcek(&self, _: &VcekRequest, _: u64) -> Result<Arc<[u8]>, CollateralError> {
            panic!("a certificate was asked for")
        }
        fn amd_crl(&self, _: SnpProduct, _: u64) -> Result<Option<Arc<[u8]>>, CollateralError> {
            panic!("a list was asked for")
        }
    }
    let verifier = AnyTee::new(Arc::new(Asked));
    let quote = fixture("synthetic/sgx_UpToDate.quote").unwrap();
    let text = verifier.examine(&evidence(&quote), NOW).unwrap_err().to_string();
    assert!(text.contains("not certified by Intel"), "{text}");
}

#[test]
fn without_collateral_intels_evidence_is_refused_and_it_is_said_why() {
    let roots = Roots { intel: fixture("synthetic/test_root.der").unwrap(), ..Roots::vendors() };
    let verifier = AnyTee::with_roots(Arc::new(NoCollateral), roots);
    let quote = fixture("synthetic/sgx_UpToDate.quote").unwrap();
    let error = verifier.examine(&evidence(&quote), NOW).unwrap_err();
    assert!(error.to_string().contains("no source of collateral is configured"), "{error}");
    assert!(!error.for_peers().contains("configured"), "{}", error.for_peers());
}

#[test]
fn a_debug_enclave_is_genuine_and_for_the_policy_to_judge() {
    let quote = fixture("synthetic/sgx_debug_UpToDate.quote").unwrap();
    assert!(synthetic("collateral.json").examine(&evidence(&quote), NOW).unwrap().claims.debug);
}

#[test]
fn nothing_and_garbage_and_other_bundles_are_refused_as_that() {
    let refusal = |bytes: &[u8]| AnyTee::default().examine(&evidence(bytes), NOW).unwrap_err().to_string();
    assert_eq!(refusal(b""), "empty report");
    assert!(refusal(b"garbage").starts_with("evidence of no known kind"));
    assert_eq!(refusal(b"MREV\x01\0\0\0"), "a bundle without a report");
    let bundle = Bundle { tee: 9, report: vec![1], ..Bundle::default() };
    assert!(refusal(&bundle.to_wire()).contains("unknown hardware (number 9)"));
    let azure = Bundle { tee: 3, report: vec![1], runtime_data: vec![1], ..Bundle::default() };
    assert!(refusal(&azure.to_wire()).contains("with a TPM's quote, which binds nothing there"));
    let short = Bundle { tee: 3, report: vec![1], ..Bundle::default() };
    assert_eq!(refusal(&short.to_wire()), "damaged SEV-SNP report: it has 1 bytes instead of 1184");
}

#[test]
fn a_window_is_where_all_parts_are_good() {
    let read = |name: &str| IntelCollateral::from_json(&fixture(&format!("synthetic/{name}")).unwrap()).unwrap();
    let good = read("collateral.json").window().unwrap();
    assert!(good.from <= NOW && NOW < good.until, "{good:?}");
    assert!(read("collateral_expired_tcbinfo.json").window().unwrap().until < NOW);
    let collateral = read("collateral.json");
    assert_eq!(IntelCollateral::from_json(&collateral.to_json()), Ok(collateral.clone()));
    assert_eq!(collateral.subject().unwrap(), (Tee::Sgx, [0, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0]));
}
