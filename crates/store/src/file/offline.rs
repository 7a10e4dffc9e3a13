//! The key of a directory for who only reads it: the same search as at a start, without lock, repair or write.

use std::path::Path;

use marblerun_sealing::Sealers;
use zeroize::Zeroizing;

use super::key::KeyOnDisk;
use super::unlock::Unlocked;
use crate::disk::RealDirectory;
use crate::format::describe_slot;
use crate::format::{Dek, Front, Refusal, SEALED_KEY, Witness};

/// Finds the data encryption key of a file of ours, and what the host vouches for.
pub(crate) fn unlock(dir: &Path, host: &Sealers, front: &Front) -> Result<(Dek, Option<Witness>), Refusal> {
    let on_disk = KeyOnDisk::read(&RealDirectory::new(dir), SEALED_KEY);
    let Unlocked { key, witness, .. } = Unlocked::find(host, &on_disk, front)?;
    Ok((key.dek, witness))
}

/// The bare key beside a file of upstream's.
pub(crate) fn upstream_key(dir: &Path) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let reason = match KeyOnDisk::read(&RealDirectory::new(dir), SEALED_KEY) {
        KeyOnDisk::Upstream(key) => return Ok(key),
        KeyOnDisk::Missing => "there is no sealed_key".to_owned(),
        KeyOnDisk::Ours(_) => "sealed_key is of this program, sealed_data is not".to_owned(),
        KeyOnDisk::UpstreamHsm(_) => "sealed_key is in the envelope of an HSM".to_owned(),
        KeyOnDisk::Unusable(why) => why,
    };
    Err(Refusal::NoKey { reason })
}

/// What lies under the name `sealed_key`: a stable word, and what there is to tell of it.
pub(crate) fn describe_key(dir: &Path) -> (&'static str, Vec<String>) {
    match KeyOnDisk::read(&RealDirectory::new(dir), SEALED_KEY) {
        KeyOnDisk::Missing => ("missing", Vec::new()),
        KeyOnDisk::Ours(key) => {
            ("ours", key.entries.iter().flat_map(|entry| &entry.slots).map(describe_slot).collect())
        }
        KeyOnDisk::Upstream(key) => {
            ("upstream_bare", vec![format!("the data encryption key itself ({} bytes)", key.len())])
        }
        KeyOnDisk::UpstreamHsm(_) => ("unusable", vec!["sealed_key is sealed by an HSM of another program".to_owned()]),
        KeyOnDisk::Unusable(why) => ("unusable", vec![why]),
    }
}
