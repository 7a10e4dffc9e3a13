//! Activation against a Coordinator that plays its part.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use der::{Decode, Encode};
use jiff::Timestamp;
use marblerun_api::marble::{ActivationReq, ActivationResp, Parameters as Answer};
use marblerun_marble::{Config, Identity, Names, PremainError, Trust, activate};
use marblerun_pki::pem;
use prost::Message;
use support::*;
use tokio::net::TcpListener;
use tonic::Code;
use x509_cert::Certificate;
use x509_cert::request::CertReq;

#[test]
fn messages_are_encoded_as_upstream_s() {
    let uuid = "11111111-1111-4111-8111-111111111111";
    let request = ActivationReq { marble_type: "bare".to_owned(), uuid: uuid.to_owned(), ..ActivationReq::default() };
    assert_eq!(
        hex::encode(request.encode_to_vec()),
        "1a0462617265222431313131313131312d313131312d343131312d383131312d313131313131313131313131"
    );
    let answer = ActivationResp { parameters: Some(parameters(&[("/a", b"x")], &[("E", b"y")], &["./app"])) };
    assert_eq!(hex::encode(answer.encode_to_vec()), "0a180a070a022f6112017812060a01451201791a052e2f617070");
}

#[test]
fn certificate_and_request_say_what_upstream_s_say() {
    let names = Names {
        dns: vec!["localhost".to_owned(), "marble.example.org".to_owned()],
        ips: vec!["192.168.7.7".parse().unwrap()],
    };
    let now: Timestamp = "2027-01-01T00:00:00.5Z".parse().unwrap();
    let identity = Identity::generate(&names, now).unwrap();

    let request = CertReq::from_der(identity.request()).unwrap();
    assert!(request.info.subject.is_empty());
    let attributes = hex::encode(request.info.attributes.to_der().unwrap());
    // The attributes of a request upstream's premain made for these names.
    let upstream = "3159305706092a864886f70d01090e314a304830460603551d11043f303d82096c6f63616c686f7374\
                    82126d6172626c652e6578616d706c652e6f726787047f000001871000000000000000000000000000000001\
                    8704c0a80707";
    assert_eq!(attributes, upstream);
    assert_eq!(request.algorithm.oid.to_string(), "1.2.840.10045.4.3.3");
    assert_eq!(request.algorithm.parameters, None);

    let certificate = Certificate::from_der(identity.certificate()).unwrap();
    let tbs = certificate.tbs_certificate();
    assert_eq!(
        hex::encode(tbs.subject().to_der().unwrap()),
        "301b31193017060355040313104d6172626c6552756e204d6172626c65"
    );
    assert_eq!(tbs.issuer(), tbs.subject());
    assert_eq!(certificate.signature_algorithm().oid.to_string(), "1.2.840.10045.4.3.3");
    let validity = tbs.validity();
    assert_eq!(validity.not_before.to_unix_duration().as_secs(), 1_798_761_600);
    assert_eq!(validity.not_after.to_unix_duration().as_secs(), 1_798_761_600 + 9_223_372_037);
    let extensions: Vec<String> = tbs
        .extensions()
        .unwrap()
        .iter()
        .map(|extension| {
            format!("{} {} {}", extension.extn_id, extension.critical, hex::encode(extension.extn_value.as_bytes()))
        })
        .collect();
    assert_eq!(
        extensions,
        [
            "2.5.29.15 true 03020388",
            "2.5.29.37 false 301406082b0601050507030106082b06010505070302",
            "2.5.29.19 true 3000",
            "2.5.29.17 false 303d82096c6f63616c686f737482126d6172626c652e6578616d706c652e6f7267\
             8704c0a8070787047f000001871000000000000000000000000000000001",
        ]
    );
    assert_eq!(
        tbs.subject_public_key_info().to_der().unwrap(),
        request.info.public_key.to_der().unwrap(),
        "one key for both"
    );
    assert!(!format!("{identity:?}").contains("key"));
}

#[tokio::test]
async fn a_marble_shows_its_identity_and_gets_its_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let answer = parameters(&[("/f", &[0, 255])], &[("E", b"value"), ("EMPTY", b"")], &["./app", "--x"]);
    let coordinator = FakeCoordinator::start(&[Step::Answer(answer)]).await;
    let parameters = activate(&coordinator.config(directory.path()), &simulation(), Timestamp::now()).await.unwrap();
    assert_eq!(parameters.files["/f"].as_slice(), [0, 255]);
    assert_eq!(parameters.env["E"].as_slice(), b"value");
    assert_eq!(parameters.env["EMPTY"].as_slice(), b"");
    assert!(parameters.env.contains_key("MARBLE_PREDEFINED_PRIVATE_KEY"));
    assert_eq!(parameters.argv, ["./app", "--x"]);
    assert!(!format!("{parameters:?}").contains("value"), "values stay secret");

    let calls = coordinator.take_calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].request.marble_type, "web");
    assert_eq!(calls[0].request.uuid, std::fs::read_to_string(directory.path().join("uuid")).unwrap());
    assert!(calls[0].request.quote.is_empty(), "simulation");
    let shown = Certificate::from_der(&calls[0].certificate).unwrap();
    let request = CertReq::from_der(&calls[0].request.csr).unwrap();
    assert_eq!(
        shown.tbs_certificate().subject_public_key_info().to_der().unwrap(),
        request.info.public_key.to_der().unwrap()
    );
}

#[tokio::test]
async fn a_marble_waits_for_a_coordinator_that_is_not_ready_and_stays_the_same_one() {
    let directory = tempfile::tempdir().unwrap();
    let script = [
        Step::Refuse(Code::FailedPrecondition, "cannot accept marbles in current state"),
        Step::Refuse(Code::Unavailable, "restarting"),
        Step::Refuse(Code::Aborted, "conflict"),
        Step::Answer(Answer::default()),
    ];
    let coordinator = FakeCoordinator::start(&script).await;
    activate(&coordinator.config(directory.path()), &simulation(), Timestamp::now()).await.unwrap();
    let calls = coordinator.take_calls();
    assert_eq!(calls.len(), 4);
    for call in &calls {
        assert_eq!(call.request, calls[0].request);
        assert_eq!(call.certificate, calls[0].certificate);
    }
}

#[tokio::test]
async fn a_refusal_is_final() {
    let directory = tempfile::tempdir().unwrap();
    for code in [
        Code::PermissionDenied,
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::Internal,
        Code::Unimplemented,
        Code::ResourceExhausted,
        Code::Unknown,
    ] {
        let coordinator = FakeCoordinator::start(&[Step::Refuse(code, "not you")]).await;
        let error = activate(&coordinator.config(directory.path()), &simulation(), Timestamp::now()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the Coordinator refused the activation ({code:?}): not you"));
        assert_eq!(error.exit_code(), 3);
        assert_eq!(coordinator.calls(), 1, "{code:?} must not be asked again");
    }
    let coordinator = FakeCoordinator::start(&[Step::Empty]).await;
    let error = activate(&coordinator.config(directory.path()), &simulation(), Timestamp::now()).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn a_marble_gives_up_in_time_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut config = config(nobody, directory.path());
    config.timeout = Duration::from_millis(300);
    let start = Instant::now();
    let error = activate(&config, &simulation(), Timestamp::now()).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(error, PremainError::GaveUp { .. }));
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("is not reachable: cannot connect: Connection refused"), "{error}");
    assert!(directory.path().join("uuid").exists(), "the next attempt is by the same Marble");
}

#[tokio::test]
async fn with_no_patience_a_marble_asks_once() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = FakeCoordinator::start(&[Step::Refuse(Code::FailedPrecondition, "no manifest")]).await;
    let mut config = coordinator.config(directory.path());
    config.timeout = Duration::ZERO;
    let error = activate(&config, &simulation(), Timestamp::now()).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("does not accept Marbles yet (no manifest)"), "{error}");
    assert_eq!(coordinator.calls(), 1);
}

#[tokio::test]
async fn a_coordinator_that_comes_up_later_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = config(address, directory.path());
    let marble = tokio::spawn(async move { activate(&config, &simulation(), Timestamp::now()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let authority = authority();
    let coordinator =
        FakeCoordinator::start_on(listener, &[Step::Answer(Answer::default())], authority.clone(), &authority, b"h2");
    marble.await.unwrap().unwrap();
    assert_eq!(coordinator.calls(), 1);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_waited_out() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority();
    for (alpn, reason) in [(&b"http/1.1"[..], "TLS handshake failed"), (b"", "TLS handshake failed")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let coordinator = FakeCoordinator::start_on(listener, &[Step::Hang], authority.clone(), &authority, alpn);
        let mut config = coordinator.config(directory.path());
        config.timeout = Duration::from_millis(50);
        let error = activate(&config, &simulation(), Timestamp::now()).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.exit_code(), 4);
    }
}

/// Two ports are easily mixed up, and waiting does not help.
#[tokio::test]
async fn another_api_at_the_address_is_told_as_that_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let address = FakeCoordinator::start_client_api().await;
    let error = activate(&config(address, directory.path()), &simulation(), Timestamp::now()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("not the Marble API"), "{text}");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn a_pinned_root_is_proven_by_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let coordinator = FakeCoordinator::start(&[Step::Answer(Answer::default())]).await;
    let root = coordinator.authority.root_certificate.clone();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &root);
    let fingerprint: [u8; 32] = hash.as_ref().try_into().unwrap();
    for trust in [Trust::Root(root), Trust::Fingerprint(fingerprint)] {
        let mut config = coordinator.config(directory.path());
        config.trust = trust;
        activate(&config, &simulation(), Timestamp::now()).await.unwrap();
    }
}

#[test]
fn a_root_is_pinned_from_a_file_in_either_form() {
    let directory = tempfile::tempdir().unwrap();
    let root = authority().root_certificate.clone();
    let path = directory.path().join("root");
    let read = || {
        Config::from_env(|name| match name {
            "EDG_MARBLE_TYPE" => Some("web".into()),
            "MARBLERUN_COORDINATOR_ROOT_CA" => Some(path.clone().into()),
            _ => None,
        })
    };
    std::fs::write(&path, &root).unwrap();
    assert_eq!(read().unwrap().trust, Trust::Root(root.clone()));
    std::fs::write(&path, pem::encode(pem::CERTIFICATE, &root).unwrap().as_bytes()).unwrap();
    assert_eq!(read().unwrap().trust, Trust::Root(root));
    std::fs::write(&path, "no certificate").unwrap();
    assert!(read().unwrap_err().to_string().contains("holds no certificate"));
}

#[tokio::test]
async fn another_coordinator_than_the_pinned_one_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let pinned = authority();
    let other = FakeCoordinator::start(&[Step::Answer(Answer::default())]).await;
    for trust in [Trust::Root(pinned.root_certificate.clone()), Trust::Fingerprint([7; 32])] {
        let mut config = other.config(directory.path());
        config.trust = trust;
        let error = activate(&config, &simulation(), Timestamp::now()).await.unwrap_err();
        assert!(matches!(error, PremainError::Untrusted(_)), "{error}");
        assert_eq!(error.exit_code(), 5);
    }
    assert_eq!(other.calls(), 2, "who is not believed is not asked again");
}

#[tokio::test]
async fn an_answer_relayed_by_somebody_in_the_middle_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (pinned, attacker) = (authority(), authority());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // The certificates in the answer are the right ones; the key under the connection is not.
    let relay =
        FakeCoordinator::start_on(listener, &[Step::Answer(Answer::default())], pinned.clone(), &attacker, b"h2");
    let mut config = relay.config(directory.path());
    config.trust = Trust::Root(pinned.root_certificate.clone());
    let error = activate(&config, &simulation(), Timestamp::now()).await.unwrap_err();
    assert!(error.to_string().contains("another key than the certificate chain"), "{error}");
}

#[tokio::test]
async fn an_answer_without_certificates_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let bad: [&[u8]; 3] = [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"];
    let names = ["MARBLE_PREDEFINED_MARBLE_CERTIFICATE_CHAIN", "MARBLE_PREDEFINED_COORDINATOR_ROOT_CA"];
    let mut answers = vec![Answer::default()];
    answers.extend(bad.map(|value| parameters(&[], &names.map(|name| (name, value)), &[])));
    for answer in answers {
        let coordinator = FakeCoordinator::start(&[Step::Bare(answer)]).await;
        for trust in [Trust::Root(coordinator.authority.root_certificate.clone()), Trust::Fingerprint([7; 32])] {
            let mut config = coordinator.config(directory.path());
            config.trust = trust;
            let error = activate(&config, &simulation(), Timestamp::now()).await.unwrap_err();
            assert!(matches!(error, PremainError::Untrusted(_)), "{error}");
        }
    }
}

#[tokio::test]
async fn ttls_is_refused_rather_than_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let answer = parameters(&[], &[("MARBLE_TTLS_CONFIG", br#"{"tls":{}}"#)], &[]);
    let coordinator = FakeCoordinator::start(&[Step::Answer(answer)]).await;
    let error = activate(&coordinator.config(directory.path()), &simulation(), Timestamp::now()).await.unwrap_err();
    assert_eq!(error.to_string(), "TTLS configured, but Marble runtime doesn't support TTLS");
    assert_eq!(error.exit_code(), 6);
}

#[tokio::test]
async fn an_answer_larger_than_grpc_s_usual_limit_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let answer = parameters(&[("/big", &vec![7; 10 << 20])], &[], &[]);
    let coordinator = FakeCoordinator::start(&[Step::Answer(answer)]).await;
    let parameters = activate(&coordinator.config(directory.path()), &simulation(), Timestamp::now()).await.unwrap();
    assert_eq!(parameters.files["/big"].len(), 10 << 20);
}
