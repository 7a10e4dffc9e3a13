//! The PKCS#11 wrapper as a library, on a real module: signatures verify, wrapped secrets come back, sessions are few.
//!
//! SoftHSM finds its tokens by the environment, so each test runs itself once more in a process that has it.
#![allow(missing_docs)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use marblerun_pkcs11::{Config, PinSources, Pkcs11Error, SecretKey, Selector, TlsKey, Token};
use marblerun_testkit::{SoftTokens, TestUser};
use rustls::SignatureScheme;
use rustls::sign::SigningKey as _;
use serde_json::json;

/// A signature scheme, and who checks its signatures.
type Scheme = (SignatureScheme, &'static dyn VerificationAlgorithm);

const INSIDE: &str = "MARBLERUN_TEST_PKCS11_CONFIG";

/// The token, in the process that may see it.
fn inside() -> Option<Config> {
    std::env::var_os(INSIDE).map(|path| Config::read(Path::new(&path)).unwrap())
}

fn run_inside(test: &str, tokens: &SoftTokens, config: &str) {
    let (variable, value) = tokens.env();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, value)
        .env(INSIDE, config)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("1 passed"), "{stdout}");
}

fn by_label(label: &str) -> Selector {
    Selector::from_arguments(None, Some(label.as_bytes())).unwrap()
}

#[test]
fn every_signature_scheme_of_tls_verifies() {
    use SignatureScheme as S;

    let rsa: [Scheme; 6] = [
        (S::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
        (S::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
        (S::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
        (S::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (S::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (S::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512),
    ];
    let cases: [(&str, &[Scheme]); 4] = [
        ("rsa:2048", &rsa),
        ("ec:P-256", &[(S::ECDSA_NISTP256_SHA256, &signature::ECDSA_P256_SHA256_ASN1)]),
        ("ec:P-384", &[(S::ECDSA_NISTP384_SHA384, &signature::ECDSA_P384_SHA384_ASN1)]),
        ("ec:P-521", &[(S::ECDSA_NISTP521_SHA512, &signature::ECDSA_P521_SHA512_ASN1)]),
    ];
    let Some(config) = inside() else {
        let tokens = SoftTokens::new().unwrap();
        tokens.add("mine").unwrap();
        for (number, (kind, _)) in cases.iter().enumerate() {
            let user = TestUser::with_key("user", kind).unwrap();
            tokens.import_key("mine", &user.key_pem, &format!("0{number}"), kind, true).unwrap();
        }
        let config = tokens.config("config.json", &json!({"TokenLabel": "mine"})).unwrap();
        return run_inside("every_signature_scheme_of_tls_verifies", &tokens, &config);
    };
    let token = Token::open(&config, PinSources::default()).unwrap();
    for (label, schemes) in cases {
        let key = TlsKey::from(token.private_key(&by_label(label)).unwrap());
        let public = key.public_key().unwrap().to_vec();
        for (scheme, algorithm) in schemes {
            let signer = key.choose_scheme(&[S::ED25519, *scheme]).unwrap();
            assert_eq!(signer.scheme(), *scheme);
            // Many, so that halves with leading zeros are among them.
            for round in 0..20u8 {
                let signature = signer.sign(&[round; 100]).unwrap();
                let verifier = UnparsedPublicKey::new(*algorithm, public_key_bits(&public));
                verifier.verify(&[round; 100], &signature).unwrap_or_else(|_| panic!("{label} {scheme:?}"));
            }
        }
        assert!(key.choose_scheme(&[S::ED25519]).is_none());
    }
}

fn public_key_bits(spki: &[u8]) -> Vec<u8> {
    use der::Decode as _;

    spki::SubjectPublicKeyInfoRef::from_der(spki).unwrap().subject_public_key.raw_bytes().to_vec()
}

#[test]
fn a_secret_wrapped_on_the_token_comes_back_and_an_altered_one_does_not() {
    let Some(config) = inside() else {
        let tokens = SoftTokens::new().unwrap();
        tokens.add("mine").unwrap();
        let config = tokens.config("config.json", &json!({"TokenLabel": "mine"})).unwrap();
        let test = "a_secret_wrapped_on_the_token_comes_back_and_an_altered_one_does_not";
        return run_inside(test, &tokens, &config);
    };
    let token = Token::open(&config, PinSources::default()).unwrap();
    let name = Selector::from_arguments(Some(b"hex:0a"), Some(b"seal")).unwrap();
    assert!(matches!(token.secret_key(&name), Err(Pkcs11Error::NoKey { .. })));
    SecretKey::generate(&token, &name).unwrap();
    let key = token.secret_key(&name).unwrap();
    let wrapped = key.wrap(&[5; 32], b"context").unwrap();
    assert_ne!(key.wrap(&[5; 32], b"context").unwrap(), wrapped, "the nonce is fresh");
    assert_eq!(wrapped.len(), 12 + 32 + 16);
    assert_eq!(key.unwrap(&wrapped, b"context").unwrap().as_slice(), [5; 32]);
    assert!(key.unwrap(&wrapped, b"other").is_err());
    for position in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[position] ^= 1;
        assert!(key.unwrap(&altered, b"context").is_err(), "{position}");
    }
    for length in 0..wrapped.len() {
        assert!(key.unwrap(&wrapped[..length], b"context").is_err(), "{length}");
    }
    // Every failure above cost its session; the pool has new ones, and a token opened once more sees the same key.
    let again = Token::open(&config, PinSources::default()).unwrap();
    drop(token);
    assert_eq!(again.secret_key(&name).unwrap().unwrap(&wrapped, b"context").unwrap().as_slice(), [5; 32]);
}

#[test]
fn many_threads_share_few_sessions() {
    let Some(config) = inside() else {
        let tokens = SoftTokens::new().unwrap();
        tokens.add("mine").unwrap();
        let user = TestUser::with_key("user", "ec:P-256").unwrap();
        tokens.import_key("mine", &user.key_pem, "01", "key", true).unwrap();
        let fields = json!({"TokenLabel": "mine", "MaxSessions": 3, "PoolWaitTimeout": 30_000_000_000_u64});
        let config = tokens.config("config.json", &fields).unwrap();
        return run_inside("many_threads_share_few_sessions", &tokens, &config);
    };
    assert_eq!((config.max_sessions, config.wait), (3, Some(Duration::from_secs(30))));
    let token = Token::open(&config, PinSources::default()).unwrap();
    let key = Arc::new(TlsKey::from(token.private_key(&by_label("key")).unwrap()));
    assert_eq!(token.open_sessions(), 1);
    let threads: Vec<_> = (0..16u8)
        .map(|number| {
            let key = key.clone();
            std::thread::spawn(move || {
                let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
                (0..20).all(|_| signer.sign(&[number]).is_ok())
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()), "each gets its turn");
    assert!((1..=2).contains(&token.open_sessions()), "one of three holds the login");
}
