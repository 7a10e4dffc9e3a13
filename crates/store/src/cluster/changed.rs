//! What a watch of the place says: a reason to look, and nothing to rely on.

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Changed {
    /// The object.
    State,
    /// The named values of the hosts.
    HostKeys,
    /// Who the other Coordinators are, or whether they are ready.
    Peers,
}
