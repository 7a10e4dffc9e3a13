//! Reading upstream's state: its data encryption key becomes the recovery root, so that the holders' secrets stay
//! good in our format.

use marblerun_recovery::RecoveryRoot;
use marblerun_state::State;
use zeroize::Zeroizing;

use crate::format::upstream::UpstreamFront;
use crate::format::{self, Refusal, Source, random_name};

/// Why upstream's state is not served, with its code.
#[derive(Debug)]
pub(crate) struct NotImported {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl From<Refusal> for NotImported {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code(), message: refusal.to_string() }
    }
}

/// Decrypts and reads upstream's state; proves it. The key becomes the recovery root.
pub(crate) fn read(source: &(impl Source + ?Sized), front: &UpstreamFront, key: &[u8]) -> Result<State, NotImported> {
    let plaintext = format::upstream::open(source, front, key)?;
    let not_imported = |why: String| NotImported {
        code: "not_imported",
        message: format!(
            "upstream's sealed_data opens, but cannot be taken over: {why}. \
             It is left as it is; restore another copy, or keep using the program that wrote it"
        ),
    };
    let (incarnation_id, epoch) = (random_name().map_err(not_imported)?, random_name().map_err(not_imported)?);
    let root = RecoveryRoot::new(Zeroizing::new(key.to_vec()));
    let state = marblerun_state::upstream::import(&plaintext, &front.header, root, incarnation_id, epoch)
        .map_err(|error| not_imported(error.to_string()))?;
    state.validate().map_err(|error| not_imported(error.to_string()))?;
    Ok(state)
}
