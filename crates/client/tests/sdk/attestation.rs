//! Whether to believe who answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use marblerun_client::attestation::{AnyTee, Incarnation, Roots};
use marblerun_client::collateral;

use marblerun_client::{
    AttestError, AttestOptions, Claims, ClientError, CoordinatorRefusal, EnclaveClaims, EraConfig, Evidence,
    ExpectedManifest, Measured, ReportData, SgxIdentity, TcbStatus, Trust, Verifier, VerifyError, attest,
    verify_deployment,
};
use marblerun_pki::Authority;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::fake::{Fake, MANIFEST, Script, authority};

/// A whole SGX quote, in the right form.
const QUOTE: &[u8] = include_bytes!("../../../attestation/tests/fixtures/sgx.quote");
/// Evidence and collateral made for tests.
const SYNTHETIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../attestation/tests/fixtures/quotes/synthetic");
const NONCE: &[u8] = &[0xfb, 0xff, 0xfe, 0x00];

/// Plays hardware whose evidence is its 64 bytes of report data.
struct Hardware(TcbStatus);

impl Verifier for Hardware {
    fn verify(&self, evidence: &Evidence, now: u64) -> Result<Claims, VerifyError> {
        assert!(now > 1_700_000_000, "the verifier is told the time");
        let report_data = evidence.as_bytes().try_into().map_err(|_| VerifyError("signature is bad".to_owned()))?;
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Measured::Sgx(SgxIdentity {
                unique_id: [1; 32],
                signer_id: [2; 32],
                product_id: 3,
                security_version: 4,
            }),
            debug: false,
            report_data: ReportData(report_data),
            tcb_status: self.0,
            advisories: Some(vec!["INTEL-SA-00615".to_owned()]),
        }))
    }
}

fn era(security_version: u64) -> EraConfig {
    let json = format!(r#"{{"SignerID":"{}","ProductID":3,"SecurityVersion":{security_version}}}"#, "02".repeat(32));
    EraConfig::from_json(json.as_bytes()).unwrap()
}

fn options(status: TcbStatus) -> AttestOptions {
    AttestOptions { verifier: Arc::new(Hardware(status)), ..AttestOptions::expecting(&era(4)) }
}

/// A Coordinator whose evidence is bound to its root and a nonce.
async fn coordinator(nonce: &[u8]) -> Fake {
    let authority = authority();
    let quote = ReportData::binding(&[&authority.root_certificate, nonce]).0;
    let mut script = Script::v2().quote(&quote);
    if !nonce.is_empty() {
        let answer = r#"{"status":"success","data":{"cert":@CHAIN@,"quote":@QUOTE@}}"#;
        script = script.answer("GET /api/v2/quote?nonce=-__-AA%3D%3D", 200, answer);
    }
    Fake::with_authority(script, authority).await
}

fn refusal(error: ClientError) -> AttestError {
    match error {
        ClientError::Attestation(error) => *error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_coordinator_that_is_meant_is_verified_and_its_evidence_handed_out() {
    let fake = coordinator(b"").await;
    let attested = attest(&fake.endpoint, &options(TcbStatus::SwHardeningNeeded)).await.unwrap();
    assert!(attested.verified);
    assert_eq!(attested.root, fake.authority.root_certificate);
    assert_eq!(attested.intermediate, fake.authority.intermediate_certificate);
    let quote = ReportData::binding(&[&fake.authority.root_certificate]).0;
    assert_eq!(attested.quote.as_deref(), Some(&quote[..]), "verified evidence is what was received");
    assert_eq!(attested.claims.as_ref().unwrap().tcb_status, TcbStatus::SwHardeningNeeded);
    let chain = marblerun_client::parse_chain(attested.chain_pem().unwrap().as_bytes()).unwrap();
    assert_eq!(chain, (attested.intermediate.clone(), attested.root.clone()));
    let client = attested.client(fake.endpoint.clone()).build().unwrap();
    client.status().await.unwrap();
}

#[tokio::test]
async fn a_nonce_is_sent_as_url_safe_base64_and_must_be_in_the_evidence() {
    let fake = coordinator(NONCE).await;
    let with_nonce = |nonce: &[u8]| AttestOptions { nonce: nonce.to_vec(), ..options(TcbStatus::UpToDate) };
    attest(&fake.endpoint, &with_nonce(NONCE)).await.unwrap();
    assert_eq!(fake.lines(), ["GET /api/v2/quote?nonce=-__-AA%3D%3D"]);
    // The same evidence for another question: somebody replays it.
    let error = refusal(attest(&fake.endpoint, &with_nonce(b"")).await.unwrap_err());
    assert_eq!(error.to_string(), "report data does not match the certificate's hash");
}

#[tokio::test]
async fn the_nonce_of_an_era_configuration_is_used() {
    let json = format!(r#"{{"UniqueID":"{}","Nonce":"+//+AA=="}}"#, "01".repeat(32));
    let era = EraConfig::from_json(json.as_bytes()).unwrap();
    let options = AttestOptions { verifier: Arc::new(Hardware(TcbStatus::UpToDate)), ..AttestOptions::expecting(&era) };
    attest(&coordinator(NONCE).await.endpoint, &options).await.unwrap();
}

#[tokio::test]
async fn an_old_coordinator_is_attested_but_not_with_a_nonce() {
    let authority = authority();
    let quote = ReportData::binding(&[&authority.root_certificate]).0;
    let fake = Fake::with_authority(Script::v1().quote(&quote), authority).await;
    attest(&fake.endpoint, &options(TcbStatus::UpToDate)).await.unwrap();
    let lines = fake.lines();
    assert!(lines[0].starts_with("GET /api/v3/attestation?nonce="), "{lines:?}");
    assert_eq!(lines[1..], ["GET /api/v2/quote", "GET /quote"]);
    let nonce = AttestOptions { nonce: NONCE.to_vec(), ..options(TcbStatus::UpToDate) };
    let error = refusal(attest(&fake.endpoint, &nonce).await.unwrap_err());
    let text = "using custom nonce requires /api/v2, but the Coordinator does not support /api/v2";
    assert_eq!(error.to_string(), text);
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn without_a_policy_nothing_is_sent() {
    let fake = coordinator(b"").await;
    let error = refusal(attest(&fake.endpoint, &AttestOptions::default()).await.unwrap_err());
    assert_eq!((error, fake.lines().len()), (AttestError::NoPolicy, 0));
}

#[tokio::test]
async fn another_enclave_or_a_bad_platform_is_refused_with_the_reason() {
    let fake = coordinator(b"").await;
    let newer = AttestOptions { policy: Some(era(5).policy()), ..options(TcbStatus::UpToDate) };
    let error = refusal(attest(&fake.endpoint, &newer).await.unwrap_err());
    assert_eq!(error, AttestError::Refused(CoordinatorRefusal::SecurityVersion { least: 5, got: 4 }));
    let error = refusal(attest(&fake.endpoint, &options(TcbStatus::Revoked)).await.unwrap_err());
    assert_eq!(error.to_string(), "invalid TCB status: Revoked");
    let stolen = Fake::start(Script::v2().quote(&ReportData::binding(&[b"another root"]).0)).await;
    let error = refusal(attest(&stolen.endpoint, &options(TcbStatus::UpToDate)).await.unwrap_err());
    assert!(matches!(error, AttestError::Refused(CoordinatorRefusal::Binding { .. })));
    let forged = Fake::start(Script::v2().quote(b"no evidence")).await;
    let error = refusal(attest(&forged.endpoint, &options(TcbStatus::UpToDate)).await.unwrap_err());
    assert_eq!(error.to_string(), "verifying Coordinator quote: signature is bad");
}

#[tokio::test]
async fn simulation_proves_nothing_and_says_so() {
    for body in [r#""quote":null"#, r#""quote":"""#] {
        let body = format!(r#"{{"status":"success","data":{{"cert":@CHAIN@,{body}}}}}"#);
        let fake = Fake::start(Script::v2().answer("GET /api/v2/quote", 200, &body)).await;
        let error = refusal(attest(&fake.endpoint, &options(TcbStatus::UpToDate)).await.unwrap_err());
        assert!(error.to_string().starts_with("verifying Coordinator quote: empty report"), "{error}");
        let attested = attest(&fake.endpoint, &AttestOptions::insecure()).await.unwrap();
        assert!(!attested.verified && attested.claims.is_none());
    }
}

#[tokio::test]
async fn an_sgx_quote_that_does_not_lead_to_intel_is_refused() {
    let fake = Fake::start(Script::v2().quote(QUOTE)).await;
    let error = attest(&fake.endpoint, &AttestOptions::expecting(&era(4))).await.unwrap_err();
    assert!(
        error.to_string().starts_with("verifying Coordinator quote: the platform is not certified by Intel"),
        "{error}"
    );
    let garbage = Fake::start(Script::v2().quote(b"garbage")).await;
    let error = attest(&garbage.endpoint, &AttestOptions::expecting(&era(4))).await.unwrap_err();
    assert!(error.to_string().contains("evidence of no known kind"), "{error}");
    let endless = Fake::start(Script::v2().quote(&[3; 70_000])).await;
    let error = attest(&endless.endpoint, &AttestOptions::expecting(&era(4))).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

/// Verifies really, with keys and collateral made for tests, at a time when those are good.
struct Made(AnyTee);

impl Made {
    fn new() -> Self {
        let collateral = collateral::Files::open(Path::new(SYNTHETIC).join("collateral.json").as_path()).unwrap();
        let root = std::fs::read(Path::new(SYNTHETIC).join("test_root.der")).unwrap();
        Self(AnyTee::with_roots(Arc::new(collateral), Roots { intel: root, ..Roots::vendors() }))
    }
}

impl Verifier for Made {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        self.0.verify(evidence, 1_767_225_600)
    }
}

/// A quote over that data, as an enclave in SGX sends it.
fn quote(report_data: &ReportData) -> Vec<u8> {
    let mut quote = std::fs::read(Path::new(SYNTHETIC).join("sgx_SWHardeningNeeded.quote")).unwrap();
    quote[368..432].copy_from_slice(&report_data.0);
    let pem = std::fs::read(Path::new(SYNTHETIC).join("test_attestation_key.pem")).unwrap();
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(&pem).unwrap() else { panic!("no PKCS#8") };
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der()).unwrap();
    let signature = key.sign(&SystemRandom::new(), &quote[..432]).unwrap();
    quote[436..500].copy_from_slice(signature.as_ref());
    [&[1, 0, 0, 0, 2, 0, 0, 0][..], &(quote.len() as u64).to_le_bytes(), &quote].concat()
}

#[tokio::test]
async fn a_real_quote_over_the_root_and_nonce_is_believed_and_no_other() {
    let json = format!(r#"{{"SignerID":"{}","ProductID":3,"SecurityVersion":3}}"#, "bb".repeat(32));
    let era = EraConfig::from_json(json.as_bytes()).unwrap();
    let options = AttestOptions { verifier: Arc::new(Made::new()), ..AttestOptions::expecting(&era) };
    let authority = authority();
    let answer = |over: &[u8]| Script::v2().quote(&quote(&ReportData::binding(&[over])));
    let fake = Fake::with_authority(answer(&authority.root_certificate), authority.clone()).await;
    let attested = attest(&fake.endpoint, &options).await.unwrap();
    let claims = attested.claims.unwrap();
    assert_eq!((claims.tcb_status, claims.identity.security_version()), (TcbStatus::SwHardeningNeeded, 3));
    let relayed = Fake::with_authority(answer(b"another root"), authority.clone()).await;
    let error = attest(&relayed.endpoint, &options).await.unwrap_err();
    assert!(matches!(refusal(error), AttestError::Refused(CoordinatorRefusal::Binding { .. })));
    let mut vm = options.clone();
    vm.policy = Some(
        EraConfig::from_json(format!(r#"{{"TDX":{{"MRTD":"{}"}}}}"#, "00".repeat(48)).as_bytes()).unwrap().policy(),
    );
    let error = attest(&fake.endpoint, &vm).await.unwrap_err();
    assert!(matches!(refusal(error), AttestError::Refused(CoordinatorRefusal::Vm(_))));
}

#[tokio::test]
async fn an_intermediate_of_somebody_else_is_refused_even_without_verification() {
    let (own, foreign) = (authority(), authority());
    for intermediate in [foreign.intermediate_certificate, own.root_certificate.clone()] {
        let planted = Authority { intermediate_certificate: intermediate, ..own.clone() };
        let is_root = planted.intermediate_certificate == planted.root_certificate;
        let fake = Fake::with_authority(Script::v2(), planted).await;
        let result = attest(&fake.endpoint, &AttestOptions::insecure()).await;
        // A root issues itself; that hides nothing and plants nothing.
        assert_eq!(result.is_ok(), is_root);
        if let Err(error) = result {
            assert!(error.to_string().contains("the root did not sign it"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_chain_that_cannot_be_read_is_told() {
    for (cert, part) in [("", "intermediate certificate"), ("no pem", "intermediate certificate")] {
        let body = format!(r#"{{"status":"success","data":{{"cert":"{cert}","quote":null}}}}"#);
        let fake = Fake::start(Script::v2().answer("GET /api/v2/quote", 200, &body)).await;
        let error = attest(&fake.endpoint, &AttestOptions::insecure()).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn who_is_not_known_yet_is_not_read_without_bound() {
    let body = format!(r#"{{"status":"success","data":{{"cert":"{}","quote":null}}}}"#, "x".repeat(2 << 20));
    let fake = Fake::start(Script::v2().answer("GET /api/v2/quote", 200, &body)).await;
    let error = attest(&fake.endpoint, &AttestOptions::insecure()).await.unwrap_err();
    assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn a_deployment_is_verified_whole() {
    let fake = coordinator(b"").await;
    let options = AttestOptions { timeout: Duration::from_secs(20), ..options(TcbStatus::UpToDate) };
    let attested = verify_deployment(&fake.endpoint, &options, ExpectedManifest::Raw(MANIFEST)).await.unwrap();
    assert!(matches!(attested.trust(), Trust::Pinned(root) if root == fake.authority.root_certificate));
    let error = verify_deployment(&fake.endpoint, &options, ExpectedManifest::Raw(b"{}")).await.unwrap_err();
    assert!(matches!(error, ClientError::OtherManifest { .. }), "{error}");
}

const LIFE: Incarnation = Incarnation { number: 2, id: [9; 16] };

/// A Coordinator that says that this is its life, with evidence over what it is asked to make it over.
async fn attesting(
    told: Option<(u64, &'static str)>,
    over: impl Fn(&[u8], &[u8]) -> ReportData + Send + Sync + 'static,
) -> Fake {
    let authority = authority();
    let chain = marblerun_client::chain_pem(&authority.intermediate_certificate, &authority.root_certificate).unwrap();
    let root = authority.root_certificate.clone();
    let script = Script::v2().quote(&ReportData::binding(&[&root]).0).attestation(move |nonce| {
        assert!(nonce.len() >= 16, "a nonce that nobody guesses");
        let answer = serde_json::json!({
            "cert": chain,
            "quote": marblerun_api::bytes::encode(&over(&root, nonce).0),
            "tee": "sgx",
            "incarnation": told.map(|(number, _)| number),
            "incarnationId": told.map(|(_, id)| id),
        });
        (200, answer.to_string())
    });
    Fake::with_authority(script, authority).await
}

const ID: &str = "09090909090909090909090909090909";

#[tokio::test]
async fn the_life_of_the_deployment_is_attested_in_one_request_with_a_nonce_of_its_own() {
    let fake = attesting(Some((2, ID)), |root, nonce| ReportData::of_incarnation(root, nonce, Some(&LIFE))).await;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let attested = attest(&fake.endpoint, &options(TcbStatus::UpToDate)).await.unwrap();
        assert_eq!((attested.verified, attested.incarnation), (true, Some(LIFE)));
        nonces.extend(fake.lines());
    }
    assert_eq!(nonces.len(), 2);
    assert_ne!(nonces[0], nonces[1]);
    let recovering = attesting(None, |root, nonce| ReportData::of_incarnation(root, nonce, None)).await;
    let attested = attest(&recovering.endpoint, &options(TcbStatus::UpToDate)).await.unwrap();
    assert_eq!((attested.verified, attested.incarnation), (true, None));
}

#[tokio::test]
async fn a_life_that_the_evidence_is_not_bound_to_is_refused() {
    type Over = fn(&[u8], &[u8]) -> ReportData;
    let encoded = |number: u64| [&[1][..], &number.to_be_bytes(), &LIFE.id].concat();
    let forgeries: [(Option<(u64, &str)>, Over); 5] = [
        (Some((3, ID)), |root, nonce| ReportData::of_incarnation(root, nonce, Some(&LIFE))),
        (Some((2, "08080808080808080808080808080808")), |root, nonce| {
            ReportData::of_incarnation(root, nonce, Some(&LIFE))
        }),
        (None, |root, nonce| ReportData::of_incarnation(root, nonce, Some(&LIFE))),
        // Kept from another time.
        (Some((2, ID)), |root, _| ReportData::of_incarnation(root, &[7; 32], Some(&LIFE))),
        // What the original's quote is bound to: anybody chooses its nonce.
        (Some((2, ID)), |root, nonce| ReportData::binding(&[root, nonce])),
    ];
    for (told, over) in forgeries {
        let fake = attesting(told, over).await;
        let error = refusal(attest(&fake.endpoint, &options(TcbStatus::UpToDate)).await.unwrap_err());
        assert!(matches!(error, AttestError::Refused(CoordinatorRefusal::Binding { .. })), "{error}");
    }
    let chosen = attesting(Some((2, ID)), move |root, nonce| ReportData::binding(&[root, nonce, &encoded(2)]));
    let error = refusal(attest(&chosen.await.endpoint, &options(TcbStatus::UpToDate)).await.unwrap_err());
    assert!(matches!(error, AttestError::Refused(CoordinatorRefusal::Binding { .. })), "{error}");
    let short = attesting(Some((2, "09")), |root, nonce| ReportData::of_incarnation(root, nonce, Some(&LIFE))).await;
    let error = attest(&short.endpoint, &options(TcbStatus::UpToDate)).await.unwrap_err().to_string();
    assert!(error.contains("malformed"), "{error}");
}

#[tokio::test]
async fn it_is_not_asked_for_where_a_quote_of_the_originals_form_is_wanted() {
    let fake = attesting(Some((2, ID)), |root, nonce| ReportData::of_incarnation(root, nonce, Some(&LIFE))).await;
    let original = AttestOptions { incarnation: false, ..options(TcbStatus::UpToDate) };
    let attested = attest(&fake.endpoint, &original).await.unwrap();
    assert_eq!((attested.verified, attested.incarnation), (true, None));
    assert_eq!(fake.lines(), ["GET /api/v2/quote"]);
}

#[tokio::test]
async fn where_it_cannot_be_attested_now_or_not_yet_the_quote_that_is_there_will_do_and_no_life_is_told() {
    for (status, code, is_attested) in [(500, "no_quote", true), (404, "no_such_path", true), (503, "busy", false)] {
        let authority = authority();
        let script = Script::v2().quote(&ReportData::binding(&[&authority.root_certificate]).0);
        let script = script.attestation(move |_| {
            let problem = serde_json::json!({
                "type": "about:blank", "title": "", "status": status, "detail": "", "code": code, "requestId": "",
            });
            (status, problem.to_string())
        });
        let fake = Fake::with_authority(script, authority).await;
        match attest(&fake.endpoint, &options(TcbStatus::UpToDate)).await {
            Ok(attested) => assert!(is_attested && attested.verified && attested.incarnation.is_none(), "{code}"),
            Err(error) => assert!(!is_attested && matches!(error, ClientError::Problem { .. }), "{code}: {error}"),
        }
    }
}
