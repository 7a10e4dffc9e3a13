//! Two ends, and whoever stands between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use marblerun_attestation::{
    Claims, EnclaveClaims, Identity, IssueError, Issuer, PeerAttestation, PeerEvidenceError, PeerRefusal, SgxIdentity,
    SimulatedIdentity, TcbStatus, Tee, Verifier, VerifyError,
};
use marblerun_state::BootId;
use marblerun_store::cluster::{Kek, KekId, NotGiven, Peer, PeerGreeting};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};

use super::*;
use crate::cluster::node::{Giving, Node};
use crate::core::Clock;

const IDENTITY: &str = "measurement=01,signer=02,product=3,svn=4";

/// A node of which only the seal mode matters.
#[derive(Default)]
struct Silent {
    by_product: AtomicBool,
}

impl Node for Silent {
    fn boot_id(&self) -> BootId {
        BootId([0; 16])
    }

    fn greeting(&self) -> PeerGreeting {
        unreachable!("no call is made")
    }

    fn wanted_keks(&self) -> Vec<KekId> {
        Vec::new()
    }

    fn offer(&self, _from: &str, _keks: Vec<Kek>) {}

    fn give<'a>(&'a self, _wanted: &'a [KekId]) -> Giving<'a> {
        Box::pin(async { Err(NotGiven::NoKey) })
    }

    fn heard(&self, _peers: Vec<Peer>) {}

    fn seal_by_product(&self) -> bool {
        self.by_product.load(Ordering::Relaxed)
    }
}

/// One end.
struct End {
    tls: TlsConfigs,
    appraiser: Appraiser,
    attestation: PeerAttestation,
    times: Times,
}

impl End {
    async fn new(attestation: PeerAttestation, by_product: bool) -> Self {
        let node = Arc::new(Silent { by_product: AtomicBool::new(by_product) });
        let times = Times { handshake: Duration::from_secs(20), ..Times::default() };
        let appraiser = Appraiser::new(attestation.clone(), None, times.attested, Clock::system(), node).await.unwrap();
        Self { tls: TlsConfigs::new(Timestamp::now()).unwrap(), appraiser, attestation, times }
    }

    async fn simulated(identity: &str) -> Self {
        Self::new(PeerAttestation::simulated(identity.parse().unwrap()), true).await
    }

    async fn accept(&self, stream: DuplexStream) -> Result<PeerIdentity, ChannelError> {
        accept(stream, &self.tls, &self.appraiser, &self.times).await.map(|(_, peer)| peer)
    }

    async fn connect(&self, stream: DuplexStream) -> Result<PeerIdentity, ChannelError> {
        connect(stream, &self.tls, &self.appraiser, &self.times).await.map(|(_, peer)| peer)
    }

    /// TLS to whoever listens, without a word.
    async fn tls(&self, stream: DuplexStream) -> tokio_rustls::client::TlsStream<DuplexStream> {
        TlsConnector::from(self.tls.client.clone()).connect(self.tls.name.clone(), stream).await.unwrap()
    }
}

type Met = (Result<PeerIdentity, ChannelError>, Result<PeerIdentity, ChannelError>);

/// What the one that called, and the one that was called, made of it.
async fn meet(client: &End, server: &End) -> Met {
    let (near, far) = duplex(1 << 16);
    tokio::join!(client.connect(near), server.accept(far))
}

fn refusal(error: &ChannelError) -> &PeerRefusal {
    match error {
        ChannelError::Refused(AppraisalError::Refused(refusal)) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_a_deployment_meet() {
    let (client, server) = (End::simulated(IDENTITY).await, End::simulated(IDENTITY).await);
    let (by_client, by_server) = meet(&client, &server).await;
    assert_eq!(by_client.unwrap().claims.identity.security_version(), 4);
    assert_eq!(by_server.unwrap().claims.identity.sgx().unwrap().signer_id[0], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_and_newer_versions_meet_and_what_they_may_have_is_decided_for_each_call() {
    let (old, new) = (End::simulated(IDENTITY).await, End::simulated("measurement=09,signer=02,product=3,svn=5").await);
    let (by_old, by_new) = meet(&old, &new).await;
    assert!(old.appraiser.policy().accepts_receiver(&by_old.unwrap()).is_ok());
    assert!(new.appraiser.policy().accepts_receiver(&by_new.unwrap()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_differs_is_turned_away_and_told_why() {
    let server = End::simulated(IDENTITY).await;
    type Case = (&'static str, fn(&PeerRefusal) -> bool, &'static str);
    let cases: [Case; 4] = [
        ("measurement=01,product=3,svn=4", |r| matches!(r, PeerRefusal::Signer { .. }), "SignerID"),
        ("measurement=01,signer=02,svn=4", |r| matches!(r, PeerRefusal::Product { .. }), "ProductID"),
        ("measurement=01,signer=02,product=3,svn=4,debug=1", |r| matches!(r, PeerRefusal::Debug { .. }), "debug"),
        ("", |r| matches!(r, PeerRefusal::Signer { .. }), "SignerID"),
    ];
    for (identity, expected, word) in cases {
        let (by_client, by_server) = meet(&End::simulated(identity).await, &server).await;
        assert!(expected(refusal(&by_server.unwrap_err())), "{identity}");
        let told = by_client.unwrap_err();
        assert!(matches!(&told, ChannelError::RefusedByPeer(reason) if reason.contains(word)), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_build_is_a_peer_only_where_both_seal_by_product() {
    let end = |identity: &str, by_product| End::new(PeerAttestation::simulated(identity.parse().unwrap()), by_product);
    let (one, other) = (IDENTITY, "measurement=09,signer=02,product=3,svn=4");
    assert!(meet(&end(one, true).await, &end(other, true).await).await.0.is_ok());
    let (_, by_server) = meet(&end(one, true).await, &end(other, false).await).await;
    assert!(matches!(refusal(&by_server.unwrap_err()), PeerRefusal::Measurement { .. }));
    let (by_client, _) = meet(&end(one, false).await, &end(other, true).await).await;
    assert!(matches!(refusal(&by_client.unwrap_err()), PeerRefusal::Measurement { .. }));
    assert!(meet(&end(one, false).await, &end(one, false).await).await.1.is_ok());
}

/// Two channels instead of one, and everything said on the one is said on the other.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_of_no_use_to_whoever_relays_it() {
    let [client, middle, server] =
        [End::simulated(IDENTITY).await, End::simulated(IDENTITY).await, End::simulated(IDENTITY).await];
    let (near, middle_near) = duplex(1 << 16);
    let (middle_far, far) = duplex(1 << 16);
    let relay = async {
        let inbound = TlsAcceptor::from(middle.tls.server.clone()).accept(middle_near);
        let (inbound, mut outbound) = tokio::join!(inbound, middle.tls(middle_far));
        let _ = copy_bidirectional(&mut inbound.unwrap(), &mut outbound).await;
    };
    let (by_client, by_server, ()) = tokio::join!(client.connect(near), server.accept(far), relay);
    let refused = by_server.unwrap_err();
    assert!(
        matches!(refused, ChannelError::Refused(AppraisalError::Evidence(PeerEvidenceError::Binding))),
        "{refused}"
    );
    assert!(by_client.is_err());
}

/// Evidence that was made for something else: an earlier channel, or the other end of this one.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_counts_once_and_for_its_maker() {
    let (client, server) = (End::simulated(IDENTITY).await, End::simulated(IDENTITY).await);
    let mut earlier = None;
    for round in 0..3 {
        let (near, far) = duplex(1 << 16);
        let called = async {
            let mut stream = client.tls(near).await;
            let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORTER, None).unwrap();
            let role = if round == 2 { Role::Server } else { Role::Client };
            let fresh = client.attestation.issue(&binding(role, &exported)).unwrap();
            let evidence = if round == 1 { earlier.take().unwrap() } else { fresh.clone() };
            earlier = Some(fresh);
            send(&mut stream, PeerMessage::Evidence(evidence)).await.unwrap();
            receive(&mut stream).await
        };
        let (answer, by_server) = tokio::join!(called, server.accept(far));
        if round == 0 {
            assert!(by_server.is_ok() && matches!(answer, Ok(PeerMessage::Evidence(_))));
        } else {
            let refused = by_server.unwrap_err().to_string();
            assert!(refused.contains("made for another connection"), "{round}: {refused}");
            assert!(matches!(answer, Ok(PeerMessage::Refusal(_))), "{round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_given_no_evidence_and_little_room() {
    let server = End::simulated(IDENTITY).await;
    for sent in [PeerMessage::Evidence(Evidence::none()).encode(), PeerMessage::Refusal("no".to_owned()).encode()] {
        let (near, far) = duplex(1 << 16);
        let called = async {
            let mut stream = server.tls(near).await;
            stream.write_all(&sent).await.unwrap();
            receive(&mut stream).await
        };
        let (answer, by_server) = tokio::join!(called, server.accept(far));
        assert!(by_server.is_err());
        assert!(!matches!(answer, Ok(PeerMessage::Evidence(_))));
    }
    let too_long = u32::try_from(Evidence::MAX_LEN + 1).unwrap().to_be_bytes();
    let (near, far) = duplex(1 << 16);
    let called = async {
        let mut stream = server.tls(near).await;
        stream.write_all(&[&too_long[..], &[1]].concat()).await.unwrap();
        stream
    };
    let (_open, by_server) = tokio::join!(called, server.accept(far));
    assert!(matches!(by_server.unwrap_err(), ChannelError::Message(MessageError::TooLong(_))), "before it is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let mut end = End::simulated(IDENTITY).await;
    end.times.handshake = Duration::from_millis(300);
    let (near, far) = duplex(1 << 16);
    let (_open, by_server) = tokio::join!(end.tls(near), end.accept(far));
    assert!(matches!(by_server.unwrap_err(), ChannelError::TimedOut(_)));
    let (near, _far) = duplex(1 << 16);
    assert!(matches!(end.connect(near).await.unwrap_err(), ChannelError::TimedOut(_)));
    let (near, far) = duplex(1 << 16);
    let mute = TlsAcceptor::from(end.tls.server.clone()).accept(far);
    let (by_client, _open) = tokio::join!(end.connect(near), mute);
    assert!(matches!(by_client.unwrap_err(), ChannelError::TimedOut(_)));
}

/// Stands for hardware.
struct Hardware;

impl Issuer for Hardware {
    fn tee(&self) -> Tee {
        Tee::Tdx
    }

    fn issue(&self, binding: &ReportData) -> Result<Evidence, IssueError> {
        let quote = [&[4, 0, 2, 0, 0x81, 0, 0, 0][..], &binding.0].concat();
        Ok(Evidence::from_wire(quote).unwrap())
    }
}

impl Verifier for Hardware {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        let SimulatedIdentity { measurement, signer, product, svn, debug } = IDENTITY.parse().unwrap();
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity {
                unique_id: measurement,
                signer_id: signer,
                product_id: product,
                security_version: svn,
            }),
            debug,
            report_data: ReportData(evidence.as_bytes()[8..].try_into().unwrap()),
            tcb_status: TcbStatus::UpToDate,
            advisories: None,
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_coordinator_is_nobody_to_a_real_one_and_the_other_way_round() {
    let hardware = || End::new(PeerAttestation::hardware(Arc::new(Hardware), Arc::new(Hardware)), true);
    assert!(meet(&hardware().await, &hardware().await).await.0.is_ok());
    let (by_client, by_server) = meet(&End::simulated(IDENTITY).await, &hardware().await).await;
    assert!(by_client.is_err());
    let refused = by_server.unwrap_err();
    assert!(
        matches!(refused, ChannelError::Refused(AppraisalError::Evidence(PeerEvidenceError::Simulated))),
        "{refused}"
    );
    let (by_client, by_server) = meet(&hardware().await, &End::simulated(IDENTITY).await).await;
    assert!(by_client.is_err() && by_server.is_err());
}
