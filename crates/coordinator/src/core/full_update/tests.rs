use std::sync::Arc;

use bytes::Bytes;
use marblerun_pki::Secret;
use marblerun_state::{Change, Draft, Phase, State};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::core::answer::PeerCertificate;
use crate::core::transaction::Step;
use crate::core::{Clock, HsmSealing, set_manifest, update};

const ALICE: &str = include_str!("../../../tests/fixtures/users/alice.crt.pem");

fn manifest() -> Value {
    json!({
        "Packages": {"app": {"Debug": true}},
        "Marbles": {"web": {"Package": "app"}},
        "Secrets": {"plain": {"Type": "plain", "UserDefined": true}},
        "Users": {"alice": {"Certificate": ALICE, "Roles": ["owner"]}},
        "Roles": {"owner": {"ResourceType": "Manifest", "Actions": ["UpdateManifest"]}},
    })
}

fn alice() -> PeerCertificate {
    let (_, der) = der::pem::decode_vec(ALICE.as_bytes()).unwrap();
    PeerCertificate(Arc::new(der))
}

fn raw(manifest: &Value) -> Bytes {
    manifest.to_string().into()
}

fn running() -> Arc<State> {
    let clock = Clock::system();
    let state = crate::start::temporary_state(Phase::AcceptingManifest, "localhost", &clock).unwrap();
    let prepared = set_manifest::prepare(
        &state,
        Arc::clone(state.authority()),
        raw(&manifest()),
        "anyone",
        clock.now(),
        HsmSealing::Off,
    )
    .unwrap();
    let mut draft = Draft::new(&Arc::new(state));
    set_manifest::commit(&mut draft, &prepared).unwrap();
    Arc::new(draft.into_parts().0)
}

/// The same after a user uploaded a value.
fn with_upload(state: &Arc<State>) -> Arc<State> {
    let value = Some(Zeroizing::new(b"new".to_vec()));
    let secret = Secret { private: value.clone(), public: value, ..Secret::clone(state.secret("plain").unwrap()) };
    let mut draft = Draft::new(state);
    draft.record(Change::Secret("plain".to_owned(), Some(Arc::new(secret)))).unwrap();
    Arc::new(draft.into_parts().0)
}

#[test]
fn a_value_that_is_uploaded_while_an_update_is_prepared_is_not_lost() {
    let mut changed = manifest();
    changed["Secrets"]["plain"]["Size"] = json!(8);
    let before = running();
    let later = with_upload(&before);
    let prepare = |state: &State| {
        update::prepare(state, Some(&alice()), &raw(&changed), Clock::system().now(), HsmSealing::Off).unwrap()
    };

    let prepared = prepare(&before);
    let stale = update::commit(&mut Draft::new(&later), &prepared, Some(&alice()));
    assert!(matches!(stale, Err(Step::Stale)), "it would be gone without being the previous one");

    let mut draft = Draft::new(&later);
    update::commit(&mut draft, &prepare(&later), Some(&alice())).unwrap();
    let past = draft.state().previous_secret("plain").unwrap();
    assert_eq!(past.private.as_ref().unwrap().as_slice(), b"new");
}

#[test]
fn an_upload_that_an_update_keeps_does_not_hold_it_up() {
    let before = running();
    let prepared =
        update::prepare(&before, Some(&alice()), &raw(&manifest()), Clock::system().now(), HsmSealing::Off).unwrap();
    let mut draft = Draft::new(&with_upload(&before));
    update::commit(&mut draft, &prepared, Some(&alice())).unwrap();
    assert_eq!(draft.state().secret("plain").unwrap().private.as_ref().unwrap().as_slice(), b"new");
}
