//! Peers: one Coordinator is about to share keys with another of the same deployment. What it asks of the other is
//! what it is itself. Whoever *gives* asks for a version that is not older than his own; whoever *receives* accepts
//! older givers down to a limit, so that a rolling upgrade finds somebody to ask (cluster protocol, section 6).

use crate::{
    Identity, Pcrs, PeerIdentity, SgxIdentity, SnpIdentity, SnpProduct, SnpTcbVersion, TcbStatus, TdxIdentity, Tee,
};

/// Registers that tell which system a VM below a paravisor has started, and with what: boot loader, keys of Secure Boot,
/// kernel, command line, and what was added to them. Others differ between VMs of one image.
const PEER_PCRS: [usize; 8] = [4, 7, 8, 9, 11, 12, 13, 14];

/// What a Coordinator asks of its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPolicy {
    /// Who it is itself, now.
    pub own: PeerIdentity,
    /// Sealing is bound to the product, and a manifest says so: any build of it will do. Otherwise only the same one.
    pub any_measurement: bool,
    /// The oldest version to take keys from; `None`: the one before its own.
    pub least_giver: Option<u64>,
}

/// Why a peer will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    /// Other hardware, or simulation where there is hardware.
    #[error("the peer runs in {got}, this Coordinator in {own}")]
    Tee {
        /// This Coordinator's.
        own: Tee,
        /// The peer's.
        got: Tee,
    },
    /// One of the two can be read from outside.
    #[error("one of the two Coordinators is a debug build, and the other is not (peer: {got})")]
    Debug {
        /// The peer's flag.
        got: bool,
    },
    /// Somebody else's program.
    #[error("the peer has SignerID {got}, this Coordinator has {own}")]
    Signer {
        /// This Coordinator's.
        own: String,
        /// The peer's.
        got: String,
    },
    /// Another program of the signer.
    #[error("the peer has ProductID {got}, this Coordinator has {own}")]
    Product {
        /// This Coordinator's.
        own: u64,
        /// The peer's.
        got: u64,
    },
    /// Another build, where sealing is bound to one.
    #[error(
        "the peer has UniqueID {got}, this Coordinator has {own}; they must be equal unless a manifest with seal mode \
         ProductKey is in force"
    )]
    Measurement {
        /// This Coordinator's.
        own: String,
        /// The peer's.
        got: String,
    },
    /// Another VM.
    #[error("the peer's VM differs in {field}: it has {got}, this Coordinator's has {own}")]
    Vm {
        /// In what.
        field: &'static str,
        /// This Coordinator's.
        own: String,
        /// The peer's.
        got: String,
    },
    /// Its processor is of another family, so their firmware cannot be compared.
    #[error("the peer runs on {got}, this Coordinator on {own}; Coordinators of one deployment need the same family")]
    Processor {
        /// This Coordinator's.
        own: SnpProduct,
        /// The peer's.
        got: SnpProduct,
    },
    /// Its firmware is older than what this platform cannot go back to any more.
    #[error("the peer's firmware is {got}; older than {least}, which this Coordinator's platform has committed to")]
    Firmware {
        /// The oldest that would do.
        least: SnpTcbVersion,
        /// The peer's.
        got: SnpTcbVersion,
    },
    /// Its platform is not up to date, and not in the same way as this one.
    #[error("the peer's platform has TCB status {got}, this Coordinator's has {own}; UpToDate or the same is accepted")]
    TcbStatus {
        /// This Coordinator's.
        own: TcbStatus,
        /// The peer's.
        got: TcbStatus,
    },
    /// Too old to get keys.
    #[error("the peer has SecurityVersion {got}; secrets are given to versions from {least} on only")]
    ReceiverTooOld {
        /// The oldest that would do.
        least: u64,
        /// The peer's.
        got: u64,
    },
    /// Too old to be believed.
    #[error(
        "the peer has SecurityVersion {got}; keys are taken of versions from {least} on only (MARBLERUN_PEER_MIN_SVN)"
    )]
    GiverTooOld {
        /// The oldest that would do.
        least: u64,
        /// The peer's.
        got: u64,
    },
}

impl PeerPolicy {
    /// Whether the peer belongs to the same deployment as far as evidence tells: what both sides ask for.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn accepts(&self, peer: &PeerIdentity) -> Result<(), PeerRefusal> {
        let (own, got) = (&self.own.claims, &peer.claims);
        if self.own.tee != peer.tee {
            return Err(PeerRefusal::Tee { own: self.own.tee, got: peer.tee });
        }
        if own.debug != got.debug {
            return Err(PeerRefusal::Debug { got: got.debug });
        }
        match (&own.identity, &got.identity) {
            (Identity::Sgx(own), Identity::Sgx(got)) => self.accepts_enclave(own, got)?,
            (Identity::Tdx(own), Identity::Tdx(got)) => accepts_tdx(own, got)?,
            (Identity::Snp(own), Identity::Snp(got)) => self.accepts_snp(own, got)?,
            (own, got) => return Err(PeerRefusal::Tee { own: own.tee(), got: got.tee() }),
        }
        if got.tcb_status != TcbStatus::UpToDate && got.tcb_status != own.tcb_status {
            return Err(PeerRefusal::TcbStatus { own: own.tcb_status, got: got.tcb_status });
        }
        Ok(())
    }

    fn accepts_enclave(&self, own: &SgxIdentity, got: &SgxIdentity) -> Result<(), PeerRefusal> {
        if own.signer_id != got.signer_id {
            let [own, got] = [own.signer_id, got.signer_id].map(hex::encode);
            return Err(PeerRefusal::Signer { own, got });
        }
        if own.product_id != got.product_id {
            return Err(PeerRefusal::Product { own: own.product_id, got: got.product_id });
        }
        if !self.any_measurement && own.unique_id != got.unique_id {
            let [own, got] = [own.unique_id, got.unique_id].map(hex::encode);
            return Err(PeerRefusal::Measurement { own, got });
        }
        Ok(())
    }

    /// What makes a product of a VM are the keys of its ID block, with family and image. Without keys there is none, and
    /// the measurement must be the same.
    fn accepts_snp(&self, own: &SnpIdentity, got: &SnpIdentity) -> Result<(), PeerRefusal> {
        let has_product = own.id_key_digest != [0; 48] || own.author_key_digest != [0; 48];
        for ((field, own), (_, got)) in own.fields().into_iter().zip(got.fields()) {
            let is_free = field == "Measurement" && self.any_measurement && has_product;
            same(field, own, got, is_free)?;
        }
        same("Policy", &own.policy.to_be_bytes(), &got.policy.to_be_bytes(), false)?;
        same("VMPL", &own.vmpl.to_be_bytes(), &got.vmpl.to_be_bytes(), false)?;
        for number in PEER_PCRS {
            let name = Pcrs::NAMES.get(number).copied().unwrap_or("PCRs");
            let [own, got] = [own, got].map(|vm| vm.pcrs.as_ref().and_then(|pcrs| pcrs.value(number)));
            same(name, own.map_or(&[], |value| value), got.map_or(&[], |value| value), false)?;
        }
        if own.product != got.product {
            return Err(PeerRefusal::Processor { own: own.product, got: got.product });
        }
        if !got.tcb.is_at_least(&own.committed_tcb) {
            return Err(PeerRefusal::Firmware { least: own.committed_tcb, got: got.tcb });
        }
        Ok(())
    }

    /// Whether this Coordinator gives secrets to the peer.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn accepts_receiver(&self, peer: &PeerIdentity) -> Result<(), PeerRefusal> {
        self.accepts(peer)?;
        let [least, got] = [&self.own, peer].map(|who| who.claims.identity.security_version());
        if got < least { Err(PeerRefusal::ReceiverTooOld { least, got }) } else { Ok(()) }
    }

    /// Whether this Coordinator takes secrets from the peer.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn accepts_giver(&self, peer: &PeerIdentity) -> Result<(), PeerRefusal> {
        self.accepts(peer)?;
        let [own, got] = [&self.own, peer].map(|who| who.claims.identity.security_version());
        let least = self.least_giver.unwrap_or(own.saturating_sub(1));
        if got < least { Err(PeerRefusal::GiverTooOld { least, got }) } else { Ok(()) }
    }
}

/// A TDX VM has no signer, so no product either: nothing but the same VM will do. The TDX module is the host's, and is
/// judged with the platform.
fn accepts_tdx(own: &TdxIdentity, got: &TdxIdentity) -> Result<(), PeerRefusal> {
    own.fields()
        .into_iter()
        .zip(got.fields())
        .try_for_each(|((field, own), (_, got))| same(field, own, got, field == "MRSEAM"))
}

fn same(field: &'static str, own: &[u8], got: &[u8], is_free: bool) -> Result<(), PeerRefusal> {
    if is_free || own == got {
        return Ok(());
    }
    let [own, got] = [own, got].map(hex::encode);
    Err(PeerRefusal::Vm { field, own, got })
}

#[cfg(test)]
mod tests;
