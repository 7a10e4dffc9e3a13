//! Upstream's map of store keys as a state.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use marblerun_manifest::gojson;
use marblerun_manifest::model::{Package, SecretKind};
use marblerun_pki::{Authority, Secret};
use marblerun_recovery::rsa_keys::PublicKey;
use marblerun_recovery::{Party, RecoveryRoot, RecoverySet, Scheme, commitment, pem};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::export::{self, Map};
use super::keys;
use crate::wire::NO_ENCLAVE;
use crate::{ActiveManifest, Change, ChangeError, Lineage, PendingUpdate, Phase, RecoveryEntry, RootSecret, State};

pub(super) fn import(
    plaintext: &[u8],
    header: &[u8],
    dek: RecoveryRoot,
    incarnation_id: [u8; 16],
    epoch: [u8; 16],
) -> Result<State, ChangeError> {
    let map = read(plaintext)?;
    let mut state = base(&map, incarnation_id)?;
    if let Some(raw) = map.get(keys::MANIFEST) {
        let signature = map.get(keys::MANIFEST_SIGNATURE).map_or_else(Vec::new, |signature| signature.to_vec());
        state.apply(&Change::Manifest { raw: Bytes::copy_from_slice(raw), signature })?;
    }
    for (key, value) in &map {
        let changes = changes(key, value).map_err(|reason| unreadable(key, &reason))?;
        for change in changes {
            state.apply(&change).map_err(|error| unreadable(key, &error.0))?;
        }
    }
    share_previous(&mut state)?;
    if let Some(entry) = state.manifest().and_then(|active| recovery(active, header, dek, epoch)) {
        state.apply(&Change::Recovery(vec![Arc::new(entry)]))?;
    }
    keep_the_rest(&mut state, map)?;
    state.validate()?;
    Ok(state)
}

fn unreadable(key: &str, reason: &str) -> ChangeError {
    ChangeError(format!("the upstream state is unreadable at {key:?}: {reason}"))
}

/// The outer object. Readers of upstream accept any JSON formatting; of a key given twice the last counts.
fn read(plaintext: &[u8]) -> Result<Map, ChangeError> {
    struct Values(Map);

    impl<'de> Deserialize<'de> for Values {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Keys;

            impl<'de> Visitor<'de> for Keys {
                type Value = Map;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a map of store keys to base64 values")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Map, A::Error> {
                    let mut map = Map::new();
                    while let Some(key) = access.next_key::<String>()? {
                        let value: Option<Text<'de>> = access.next_value()?;
                        // Neither the parser's nor the decoder's message repeats a value.
                        let value = value.map(|text| decode(&text.0)).transpose().map_err(|error| {
                            serde::de::Error::custom(format!("value of {key:?} is not base64: {error}"))
                        })?;
                        map.insert(key, value.unwrap_or_default());
                    }
                    Ok(map)
                }
            }

            deserializer.deserialize_map(Keys).map(Values)
        }
    }

    serde_json::from_slice::<Values>(plaintext)
        .map(|values| values.0)
        .map_err(|error| ChangeError(format!("the upstream state is not a JSON object of base64 values: {error}")))
}

/// Text that is borrowed where it has no escapes, as base64 never has.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    gojson::base64::decode(text).map(Zeroizing::new).map_err(|error| error.to_string())
}

/// What every state has.
fn base(map: &Map, incarnation_id: [u8; 16]) -> Result<State, ChangeError> {
    let part = |key: &str| map.get(key).ok_or_else(|| ChangeError(format!("the upstream state has no {key:?}")));
    let root_certificate = part(keys::ROOT_CERTIFICATE)?.to_vec();
    let mut deployment_id = [0; 16];
    deployment_id.iter_mut().zip(Sha256::digest(&root_certificate)).for_each(|(byte, hash)| *byte = hash);
    let authority = Authority::from_parts(
        root_certificate,
        part(keys::ROOT_KEY)?,
        part(keys::INTERMEDIATE_CERTIFICATE)?.to_vec(),
        part(keys::INTERMEDIATE_KEY)?,
        part(keys::MARBLE_ROOT_CERTIFICATE)?.to_vec(),
    )
    .map_err(|error| ChangeError(format!("the upstream state is unreadable: {error}")))?;

    // Old states have no root secret: there the scalar of the root key stands for it.
    let secret = |key: &str| map.get(key).filter(|value| !value.is_empty()).map(|value| RootSecret(value.clone()));
    let current = secret(keys::ROOT_SECRET)
        .unwrap_or_else(|| RootSecret(Zeroizing::new(authority.root_key.scalar().as_slice().to_vec())));
    let previous = secret(keys::PREVIOUS_ROOT_SECRET);
    let lineage = Lineage { deployment_id, incarnation: 1, incarnation_id };
    let mut state = State::new(Phase::AcceptingManifest, lineage, Arc::new(authority), current.clone());
    state.apply(&Change::RootSecret { current, previous })?;
    Ok(state)
}

/// The changes that a key stands for; none if it was read already, follows from another key, or is not known.
fn changes(key: &str, value: &Zeroizing<Vec<u8>>) -> Result<Vec<Change>, String> {
    let (kind, name) = keys::split(key);
    let Some(name) = name else {
        return match kind {
            keys::UPDATE_LOG => {
                let text = String::from_utf8_lossy(value);
                Ok(vec![Change::Log(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())])
            }
            keys::PENDING_UPDATE => pending_update(value).map(|update| vec![Change::PendingUpdate(Some(update))]),
            _ => Ok(Vec::new()),
        };
    };
    let owned = name.to_owned();
    Ok(match kind {
        "package" => {
            let mut package: Package = gojson::from_slice(value).map_err(|error| error.to_string())?.value;
            if package.unique_id == NO_ENCLAVE {
                package.unique_id.clear();
            }
            vec![Change::Package(owned, Some(Arc::new(package)))]
        }
        "secret" => vec![Change::Secret(owned, Some(Arc::new(secret(value)?)))],
        "previousSecret" => vec![Change::PreviousSecret(owned, Some(Arc::new(secret(value)?)))],
        "activations" => {
            let text = std::str::from_utf8(value).map_err(|error| error.to_string())?;
            let count = u64::from_str_radix(text, 16).map_err(|error| error.to_string())?;
            vec![Change::Activations(owned, count)]
        }
        "monotonicCounter" => match keys::counter_of(name) {
            Some(counter) => {
                let value = value.as_slice().try_into().map_err(|_| "a counter has 8 bytes".to_owned())?;
                vec![Change::Counter(counter, u64::from_le_bytes(value))]
            }
            None => Vec::new(),
        },
        _ => Vec::new(),
    })
}

/// A stored secret.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredSecret<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    user_defined: bool,
    #[serde(borrow, default)]
    cert: Option<StoredCertificate<'a>>,
    #[serde(default)]
    valid_for: u64,
    #[serde(borrow, default)]
    private: Option<Text<'a>>,
    #[serde(borrow, default)]
    public: Option<Text<'a>>,
}

/// A certificate is stored as base64 DER; old states may hold the fields of one, with the DER among them.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredCertificate<'a> {
    Der(#[serde(borrow)] Cow<'a, str>),
    Fields {
        #[serde(borrow, rename = "Raw", default)]
        raw: Option<Cow<'a, str>>,
    },
}

fn secret(value: &[u8]) -> Result<Secret, String> {
    let stored: StoredSecret<'_> = serde_json::from_slice(value).map_err(|error| location(&error))?;
    let kind = SecretKind::from_name(&stored.r#type).ok_or_else(|| format!("unknown type {:?}", stored.r#type))?;
    let certificate = match &stored.cert {
        Some(StoredCertificate::Der(text) | StoredCertificate::Fields { raw: Some(text) }) => {
            // Upstream silently takes what is not base64 as no certificate.
            gojson::base64::decode(&**text).ok()
        }
        Some(StoredCertificate::Fields { raw: None }) | None => None,
    };
    let part = |text: &Option<Text<'_>>| text.as_ref().map(|text| decode(&text.0)).transpose();
    let secret = Secret {
        kind,
        size: stored.size,
        shared: stored.shared,
        user_defined: stored.user_defined,
        valid_for: stored.valid_for,
        certificate,
        private: part(&stored.private)?,
        public: part(&stored.public)?,
    };
    // The value of a placeholder is nobody's secret. It is kept for export, but never handed out.
    Ok(match export::is_per_marble(&secret) {
        true => Secret { certificate: None, private: None, public: None, ..secret },
        false => secret,
    })
}

/// Where parsing failed, without the text that did not parse.
fn location(error: &serde_json::Error) -> String {
    format!("malformed JSON at line {} column {}", error.line(), error.column())
}

fn pending_update(value: &[u8]) -> Result<Arc<PendingUpdate>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stored<'a> {
        #[serde(borrow)]
        manifest_raw: Text<'a>,
        #[serde(default)]
        required_users: BTreeMap<String, bool>,
        missing_acknowledgments: Option<i64>,
    }

    let stored: Stored<'_> = serde_json::from_slice(value).map_err(|error| location(&error))?;
    let unacknowledged = || stored.required_users.values().filter(|acknowledged| !**acknowledged).count();
    // Older versions did not store the number.
    let missing = stored.missing_acknowledgments.unwrap_or_else(|| i64::try_from(unacknowledged()).unwrap_or(i64::MAX));
    Ok(Arc::new(PendingUpdate {
        raw: decode(&stored.manifest_raw.0)?.to_vec().into(),
        missing_acknowledgments: missing,
        required_users: stored.required_users,
    }))
}

/// A previous secret that equals the current one is held once.
fn share_previous(state: &mut State) -> Result<(), ChangeError> {
    let same = state.previous_secrets().filter(|(name, value)| state.secret(name) == Some(value));
    let same: Vec<String> = same.map(|(name, _)| name.to_owned()).collect();
    same.into_iter().try_for_each(|name| state.apply(&Change::PreviousIsCurrent(name)))
}

/// Who holds recovery secrets follows from the manifest; the hashes stand in the header, which nothing protects.
fn recovery(active: &ActiveManifest, header: &[u8], dek: RecoveryRoot, epoch: [u8; 16]) -> Option<RecoveryEntry> {
    let keys = &active.manifest.recovery_keys;
    let threshold = active.manifest.config.recovery_threshold;
    let all = u32::try_from(keys.len()).ok()?;
    let (scheme, needed) = match (all, u32::try_from(threshold).ok()?) {
        (0, _) => return None,
        (1, _) => (Scheme::Single, 1),
        (all, 0) => (Scheme::Xor, all),
        (all, threshold) if all == threshold => (Scheme::Xor, all),
        (_, threshold) => (Scheme::Shamir, threshold),
    };
    let parties = keys.iter().map(|(name, text)| Party {
        name: name.clone(),
        // A key we do not take is no key here: then signatures are checked by the manifest alone.
        public_key: PublicKey::from_pem(text)
            .map(|key| key.spki_der().to_vec())
            .ok()
            .or_else(|| pem::first_block(text).map(|block| block.contents))
            .unwrap_or_default(),
        // The secret of a single party is the key itself.
        commitment: (scheme == Scheme::Single).then(|| commitment(dek.expose())),
        encrypted_secret: Vec::new(),
    });
    let parties: Vec<Party> = parties.collect();
    let unassigned_commitments = match scheme {
        Scheme::Single => Vec::new(),
        _ => RecoverySet::from_upstream_header(header)
            .map(|set| set.unassigned_commitments)
            .filter(|hashes| hashes.len() == parties.len())
            .unwrap_or_default(),
    };
    let set = RecoverySet { scheme, threshold: needed, epoch, parties, unassigned_commitments };
    Some(RecoveryEntry { set, root: dek })
}

/// Keeps the imported form of what we would write differently or not at all. But not of `state`: what it says
/// follows from whether there is a manifest, and upstream itself does not start from any other value.
fn keep_the_rest(state: &mut State, map: Map) -> Result<(), ChangeError> {
    let ours = export::derived(state);
    for (key, value) in map {
        if key != keys::STATE && ours.get(&key) != Some(&value) {
            state.apply(&Change::Extra(key, Some(value)))?;
        }
    }
    Ok(())
}
