use marblerun_state::Phase;
use marblerun_store::Store;
use marblerun_store::cluster::ClusterView;

use super::*;
use crate::core::Settings;
use crate::core::sample::{Place, coordinator, diverged_view, fresh, greeted, running, temporary, user, view};

const GRACE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_coordinator_of_its_own_has_nothing_to_decide_and_says_so() {
    let alone = Coordinator::new(Store::in_memory(State::clone(&*running().await)), Settings::simulation());
    let alice = user("alice");
    for decided in [
        alone.accept_restore(Some(&alice)).await,
        alone.reject_restore(Some(&alice)).await,
        alone.rotate_kek(Some(&alice), true).await,
    ] {
        let error = decided.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Refused, "state_not_shared"));
        assert_eq!(error.message, "this Coordinator does not share its state");
    }
    assert_eq!(alone.in_force_elsewhere(&UpdateAnswer::default()), None);
    assert!(alone.warnings().iter().any(|warning| warning.contains("kept nowhere")), "{:?}", alone.warnings());
}

#[tokio::test]
async fn only_who_may_replace_the_manifest_decides_and_the_trail_is_told_who() {
    let place = Place::new(running().await);
    let coordinator = coordinator(&place, GRACE);
    let (alice, bob, stranger) = (user("alice"), user("bob"), PeerCertificate(Arc::new(vec![0x30, 0])));
    for (peer, kind) in [
        (Some(&bob), ErrorKind::Forbidden),
        (Some(&stranger), ErrorKind::Unauthorized),
        (None, ErrorKind::Unauthorized),
    ] {
        assert_eq!(coordinator.accept_restore(peer).await.unwrap_err().kind, kind);
        assert_eq!(coordinator.reject_restore(peer).await.unwrap_err().kind, kind);
        assert_eq!(coordinator.rotate_kek(peer, false).await.unwrap_err().kind, kind);
    }
    assert!(place.decisions().is_empty());
    assert_eq!(coordinator.rotate_kek(Some(&alice), true).await.unwrap(), "alice");
    assert_eq!(place.decisions(), [(Decision::RotateKek { revoke: true }, "alice".to_owned())]);
}

#[tokio::test]
async fn who_decides_about_a_contradicting_state_is_a_user_of_the_one_that_is_served() {
    let place = Place::new(running().await);
    place.shows(diverged_view());
    let coordinator = coordinator(&place, GRACE);
    let (alice, bob) = (user("alice"), user("bob"));
    assert_eq!(coordinator.authenticate_user_here(Some(&alice)).await.unwrap(), "alice");
    assert_eq!(coordinator.authenticate_user_here(None).await.unwrap_err().kind, ErrorKind::Unauthorized);
    assert_eq!(coordinator.accept_restore(Some(&bob)).await.unwrap_err().kind, ErrorKind::Forbidden);
    coordinator.accept_restore(Some(&alice)).await.unwrap();
    coordinator.reject_restore(Some(&alice)).await.unwrap();
    let decided: Vec<_> = place.decisions().into_iter().map(|(decision, _)| decision).collect();
    assert_eq!(decided, [Decision::AcceptRestore, Decision::RejectRestore]);
    // A rotation is a write like any other.
    assert_eq!(coordinator.rotate_kek(Some(&alice), false).await.unwrap_err().code, "diverged");
    let (code, message) = coordinator.status();
    assert_eq!(code, 3);
    assert!(message.contains("an older state lies there"), "{message}");
}

#[tokio::test]
async fn what_users_read_is_read_from_the_newest_state() {
    let place = Place::new(fresh());
    let coordinator = coordinator(&place, GRACE);
    let (bob, names) = (user("bob"), ["token".to_owned()]);
    assert_eq!(coordinator.authenticate_user(Some(&bob)).await.unwrap_err().kind, ErrorKind::Unauthorized);
    place.changes_to(running().await);
    assert_eq!(coordinator.authenticate_user_now(Some(&bob)).await.unwrap(), "bob");
    assert!(coordinator.read_secrets(Some(&bob), &names).await.is_ok());
    // He was removed elsewhere: at once, and for all he reads.
    place.changes_to(fresh());
    assert_eq!(coordinator.authenticate_user(Some(&bob)).await.unwrap(), "bob", "which decides nothing");
    assert_eq!(coordinator.read_secrets(Some(&bob), &names).await.unwrap_err().kind, ErrorKind::Unauthorized);
    assert_eq!(coordinator.authenticate_user_now(Some(&bob)).await.unwrap_err().kind, ErrorKind::Unauthorized);
    place.goes_away(Duration::ZERO);
    assert_eq!(coordinator.read_secrets(Some(&bob), &names).await.unwrap_err().code, "not_validated");
    assert_eq!(coordinator.pending_update().await.unwrap_err().code, "not_validated");
    assert_eq!(coordinator.manifest().await.unwrap_err().code, "not_validated", "that there is none is a refusal");
}

#[tokio::test]
async fn a_backup_of_a_shared_state_is_a_copy_of_the_object() {
    let place = Place::new(running().await);
    let error = coordinator(&place, GRACE).backup(Some(&user("alice"))).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Refused, "state_is_shared"));
    assert!(error.message.contains("Secret marblerun/marblerun-state"), "{error}");
}

#[tokio::test]
async fn an_applied_update_is_said_to_be_in_force_elsewhere_within_the_grace() {
    let place = Place::new(running().await);
    let coordinator = coordinator(&place, GRACE);
    assert_eq!(coordinator.in_force_elsewhere(&UpdateAnswer::default()), Some(GRACE));
    let waiting = UpdateAnswer { missing_acknowledgments: 1, ..UpdateAnswer::default() };
    assert_eq!(coordinator.in_force_elsewhere(&waiting), None);
    let warnings = coordinator.warnings();
    assert!(
        warnings.iter().any(|warning| warning.contains("stored in Secret marblerun/marblerun-state")),
        "{warnings:?}"
    );
}

#[test]
fn a_state_that_grows_is_told_in_time() {
    for (bytes, words) in [
        (9_000, &[][..]),
        (184_319, &[]),
        (184_320, &["kubectl replace --force"]),
        (699_999, &["kubectl replace --force"]),
        (700_000, &["kubectl replace --force", "700000 of 1000000"]),
        (1_040_000, &["kubectl replace --force", "1040000 of 1000000"]),
    ] {
        let warnings = of_size(bytes);
        assert_eq!(warnings.len(), words.len(), "{bytes}: {warnings:?}");
        for (warning, word) in warnings.iter().zip(words) {
            assert!(warning.contains(word), "{bytes}: {warning}");
        }
    }
}

#[test]
fn what_an_operator_has_to_do_something_about_is_a_warning() {
    assert!(warnings(&view()).is_empty());
    let missing = warnings(&ClusterView { missing: true, ..view() });
    assert!(missing.iter().any(|warning| warning.contains("marblerun restore reject")), "{missing:?}");
    assert_eq!(warnings(&ClusterView { entry_sealed: false, ..view() }).len(), 1);
    assert!(warnings(&ClusterView { entry_sealed: false, serving: false, ..view() }).is_empty());
}

#[tokio::test]
async fn a_manifest_is_refused_for_good_where_another_coordinator_serves_the_state() {
    let place = Place::new(temporary(Phase::Recovery));
    let coordinator = coordinator(&place, GRACE);
    let not_now = || Error::new(ErrorKind::Unavailable, "unavailable", "10.0.0.7:5433 serves the state");
    assert_eq!(coordinator.because_of_a_peer(not_now()).code, "unavailable", "nobody is known to serve it");
    place.shows(ClusterView { peers: vec![greeted(true)], ..view() });
    let refused = coordinator.because_of_a_peer(not_now());
    assert_eq!((refused.kind, refused.code), (ErrorKind::Refused, "peer_serving"));
    assert_eq!(refused.message, "10.0.0.7:5433 serves the state");
}
