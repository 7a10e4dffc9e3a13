//! Greetings and keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use marblerun_attestation::{
    Claims, EnclaveClaims, Evidence, Identity, IssueError, Issuer, PeerAttestation, ReportData, SgxIdentity, TcbStatus,
    Tee, Verifier, VerifyError,
};
use marblerun_coordinator::cluster::{Peers, PeersConfig, PeersError, Times};
use marblerun_coordinator::config::ListenAddress;
use marblerun_coordinator::core::Clock;
use marblerun_store::cluster::{Kek, PeerAnswer};
use tokio::net::TcpListener;

use crate::node::{IDENTITY, Instance, Listed, eventually, quick};

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_from_everybody_else() {
    let listed = Listed::default();
    let one = Instance::new(&listed, IDENTITY).await;
    let other = Instance::new(&listed, IDENTITY).await;
    other.node.serving.store(true, Ordering::Relaxed);
    let stranger = Instance::new(&listed, "signer=ff").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_address = mute.local_addr().unwrap().to_string();
    listed.0.lock().unwrap().extend([nobody, mute_address, "no-such-name.invalid:1".to_owned()]);

    let heard = one.peers.greet_once(Duration::from_secs(5)).await;
    let answers: Vec<&PeerAnswer> = heard.iter().map(|peer| &peer.answer).collect();
    let [
        PeerAnswer::Myself,
        PeerAnswer::Greeted(greeting),
        PeerAnswer::Rejected(reason),
        PeerAnswer::Nobody,
        PeerAnswer::Silent(_),
        PeerAnswer::Silent(_),
    ] = answers.as_slice()
    else {
        panic!("{answers:?}");
    };
    assert_eq!((greeting.boot, greeting.serving), (other.node.boot, true));
    assert!(reason.contains("SignerID"), "{reason}");
    assert_eq!(one.peers.serving(), Some(other.peers.address().to_string()));
    assert_eq!((one.peers.newest(), one.node.rounds.load(Ordering::Relaxed)), (heard, 1));
    for instance in [one, other, stranger] {
        instance.peers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_every_address_behind_it() {
    let listed = Listed::default();
    let one = Instance::new(&listed, IDENTITY).await;
    let port = one.peers.address().port();
    *listed.0.lock().unwrap() = vec![format!("localhost:{port}"), format!("127.0.0.1:{port}")];
    let answers = one.greet().await;
    assert_eq!(answers.iter().filter(|answer| **answer == PeerAnswer::Myself).count(), 1, "{answers:?}");
    one.peers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_a_key_gets_it_from_whoever_has_it_and_from_nobody_else() {
    let listed = Listed::default();
    let asking = Instance::new(&listed, IDENTITY).await;
    let (giving, kek) = Instance::new(&listed, IDENTITY).await.holding();
    let without = Instance::new(&listed, IDENTITY).await;
    asking.node.wanted.lock().unwrap().extend([Kek::generate().unwrap().id(), kek.id()]);
    asking.peers.run();
    eventually("the key is offered", || !asking.node.offered.lock().unwrap().is_empty()).await;
    assert_eq!(*asking.node.offered.lock().unwrap(), [(giving.peers.address().to_string(), kek)]);
    for instance in [asking, giving, without] {
        instance.peers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_later_is_found_and_asked() {
    let listed = Listed::default();
    let asking = Instance::with(
        &listed,
        PeerAttestation::simulated(IDENTITY.parse().unwrap()),
        Times { round: Duration::from_secs(3600), last_retry: Duration::from_secs(3600), ..quick() },
    )
    .await;
    let kek = Kek::generate().unwrap();
    asking.node.wanted.lock().unwrap().push(kek.id());
    asking.peers.run();
    eventually("the first round", || asking.node.rounds.load(Ordering::Relaxed) > 0).await;
    let giving = Instance::new(&listed, IDENTITY).await;
    giving.node.keks.lock().unwrap().insert(kek.id(), kek.clone());
    // Nobody told the one that asks, but the newcomer greets it.
    giving.peers.run();
    eventually("the key is offered", || !asking.node.offered.lock().unwrap().is_empty()).await;
    for instance in [asking, giving] {
        instance.peers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_newer_versions_and_never_back() {
    let listed = Listed::default();
    let (old, kek) = Instance::new(&listed, IDENTITY).await.holding();
    let (new, newer_kek) = Instance::new(&listed, "measurement=09,signer=02,product=3,svn=5").await.holding();
    new.node.wanted.lock().unwrap().push(kek.id());
    old.node.wanted.lock().unwrap().push(newer_kek.id());
    new.peers.run();
    old.peers.run();
    eventually("the newer one has the key", || !new.node.offered.lock().unwrap().is_empty()).await;
    let greeted = |answers: Vec<PeerAnswer>| answers.iter().any(|answer| matches!(answer, PeerAnswer::Greeted(_)));
    assert!(greeted(old.greet().await), "the older one is a peer");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(old.node.offered.lock().unwrap().is_empty());
    assert_eq!(new.node.asked.load(Ordering::Relaxed), 0, "its store was not even asked");
    for instance in [old, new] {
        instance.peers.stop().await;
    }
}

/// What is asked for changes with the manifest in force, also for those that are connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_seals_by_build_ends_the_trust_in_other_builds() {
    let listed = Listed::default();
    let one = Instance::new(&listed, IDENTITY).await;
    let (other, kek) = Instance::new(&listed, "measurement=09,signer=02,product=3,svn=4").await.holding();
    assert!(matches!(one.greet().await.as_slice(), [PeerAnswer::Myself, PeerAnswer::Greeted(_)]));
    other.node.by_product.store(false, Ordering::Relaxed);
    let answers = one.greet().await;
    assert!(matches!(&answers[1], PeerAnswer::Rejected(reason) if reason.contains("UniqueID")), "{answers:?}");
    one.node.wanted.lock().unwrap().push(kek.id());
    one.peers.run();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(one.node.offered.lock().unwrap().is_empty());
    for instance in [one, other] {
        instance.peers.stop().await;
    }
}

/// It cannot know yet which builds the manifest allows; the one that has the key knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_build_that_lacks_the_key_asks_the_old_one() {
    for by_product in [true, false] {
        let listed = Listed::default();
        let (old, kek) = Instance::new(&listed, IDENTITY).await.holding();
        let new = Instance::new(&listed, "measurement=09,signer=02,product=3,svn=4").await;
        old.node.by_product.store(by_product, Ordering::Relaxed);
        new.node.by_product.store(false, Ordering::Relaxed);
        new.node.wanted.lock().unwrap().push(kek.id());
        new.peers.run();
        if by_product {
            eventually("it has the key", || !new.node.offered.lock().unwrap().is_empty()).await;
        } else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(new.node.offered.lock().unwrap().is_empty());
            assert_eq!(old.node.asked.load(Ordering::Relaxed), 0);
        }
        for instance in [old, new] {
            instance.peers.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_restarted_is_greeted_as_another_process() {
    let listed = Listed::default();
    let one = Instance::new(&listed, IDENTITY).await;
    let other = Instance::new(&listed, IDENTITY).await;
    let boot = |answers: &[PeerAnswer]| match &answers[1] {
        PeerAnswer::Greeted(greeting) => greeting.boot,
        answer => panic!("{answer:?}"),
    };
    let before = boot(&one.greet().await);
    let port = other.peers.address().port();
    other.peers.stop().await;
    drop(other);
    assert_eq!(one.greet().await[1], PeerAnswer::Nobody);
    let attestation = PeerAttestation::simulated(IDENTITY.parse().unwrap());
    let config = |listen| PeersConfig {
        listen,
        addresses: Arc::new(Listed::default()),
        attestation: attestation.clone(),
        least_giver: None,
        clock: Clock::system(),
        times: quick(),
    };
    let listen = ListenAddress { host: "127.0.0.1".to_owned(), port };
    let again = Instance::with(&Listed::default(), attestation.clone(), quick()).await;
    let rebound = Peers::bind(config(listen.clone()), again.node.clone()).await.unwrap();
    assert_ne!(boot(&one.greet().await), before);
    let taken = Peers::bind(config(listen), again.node.clone()).await.unwrap_err();
    assert!(matches!(&taken, PeersError::Listen { address, .. } if address.ends_with(&port.to_string())), "{taken}");
    for peers in [one.peers, again.peers, rebound] {
        peers.stop().await;
    }
}

/// Stands for hardware, and counts.
struct Hardware(Arc<AtomicUsize>);

impl Issuer for Hardware {
    fn tee(&self) -> Tee {
        Tee::Tdx
    }

    fn issue(&self, binding: &ReportData) -> Result<Evidence, IssueError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Evidence::from_wire([&[4, 0, 2, 0, 0x81, 0, 0, 0][..], &binding.0].concat()).unwrap())
    }
}

impl Verifier for Hardware {
    fn verify(&self, evidence: &Evidence, _now: u64) -> Result<Claims, VerifyError> {
        Ok(Claims::Enclave(EnclaveClaims {
            identity: Identity::Sgx(SgxIdentity {
                unique_id: [1; 32],
                signer_id: [2; 32],
                product_id: 3,
                security_version: 4,
            }),
            debug: false,
            report_data: ReportData(evidence.as_bytes()[8..].try_into().unwrap()),
            tcb_status: TcbStatus::UpToDate,
            advisories: None,
        }))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_until_its_evidence_has_grown_old() {
    let (listed, counted) = (Listed::default(), Arc::new(AtomicUsize::new(0)));
    let hardware = || {
        let issuer = Arc::new(Hardware(counted.clone()));
        PeerAttestation::hardware(issuer.clone(), issuer)
    };
    let times = Times { attested: Duration::from_secs(2), ..quick() };
    let one = Instance::with(&listed, hardware(), times).await;
    let other = Instance::with(&Listed::default(), hardware(), times).await;
    *listed.0.lock().unwrap() = vec![other.peers.address().to_string()];
    let started = std::time::Instant::now();
    for _ in 0..3 {
        assert!(matches!(one.greet().await.as_slice(), [PeerAnswer::Greeted(_)]));
    }
    if started.elapsed() < times.attested {
        // Each about itself, and each for the other.
        assert_eq!(counted.load(Ordering::Relaxed), 4);
    }
    tokio::time::sleep(times.attested).await;
    assert!(matches!(one.greet().await.as_slice(), [PeerAnswer::Greeted(_)]));
    assert!(counted.load(Ordering::Relaxed) >= 6, "another channel was proved by both");
    for instance in [one, other] {
        instance.peers.stop().await;
    }
}
