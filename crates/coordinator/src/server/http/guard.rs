//! Who may use a route. A route is registered together with its guard, and its handler takes what the guard
//! proved; so a route without a guard, or a handler behind the wrong one, does not compile.
//!
//! Guards run before the body is read. The phase a request needs is checked by the use case, in the
//! transaction that relies on it.

use std::future::Future;

use crate::core::{Coordinator, MarbleIdentity, PeerCertificate};
use crate::error::{Error, ErrorKind};

/// Admits a request or refuses it.
pub(in crate::server) trait Guard: Send + Sync + 'static {
    /// What an admitted request has proved.
    type Pass: Send + 'static;

    /// Decides from the state and the client's certificate.
    ///
    /// # Errors
    /// The refusal.
    fn admit(
        &self,
        coordinator: &Coordinator,
        peer: Option<&PeerCertificate>,
    ) -> impl Future<Output = Result<Self::Pass, Error>> + Send;
}

/// Everybody.
pub(in crate::server) struct Anyone;

/// Users of the manifest in force.
pub(in crate::server) struct Users;

/// Users of the newest manifest, for what is read from the published state then.
pub(in crate::server) struct UsersNow;

/// Users of the manifest that is in force at this instance, whatever another state says.
pub(in crate::server) struct UsersHere;

/// Everybody, if the manifest in force switches a feature on.
pub(in crate::server) struct WithFeature(pub(in crate::server) &'static str);

/// Marbles of this deployment, if the manifest in force switches a feature on.
pub(in crate::server) struct MarblesWithFeature(pub(in crate::server) &'static str);

/// A certificate that belonged to a user when the request came.
pub(in crate::server) struct UserPass {
    /// For the use case, which looks the user up again in the state it works on.
    pub(in crate::server) certificate: PeerCertificate,
}

impl Guard for Anyone {
    type Pass = ();

    async fn admit(&self, _: &Coordinator, _: Option<&PeerCertificate>) -> Result<(), Error> {
        Ok(())
    }
}

impl Guard for Users {
    type Pass = UserPass;

    async fn admit(&self, coordinator: &Coordinator, peer: Option<&PeerCertificate>) -> Result<UserPass, Error> {
        coordinator.authenticate_user(peer).await?;
        UserPass::of(peer)
    }
}

impl Guard for UsersNow {
    type Pass = UserPass;

    async fn admit(&self, coordinator: &Coordinator, peer: Option<&PeerCertificate>) -> Result<UserPass, Error> {
        coordinator.authenticate_user_now(peer).await?;
        UserPass::of(peer)
    }
}

impl Guard for UsersHere {
    type Pass = UserPass;

    async fn admit(&self, coordinator: &Coordinator, peer: Option<&PeerCertificate>) -> Result<UserPass, Error> {
        coordinator.authenticate_user_here(peer).await?;
        UserPass::of(peer)
    }
}

impl UserPass {
    fn of(peer: Option<&PeerCertificate>) -> Result<Self, Error> {
        let certificate = peer.cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Unauthorized,
                "unauthorized_user",
                "unauthorized user: no client certificate provided",
            )
        })?;
        Ok(Self { certificate })
    }
}

impl Guard for WithFeature {
    type Pass = ();

    async fn admit(&self, coordinator: &Coordinator, _: Option<&PeerCertificate>) -> Result<(), Error> {
        coordinator.require_feature(self.0).await
    }
}

impl Guard for MarblesWithFeature {
    type Pass = MarbleIdentity;

    async fn admit(&self, coordinator: &Coordinator, peer: Option<&PeerCertificate>) -> Result<MarbleIdentity, Error> {
        coordinator.require_feature(self.0).await?;
        coordinator.authenticate_marble(peer).await
    }
}
