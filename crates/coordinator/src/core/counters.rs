//! Monotonic counters of Marbles: a value only ever grows, and each Marble instance has its own names.

use jiff::Timestamp;
use marblerun_state::{Change, CounterKey, Draft, Phase};

use crate::core::currency::Currency;
use crate::core::grace::Grace;
use crate::core::identity::{MarbleIdentity, require_feature, unknown_marble};
use crate::core::transaction::{self, Step};
use crate::error::{Error, ErrorKind};

/// A Marble that counts in more names than this is at fault, and would otherwise fill the state of all.
const MAX_NAMES: usize = 4096;
/// The same for the length of one name.
const MAX_NAME_BYTES: usize = 4096;

/// The feature gate of counters.
const FEATURE: &str = "MonotonicCounter";

const COMMIT_PREFIX: &str = "committing store transaction: ";

/// Raises a counter to `value` and returns what it was before. A value that is not higher changes nothing
/// and writes nothing.
pub(super) async fn set(
    currency: &Currency,
    marble: MarbleIdentity,
    name: String,
    value: u64,
    grace: Grace,
    now: Timestamp,
) -> Result<u64, Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::new(
            ErrorKind::Refused,
            "counter_name_too_long",
            format!(
                "setting monotonic counter: the name has {} bytes; at most {MAX_NAME_BYTES} are allowed",
                name.len()
            ),
        ));
    }
    let key = CounterKey { marble_type: marble.marble_type.clone(), uuid: marble.uuid, name };

    // Published states are durable, so a counter that is there already can be answered at once. Where others write the
    // state too, the transaction is answered from the newest one, also if it changes nothing.
    currency.require_undiverged()?;
    if !currency.is_shared() {
        let before = currency.snapshot().counter(&key);
        if before >= value {
            return Ok(before);
        }
    }
    let is_shared = currency.is_shared();
    let raise = move |draft: &mut Draft| {
        // An update or an activation in between may have ended its standing.
        if !marble.stands(draft.state(), &grace, now) {
            return Err(superseded().into());
        }
        // The guard has seen an older state, perhaps one that another instance has replaced long ago.
        if is_shared {
            require_feature(draft.state(), FEATURE)?;
        }
        raise(draft, &key, value)
    };
    match transaction::commit(currency, COMMIT_PREFIX, raise).await {
        Ok(before) => Ok(before),
        Err(Step::Refused(error)) => Err(error),
        Err(Step::Stale) => Err(superseded()),
    }
}

fn raise(draft: &mut Draft, key: &CounterKey, value: u64) -> Result<u64, Step> {
    if draft.state().phase() != Phase::AcceptingMarbles {
        return Err(Error::wrong_state().into());
    }
    let before = draft.state().counter(key);
    if value <= before {
        return Ok(before);
    }
    // A counter at 0 was never set: the state holds no zeros.
    if before == 0 && draft.state().counters_of(&key.marble_type, &key.uuid) >= MAX_NAMES {
        return Err(Error::new(
            ErrorKind::Refused,
            "too_many_counters",
            format!("setting monotonic counter: this Marble already has {MAX_NAMES} counters"),
        )
        .into());
    }
    draft.record(Change::Counter(key.clone(), value))?;
    Ok(before)
}

fn superseded() -> Error {
    unknown_marble("x509: certificate signed by unknown authority")
}
