use std::collections::BTreeMap;

use marblerun_manifest::model::SecretKind;
use marblerun_recovery::{Party, RecoveryRoot, RecoverySet, Scheme};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z:<&> ]{0,12}", "\\PC{0,6}"]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..70)
}

fn wiped() -> impl Strategy<Value = Zeroizing<Vec<u8>>> {
    bytes().prop_map(Zeroizing::new)
}

fn writer_mark() -> impl Strategy<Value = WriterMark> {
    (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 16]>()).prop_map(|(boot, sequence, commit)| WriterMark {
        boot: crate::BootId(boot),
        sequence,
        commit: crate::CommitId(commit),
    })
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    use crate::Cause::{Genesis, Import, Recovery, Restore};
    let cause = prop_oneof![Just(Genesis), Just(Recovery), Just(Restore), Just(Import)];
    let cut_off = option::of((any::<u64>(), any::<[u8; 32]>()));
    (any::<u64>(), any::<[u8; 16]>(), cause, name(), cut_off)
        .prop_map(|(number, id, cause, confirmed_by, cut_off)| Incarnation { number, id, cause, confirmed_by, cut_off })
}

fn package() -> impl Strategy<Value = Package> {
    (any::<bool>(), name(), option::of(any::<u64>()), vec(name(), 0..3), any::<bool>()).prop_map(
        |(debug, text, number, list, given)| Package {
            debug,
            unique_id: text.clone(),
            signer_id: text,
            product_id: number,
            security_version: number.map(|n| n / 2),
            accepted_tcb_statuses: list.clone(),
            accepted_advisories: list,
            tdx: None,
            snp: None,
            tcb_statuses_given: given,
            advisories_given: !given,
        },
    )
}

fn secret() -> impl Strategy<Value = Secret> {
    let kind = prop_oneof![
        Just(SecretKind::SymmetricKey),
        Just(SecretKind::CertRsa),
        Just(SecretKind::CertEcdsa),
        Just(SecretKind::CertEd25519),
        Just(SecretKind::Plain),
    ];
    let parts = (option::of(bytes()), option::of(wiped()), option::of(wiped()), any::<bool>());
    (kind, any::<u64>(), any::<bool>(), any::<bool>(), parts).prop_map(
        |(kind, size, shared, user_defined, (certificate, private, public, same))| Secret {
            kind,
            size,
            shared,
            user_defined,
            valid_for: size / 3,
            certificate,
            public: if same { private.clone() } else { public },
            private,
        },
    )
}

fn entry() -> impl Strategy<Value = RecoveryEntry> {
    let scheme = prop_oneof![Just(Scheme::Single), Just(Scheme::Xor), Just(Scheme::Shamir)];
    let party = (name(), bytes(), option::of(any::<[u8; 32]>()), bytes()).prop_map(
        |(name, public_key, commitment, encrypted_secret)| Party { name, public_key, commitment, encrypted_secret },
    );
    let set = (scheme, any::<u32>(), any::<[u8; 16]>(), vec(party, 0..4), vec(any::<[u8; 32]>(), 0..3)).prop_map(
        |(scheme, threshold, epoch, parties, unassigned_commitments)| RecoverySet {
            scheme,
            threshold,
            epoch,
            parties,
            unassigned_commitments,
        },
    );
    (set, any::<[u8; 32]>())
        .prop_map(|(set, root)| RecoveryEntry { set, root: RecoveryRoot::new(Zeroizing::new(root.to_vec())) })
}

fn retired_root() -> impl Strategy<Value = RetiredRoot> {
    (bytes(), any::<i64>(), btree_set(name(), 0..4)).prop_map(|(certificate, until_ms, excluded)| RetiredRoot {
        certificate,
        until_ms,
        excluded,
    })
}

fn audit_entry() -> impl Strategy<Value = AuditEntry> {
    let event = (1u32..=15).prop_map(|number| crate::AuditEvent::from_number(number).unwrap());
    let texts = (name(), name(), option::of(name()), option::of(name()), option::of(name()));
    (any::<u64>(), any::<u64>(), event, texts, any::<u64>()).prop_map(
        |(sequence, time_ms, event, (actor, subject, before, after, reason), count)| AuditEntry {
            sequence,
            time_ms,
            event,
            actor,
            subject,
            before,
            after,
            reason,
            count,
        },
    )
}

/// Every kind but the authority, which needs real keys.
fn change() -> impl Strategy<Value = Change> {
    let lineage = (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 16]>()).prop_map(
        |(deployment_id, incarnation, incarnation_id)| Lineage { deployment_id, incarnation, incarnation_id },
    );
    let root = || vec(any::<u8>(), 1..50).prop_map(|bytes| RootSecret(Zeroizing::new(bytes)));
    let pending = (bytes(), btree_map(name(), any::<bool>(), 0..4), any::<i64>()).prop_map(
        |(raw, required_users, missing_acknowledgments)| PendingUpdate {
            raw: raw.into(),
            required_users,
            missing_acknowledgments,
        },
    );
    let counter = (name(), any::<[u8; 16]>(), name()).prop_map(|(marble_type, uuid, name)| CounterKey {
        marble_type,
        uuid,
        name,
    });
    let trail = || prop_oneof![Just(AuditKind::Changes), Just(AuditKind::Refusals)];
    let base = (any::<u64>(), any::<[u8; 32]>()).prop_map(|(sequence, hash)| AuditBase { sequence, hash });
    prop_oneof![
        lineage.prop_map(Change::Lineage),
        (root(), option::of(root())).prop_map(|(current, previous)| Change::RootSecret { current, previous }),
        (bytes(), bytes()).prop_map(|(raw, signature)| Change::Manifest { raw: raw.into(), signature }),
        (name(), option::of(package().prop_map(Arc::new))).prop_map(|(n, v)| Change::Package(n, v)),
        (name(), option::of(secret().prop_map(Arc::new))).prop_map(|(n, v)| Change::Secret(n, v)),
        (name(), option::of(secret().prop_map(Arc::new))).prop_map(|(n, v)| Change::PreviousSecret(n, v)),
        name().prop_map(Change::PreviousIsCurrent),
        (name(), any::<u64>()).prop_map(|(n, v)| Change::Activations(n, v)),
        (counter, any::<u64>()).prop_map(|(n, v)| Change::Counter(n, v)),
        vec(name(), 0..4).prop_map(Change::Log),
        Just(Change::LogReset),
        option::of(pending.prop_map(Arc::new)).prop_map(Change::PendingUpdate),
        vec(entry().prop_map(Arc::new), 0..3).prop_map(Change::Recovery),
        (name(), option::of(wiped())).prop_map(|(n, v)| Change::Extra(n, v)),
        vec(retired_root().prop_map(Arc::new), 0..4).prop_map(Change::RetiredRoots),
        (trail(), vec(audit_entry(), 0..4)).prop_map(|(kind, entries)| Change::Audit(kind, entries)),
        (trail(), base).prop_map(|(kind, base)| Change::AuditBase(kind, base)),
        vec(writer_mark(), 0..4).prop_map(Change::Writers),
        vec(incarnation(), 0..4).prop_map(Change::Incarnations),
        (name(), name(), name()).prop_map(|(backend, place, uid)| Change::Home(Home { backend, place, uid })),
        btree_map(name(), any::<u64>(), 0..4).prop_map(Change::CollateralMarks),
    ]
}

proptest! {
    #[test]
    fn every_change_reads_back_as_it_was_written(change in change()) {
        let encoded = change.encode();
        let decoded = Change::decode(&encoded).unwrap();
        prop_assert_eq!(wire::Change::from(&change) == wire::Change::from(&decoded), true);
        prop_assert_eq!(&*encoded, &*decoded.encode());
    }

    #[test]
    fn the_size_bound_is_never_below_the_encoded_size(change in change()) {
        prop_assert!(change.size_bound() >= change.encode().len());
    }

    #[test]
    fn an_unknown_field_is_refused_wherever_it_stands(change in change(), at_front: bool) {
        let unknown = [0xfa, 0x07, 0x01, 0x00]; // field 127, one byte
        let encoded = change.encode();
        let parts: [&[u8]; 2] = if at_front { [&unknown, &encoded] } else { [&encoded, &unknown] };
        prop_assert!(Change::decode(&parts.concat()).is_err());
    }

    #[test]
    fn nothing_of_arbitrary_bytes_is_skipped(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(change) = Change::decode(&bytes) {
            prop_assert_eq!(change.encode().len(), bytes.len());
        }
    }

    #[test]
    fn nothing_of_a_change_with_a_lost_or_changed_byte_is_skipped(
        change in change(), at: prop::sample::Index, xor: u8,
    ) {
        let mut bytes = change.encode().to_vec();
        let at = at.index(bytes.len());
        if xor == 0 { bytes.truncate(at); } else { bytes[at] ^= xor; }
        if let Ok(change) = Change::decode(&bytes) {
            prop_assert_eq!(change.encode().len(), bytes.len());
        }
    }
}

#[test]
fn an_unknown_field_inside_a_known_kind_is_refused() {
    // Activations { marble_type: "m" } and a field 3 of a newer program.
    let known = [0x42, 0x03, 0x0a, 0x01, b'm'];
    assert!(Change::decode(&known).is_ok());
    let newer = [0x42, 0x05, 0x0a, 0x01, b'm', 0x18, 0x01];
    let error = Change::decode(&newer).unwrap_err().to_string();
    assert!(error.contains("does not know"), "{error}");
}

#[test]
fn an_unknown_kind_is_refused() {
    let error = Change::decode(&[0x8a, 0x01, 0x00]).unwrap_err().to_string(); // kind 17
    assert!(error.contains("does not know"), "{error}");
    assert!(Change::decode(&[]).unwrap_err().to_string().contains("unknown kind"));
}

#[test]
fn marks_of_collateral_are_written_sorted_and_read_no_other_way() {
    let marks = BTreeMap::from([("time".to_owned(), 300), ("sgx/1".to_owned(), 2)]);
    let encoded = Change::CollateralMarks(marks).encode();
    let vector = "ca01160a090a057367782f3110020a090a0474696d6510ac02";
    assert_eq!(hex::encode(&encoded), vector);
    let (frame, first, second) = (&encoded[..3], &encoded[3..14], &encoded[14..]);
    assert!(Change::decode(&[frame, first, second].concat()).is_ok());
    for wrong in [[frame, second, first].concat(), [frame, first, first].concat()] {
        let error = Change::decode(&wrong).unwrap_err().to_string();
        assert!(error.contains("not sorted"), "{error}");
    }
}

#[test]
fn values_of_the_wrong_length_are_refused() {
    let counter = |uuid: &[u8]| {
        let mut inner = vec![0x12, uuid.len() as u8];
        inner.extend_from_slice(uuid);
        let mut message = vec![0x4a, inner.len() as u8];
        message.extend_from_slice(&inner);
        Change::decode(&message)
    };
    assert!(counter(&[7; 16]).is_ok());
    assert!(counter(&[7; 15]).is_err());
    assert!(counter(&[7; 17]).is_err());
}

#[test]
fn a_value_in_both_parts_of_a_secret_is_stored_once() {
    let value = Some(Zeroizing::new(vec![7; 1000]));
    let secret = Secret {
        kind: SecretKind::Plain,
        size: 0,
        shared: false,
        user_defined: true,
        valid_for: 0,
        certificate: None,
        private: value.clone(),
        public: value,
    };
    let encoded = Change::Secret("plain".to_owned(), Some(Arc::new(secret))).encode();
    assert!(encoded.len() < 1100, "{}", encoded.len());
}

#[test]
fn the_largest_manifest_fits_and_a_larger_change_is_refused() {
    let manifest = |size| Change::Manifest { raw: vec![b' '; size].into(), signature: vec![0; 104] };
    let largest = manifest(16 << 20);
    assert!(largest.size_bound() <= MAX_CHANGE);
    assert!(Change::decode(&largest.encode()).is_ok());
    let pending = PendingUpdate {
        raw: vec![b' '; MAX_CHANGE].into(),
        required_users: BTreeMap::new(),
        missing_acknowledgments: 0,
    };
    let huge = Change::PendingUpdate(Some(Arc::new(pending)));
    assert!(huge.size_bound() > MAX_CHANGE);
    assert!(Change::decode(&huge.encode()).is_err());
}

#[test]
fn an_unknown_event_or_trail_of_a_newer_program_is_refused() {
    let audit = |trail: u8, event: u8| Change::decode(&[0xa2, 0x01, 0x06, 0x08, trail, 0x12, 0x02, 0x18, event]);
    assert!(audit(1, 15).is_ok());
    assert!(audit(1, 100).unwrap_err().to_string().contains("unknown audit event"));
    assert!(audit(3, 13).unwrap_err().to_string().contains("unknown audit trail"));
}
