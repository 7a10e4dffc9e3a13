//! Key slots of the sealed state: which backends open it, whether they do, and changing them while the state is served.
//! It takes `UpdateManifest`, as all that decides who can open a state does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use marblerun_api::v3;
use marblerun_sealing::SlotKind;
use marblerun_state::AuditEvent;
use marblerun_store::Keyring;
use marblerun_store::slots::{SlotError, SlotFacts, SlotPlan};

use crate::core::answer::PeerCertificate;
use crate::core::sharing::judge;
use crate::core::{Coordinator, audit, off_thread};
use crate::error::{Error, ErrorKind};
use crate::untrusted::for_log;

/// What came of the last try of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotHealth {
    /// Label.
    pub label: String,
    /// One word for its kind.
    pub kind: &'static str,
    /// `Err`: why it does not open.
    pub opens: Result<(), String>,
}

/// What is known of the slots. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct SlotsTried(Arc<Mutex<BTreeMap<String, SlotHealth>>>);

impl SlotsTried {
    fn note(&self, tested: &[SlotFacts], all: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all {
            known.clear();
        }
        for slot in tested {
            if let Some(opens) = &slot.opens {
                let health = SlotHealth { label: slot.label.clone(), kind: word(slot.kind), opens: opens.clone() };
                known.insert(slot.label.clone(), health);
            }
        }
    }

    fn all(&self) -> Vec<SlotHealth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// For the status: what the next start would run into.
    pub(super) fn warnings(&self) -> Vec<String> {
        let dead = self.all().into_iter().filter_map(|slot| Some((slot.label, slot.opens.err()?)));
        dead.map(|(label, why)| {
            format!("the key slot {label} did not open the state when it was last tried: {why}. See `marblerun seal slot list`")
        })
        .collect()
    }
}

impl Coordinator {
    /// The key slots, with what came of the last try of each.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn seal_slots(&self, user: Option<&PeerCertificate>) -> Result<v3::SealSlots, Error> {
        let listed = async {
            self.operator(user, "list key slots").await?;
            Ok(self.listed(&self.keyring().await?, None))
        };
        let listed = listed.await;
        self.noted(user, "seal_slots", listed)
    }

    /// Tries the slot of that label, or all.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn test_seal_slots(
        &self,
        user: Option<&PeerCertificate>,
        label: Option<String>,
    ) -> Result<v3::SealSlots, Error> {
        let tested = async {
            self.operator(user, "try key slots").await?;
            self.try_slots(label).await
        };
        let tested = tested.await;
        self.noted(user, "test_seal_slots", tested)
    }

    /// Makes a slot of that backend.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_seal_slot(&self, user: Option<&PeerCertificate>, backend: String) -> Result<v3::SealSlots, Error> {
        let added = async {
            let by = self.operator(user, "add a key slot").await?;
            let plan = SlotPlan::Add { backend: backend.clone() };
            self.change_slots(plan, AuditEvent::SlotAdded, by, &backend).await
        };
        let added = added.await;
        self.noted(user, "add_seal_slot", added)
    }

    /// Removes a slot. The key is replaced, so that no copy of the slot opens what comes after.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_seal_slot(
        &self,
        user: Option<&PeerCertificate>,
        label: String,
        force: bool,
    ) -> Result<v3::SealSlots, Error> {
        let removed = async {
            let by = self.operator(user, "remove a key slot").await?;
            let plan = SlotPlan::Remove { label: label.clone(), force };
            self.change_slots(plan, AuditEvent::SlotRemoved, by, &label).await
        };
        let removed = removed.await;
        self.noted(user, "remove_seal_slot", removed)
    }

    /// Replaces the key and all slots. `label`: one that must be among the new ones.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rotate_seal_slots(
        &self,
        user: Option<&PeerCertificate>,
        label: Option<String>,
        force: bool,
    ) -> Result<v3::SealSlots, Error> {
        let rotated = async {
            let by = self.operator(user, "rotate key slots").await?;
            let subject = label.clone().unwrap_or_else(|| "sealed_data".to_owned());
            let plan = SlotPlan::Rotate { label, force };
            self.change_slots(plan, AuditEvent::SlotsRotated, by, &subject).await
        };
        let rotated = rotated.await;
        self.noted(user, "rotate_seal_slots", rotated)
    }

    /// What came of the last try of each slot, for the metrics.
    #[must_use]
    pub fn slot_health(&self) -> Vec<SlotHealth> {
        self.slots_tried.all()
    }

    /// Tries all slots once, so that one that is dead is known before it is needed. Where there are none, nothing happens.
    pub async fn look_at_slots(&self) {
        // A state that waits has said which slots do not open.
        let Ok(slots) = self.try_slots(None).await else { return };
        for slot in slots.slots.iter().filter(|slot| slot.opens == Some(false)) {
            let why = slot.problem.as_deref().unwrap_or_default();
            tracing::warn!(slot = %for_log(&slot.label), why = %for_log(why), "a key slot does not open the state");
        }
    }

    async fn operator(&self, user: Option<&PeerCertificate>, what: &str) -> Result<String, Error> {
        self.currency.read(|state| judge(state, user, what)).await
    }

    async fn keyring(&self) -> Result<Keyring, Error> {
        self.store.keyring().await.map_err(refused)
    }

    async fn try_slots(&self, label: Option<String>) -> Result<v3::SealSlots, Error> {
        let keyring = self.keyring().await?;
        let all = label.is_none();
        let (keyring, tested) = off_thread(move || {
            let tested = keyring.test(label.as_deref()).map_err(refused)?;
            Ok((keyring, tested))
        })
        .await?;
        self.slots_tried.note(&tested, all);
        Ok(self.listed(&keyring, None))
    }

    async fn change_slots(
        &self,
        plan: SlotPlan,
        event: AuditEvent,
        by: String,
        subject: &str,
    ) -> Result<v3::SealSlots, Error> {
        let entry = audit::entry(event, self.settings.clock.now(), &by, subject);
        self.store.change_slots(plan, entry).await.map_err(refused)?;
        tracing::warn!(by = %for_log(&by), slot = %for_log(subject), event = event.as_str(), "an operator changed key slots");
        // All were tried when they were made; what was known before is of slots that are gone.
        let slots = self.try_slots(None).await?;
        Ok(v3::SealSlots { by: Some(by), ..slots })
    }

    fn listed(&self, keyring: &Keyring, by: Option<String>) -> v3::SealSlots {
        let tried = self.slots_tried.all();
        let slots: Vec<_> = keyring.slots().into_iter().map(|slot| shown(slot, &tried)).collect();
        let backends = keyring.backends().into_iter().map(|(name, kind)| v3::SealBackend {
            has_slot: slots.iter().any(|slot| slot.backend.as_ref() == Some(&name)),
            kind: kind.as_str().to_owned(),
            name,
        });
        v3::SealSlots {
            key: hex::encode(keyring.key_id()),
            mode: keyring.mode().as_str().to_owned(),
            backends: backends.collect(),
            slots,
            recoverable: keyring.is_recoverable(),
            by,
        }
    }
}

fn shown(slot: SlotFacts, tried: &[SlotHealth]) -> v3::SealSlot {
    let health = tried.iter().find(|health| health.label == slot.label).map(|health| &health.opens);
    v3::SealSlot {
        kind: slot.kind.map(|kind| kind.as_str().to_owned()),
        backend: slot.backend,
        in_backups: slot.in_backups,
        shared: slot.shared,
        opens: health.map(Result::is_ok),
        problem: health.and_then(|health| health.clone().err()),
        label: slot.label,
    }
}

fn word(kind: Option<SlotKind>) -> &'static str {
    kind.map_or("unknown", SlotKind::as_str)
}

fn refused(error: SlotError) -> Error {
    let (kind, code) = match &error {
        SlotError::NotHere(_) => (ErrorKind::Refused, "no_key_slots"),
        SlotError::Unavailable(_) | SlotError::Stopped => (ErrorKind::Unavailable, "unavailable"),
        SlotError::NoSlot { .. } => (ErrorKind::NotFound, "no_such_slot"),
        SlotError::NoBackend { .. } => (ErrorKind::NotFound, "no_such_backend"),
        SlotError::Exists(_) => (ErrorKind::Refused, "slot_exists"),
        SlotError::Failed { .. } => (ErrorKind::Unavailable, "backend_failed"),
        SlotError::WouldLose(_) => (ErrorKind::Conflict, "would_lose_slots"),
        SlotError::Last(_) => (ErrorKind::Conflict, "last_slot"),
        SlotError::StillConfigured(_) => (ErrorKind::Refused, "still_configured"),
        SlotError::TooMany => (ErrorKind::Refused, "too_many_slots"),
        SlotError::Changed => (ErrorKind::Unavailable, "contention"),
        SlotError::NotStored(_) => (ErrorKind::Internal, "not_stored"),
        SlotError::Unknown(_) => (ErrorKind::Internal, "outcome_unknown"),
    };
    Error::new(kind, code, error.to_string())
}
