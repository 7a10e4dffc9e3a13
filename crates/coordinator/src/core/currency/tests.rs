use marblerun_state::{Draft, Phase};

use super::*;
use crate::core::sample::{Place, diverged_view, fresh, running, temporary, view};
use crate::core::transaction;

const GRACE: Duration = Duration::from_secs(300);

fn currency(place: &Arc<Place>, grace: Duration) -> Currency {
    Currency::over(Store::in_memory(State::clone(&place.snapshot())), place.clone(), grace)
}

/// A refusal that follows from the state.
fn needs_manifest(state: &State) -> Result<usize, Error> {
    state.manifest().map(|active| active.raw.len()).ok_or_else(Error::wrong_state)
}

#[tokio::test]
async fn a_coordinator_of_its_own_decides_at_once() {
    let alone = Currency::new(Store::in_memory(State::clone(&fresh())), GRACE);
    assert!(!alone.is_shared());
    assert_eq!(alone.decide(needs_manifest).await.unwrap_err().code, "wrong_state");
    assert_eq!(alone.read(needs_manifest).await.unwrap_err().code, "wrong_state");
    assert!(matches!(alone.proof().await, Ok(Proof::Current(_))));
}

#[tokio::test]
async fn a_refusal_that_another_instance_has_made_wrong_is_not_given() {
    let place = Place::new(fresh());
    let currency = currency(&place, GRACE);
    place.changes_to(running().await);
    assert!(currency.decide(needs_manifest).await.is_ok());
    assert_eq!(place.validations(), 1);
    // From now on it is known here.
    assert!(currency.decide(needs_manifest).await.is_ok());
    assert_eq!(place.validations(), 1, "what is granted needs no proof");
}

#[tokio::test]
async fn a_refusal_that_stands_is_given_after_it_was_proved() {
    let place = Place::new(fresh());
    let currency = currency(&place, GRACE);
    assert_eq!(currency.decide(needs_manifest).await.unwrap_err().code, "wrong_state");
    assert_eq!(place.validations(), 1);
}

#[tokio::test]
async fn a_malformed_request_is_refused_whatever_the_state() {
    let place = Place::new(fresh());
    place.goes_away(Duration::ZERO);
    let malformed = |_: &State| Err::<(), _>(Error::new(ErrorKind::BadRequest, "bad_json", "EOF"));
    assert_eq!(currency(&place, GRACE).decide(malformed).await.unwrap_err().code, "bad_json");
    assert_eq!(place.validations(), 0);
}

#[tokio::test]
async fn while_the_place_is_away_nothing_is_refused_and_no_secret_read() {
    let place = Place::new(running().await);
    let currency = currency(&place, GRACE);
    place.goes_away(Duration::ZERO);
    assert!(currency.decide(needs_manifest).await.is_ok());
    let refused = |_: &State| Err::<(), _>(Error::wrong_state());
    for error in [currency.decide(refused).await.unwrap_err(), currency.read(needs_manifest).await.unwrap_err()] {
        assert_eq!((error.kind, error.code), (ErrorKind::Unavailable, "not_validated"));
        assert!(error.message.contains("connection refused"), "{error}");
    }
}

#[tokio::test]
async fn in_recovery_mode_a_refusal_stands_as_long_as_nothing_else_can_be_opened() {
    let place = Place::new(temporary(Phase::Recovery));
    let currency = currency(&place, GRACE);
    assert_eq!(currency.decide(needs_manifest).await.unwrap_err().code, "wrong_state");
    place.changes_to(running().await);
    assert!(currency.decide(needs_manifest).await.is_ok(), "a peer gave the key meanwhile");
    let place = Place::new(temporary(Phase::Recovery));
    place.goes_away(Duration::ZERO);
    let away = self::currency(&place, GRACE).decide(needs_manifest).await.unwrap_err();
    assert_eq!((away.kind, away.code), (ErrorKind::Unavailable, "not_validated"), "there may be a state to open");
}

#[tokio::test]
async fn who_has_diverged_says_so_instead_of_refusing_or_reading() {
    let place = Place::new(running().await);
    place.shows(diverged_view());
    let currency = currency(&place, GRACE);
    let refused = |_: &State| Err::<(), _>(Error::wrong_state());
    for error in [
        currency.decide(refused).await.unwrap_err(),
        currency.read(needs_manifest).await.unwrap_err(),
        currency.proof().await.unwrap_err(),
        currency.require_undiverged().unwrap_err(),
    ] {
        assert_eq!((error.kind, error.code), (ErrorKind::Unavailable, "diverged"));
        assert!(error.message.contains("an older state lies there"), "{error}");
    }
    // But who decides about it is decided by what is served here.
    assert!(currency.decide_here(needs_manifest).await.is_ok());
    assert_eq!(currency.decide_here(refused).await.unwrap_err().code, "wrong_state");
}

#[test]
fn the_grace_begins_with_the_last_proof_and_never_for_who_has_diverged() {
    let now = Instant::now() + Duration::from_secs(10_000);
    let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
    let five_minutes = GRACE;
    for (validated, grace, age) in [
        (ago(0), five_minutes, Some(0)),
        (ago(299), five_minutes, Some(299)),
        (ago(300), five_minutes, None),
        (ago(5000), five_minutes, None),
        (ago(0), Duration::ZERO, None),
        (None, five_minutes, None),
    ] {
        let view = ClusterView { validated, ..view() };
        assert_eq!(offline_for(&view, grace, now).map(|age| age.as_secs()), age, "{validated:?} {grace:?}");
    }
    assert_eq!(offline_for(&ClusterView { validated: ago(1), ..diverged_view() }, five_minutes, now), None);
}

#[tokio::test]
async fn a_transaction_is_prepared_again_on_the_newer_state_before_it_is_refused() {
    let place = Place::new(fresh());
    let currency = currency(&place, GRACE);
    place.changes_to(running().await);
    let prepare = |state: Arc<State>| std::future::ready(needs_manifest(&state));
    let commit = |_: &mut Draft, prepared: &usize| Ok(*prepared);
    let answer = transaction::run(&currency, "", prepare, commit).await.unwrap();
    assert_eq!(answer, place.snapshot().manifest().unwrap().raw.len());
    assert_eq!(place.validations(), 1);

    let refuse = |_: Arc<State>| std::future::ready(Err::<usize, _>(Error::wrong_state()));
    assert_eq!(transaction::run(&currency, "", refuse, commit).await.unwrap_err().code, "wrong_state");
    assert_eq!(place.validations(), 2, "a refusal costs one proof");
    place.goes_away(Duration::ZERO);
    assert_eq!(transaction::run(&currency, "", refuse, commit).await.unwrap_err().code, "not_validated");
    place.shows(diverged_view());
    assert_eq!(transaction::run(&currency, "", prepare, commit).await.unwrap_err().code, "diverged");
}
