//! The sealers of one Coordinator, and which of them may open a state here.

use std::sync::Arc;

use crate::{KeySealer, SlotKind};

/// What the Coordinator runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// Nothing that protects it: every slot may open the state, also one that stands in the clear.
    Simulation,
    /// A trusted execution environment: only a slot that none but a genuine Coordinator can have made opens a state.
    /// Anyone can make a slot of a token, a passphrase or nothing, around a state with keys of his own, and have the
    /// genuine Coordinator that loads it vouch for it.
    Tee,
}

/// Sealers that cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealersError {
    /// None at all.
    #[error("no sealing backend is configured")]
    None,
    /// Two of one name.
    #[error("the sealing backend {0} is configured twice")]
    Twice(String),
    /// One that plays a platform, where there is a real one.
    #[error("the sealing backend {0} is for simulation only, and this is a trusted execution environment")]
    Simulated(String),
    /// One whose slots anyone can make, where that matters.
    #[error(
        "in a trusted execution environment {0} must not open the state by itself, since anyone can make a state \
         sealed that way; seal to the platform as well (platform+{0})"
    )]
    ProvesNothing(String),
}

/// Sealers in the order in which their slots are tried. At least one; each has a name of its own.
#[derive(Debug, Clone)]
pub struct Sealers {
    sealers: Arc<[Arc<dyn KeySealer>]>,
    surroundings: Surroundings,
}

impl Sealers {
    /// Sealers that may be used in these surroundings.
    ///
    /// # Errors
    /// [`SealersError`].
    pub fn new(surroundings: Surroundings, sealers: Vec<Arc<dyn KeySealer>>) -> Result<Self, SealersError> {
        if sealers.is_empty() {
            return Err(SealersError::None);
        }
        for (index, sealer) in sealers.iter().enumerate() {
            let name = || sealer.name().to_owned();
            if sealers.iter().take(index).any(|earlier| earlier.name() == sealer.name()) {
                return Err(SealersError::Twice(name()));
            }
            if surroundings == Surroundings::Tee {
                if sealer.simulated() {
                    return Err(SealersError::Simulated(name()));
                }
                if !sealer.proves_its_maker() {
                    return Err(SealersError::ProvesNothing(name()));
                }
            }
        }
        Ok(Self { sealers: sealers.into(), surroundings })
    }

    /// One sealer, in simulation.
    #[must_use]
    pub fn simulation(sealer: impl KeySealer + 'static) -> Self {
        Self { sealers: Arc::new([Arc::new(sealer)]), surroundings: Surroundings::Simulation }
    }

    /// Whether nothing protects this Coordinator, so that keys are taken that prove nothing about who made them (plain
    /// slots, upstream's bare `sealed_key`).
    #[must_use]
    pub fn in_simulation(&self) -> bool {
        self.surroundings == Surroundings::Simulation
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn KeySealer>> {
        self.sealers.iter()
    }

    /// The first one, which alone seals where only one can.
    #[must_use]
    pub fn first(&self) -> &dyn KeySealer {
        // There is one: `new` sees to that, and nothing takes it away.
        self.sealers.first().map_or(&crate::Plain, |first| &**first)
    }

    /// By its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn KeySealer>> {
        self.sealers.iter().find(|sealer| sealer.name() == name)
    }

    /// The one to try on a slot of that kind and label: of that name if it is of the kind, else the first of the kind.
    #[must_use]
    pub fn for_slot(&self, kind: SlotKind, label: &str) -> Option<&dyn KeySealer> {
        let of_kind = || self.sealers.iter().filter(|sealer| sealer.kind() == kind);
        of_kind().find(|sealer| sealer.name() == label).or_else(|| of_kind().next()).map(|sealer| &**sealer)
    }

    /// Place in the order, for a slot of that kind and label; the largest for one that no sealer here opens.
    #[must_use]
    pub fn rank(&self, kind: SlotKind, label: &str) -> usize {
        let of_kind = || self.sealers.iter().enumerate().filter(|(_, sealer)| sealer.kind() == kind);
        let named = of_kind().find(|(_, sealer)| sealer.name() == label);
        named.or_else(|| of_kind().next()).map_or(usize::MAX, |(rank, _)| rank)
    }

    /// What an operator should know about the choice.
    #[must_use]
    pub fn caution(&self) -> Option<&'static str> {
        match &*self.sealers {
            [only] => only.caution(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{GramineKeys, HostKeyFile, Nested, Passphrase, Plain};

    fn passphrase() -> Arc<dyn KeySealer> {
        Arc::new(Passphrase::new(Path::new("/none")))
    }

    fn platform() -> Arc<dyn KeySealer> {
        Arc::new(GramineKeys::new(Path::new("/none")))
    }

    #[test]
    fn in_a_tee_only_what_proves_its_maker_opens_a_state_by_itself() {
        let tee = |sealers| Sealers::new(Surroundings::Tee, sealers).map(drop);
        assert_eq!(tee(vec![platform()]), Ok(()));
        assert_eq!(tee(vec![passphrase()]), Err(SealersError::ProvesNothing("passphrase".to_owned())));
        assert_eq!(tee(vec![platform(), passphrase()]), Err(SealersError::ProvesNothing("passphrase".to_owned())));
        assert_eq!(tee(vec![Arc::new(Nested::new(vec![platform(), passphrase()]))]), Ok(()));
        let twice: Arc<dyn KeySealer> = Arc::new(Nested::new(vec![passphrase(), passphrase()]));
        assert!(matches!(tee(vec![twice]), Err(SealersError::ProvesNothing(_))));
        assert_eq!(tee(vec![Arc::new(Plain)]), Err(SealersError::Simulated("plain".to_owned())));
        let host: Arc<dyn KeySealer> = Arc::new(HostKeyFile::new(Path::new("/none")));
        assert!(matches!(tee(vec![host.clone()]), Err(SealersError::Simulated(_))));
        let around: Arc<dyn KeySealer> = Arc::new(Nested::new(vec![host, platform()]));
        assert!(matches!(tee(vec![around]), Err(SealersError::Simulated(_))));
        assert_eq!(tee(Vec::new()), Err(SealersError::None));
    }

    #[test]
    fn simulation_takes_all_but_no_name_twice() {
        let simulated = |sealers| Sealers::new(Surroundings::Simulation, sealers).map(drop);
        assert_eq!(simulated(vec![passphrase(), Arc::new(Plain), platform()]), Ok(()));
        assert_eq!(simulated(vec![platform(), platform()]), Err(SealersError::Twice("platform".to_owned())));
    }

    #[test]
    fn a_slot_is_tried_by_the_sealer_of_its_name_or_else_of_its_kind() {
        let both: Arc<dyn KeySealer> = Arc::new(Nested::new(vec![platform(), passphrase()]));
        let sealers = Sealers::new(Surroundings::Tee, vec![platform(), both]).unwrap();
        let name = |label| sealers.for_slot(SlotKind::Platform, label).map(KeySealer::name);
        assert_eq!(name("platform+passphrase"), Some("platform+passphrase"));
        assert_eq!(name("from elsewhere"), Some("platform"));
        assert!(sealers.for_slot(SlotKind::Passphrase, "passphrase").is_none());
        assert_eq!(sealers.rank(SlotKind::Platform, "platform+passphrase"), 1);
        assert_eq!(sealers.rank(SlotKind::Tpm, "tpm"), usize::MAX);
        assert!(sealers.caution().is_none());
        assert!(Sealers::new(Surroundings::Tee, vec![platform()]).unwrap().caution().is_some());
    }
}
