//! The requests of a place, built and sent: what to ask for, under which name, and how much of it.

use aws_lc_rs::digest;
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource as _;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::Request as Build;
use marblerun_store::cluster::{PlaceError, WriteFailure};
use serde::Serialize;

use crate::exchange::{Answer, Exchange, READING, WRITING};
use crate::names::Names;
use crate::refusals::Refusals;
use crate::verdict::{self, Asked};

/// What all requests of a place have in common.
pub(crate) struct Caller {
    pub(crate) exchange: Exchange,
    pub(crate) names: Names,
    /// Who owns what is written, as the API server notes it.
    pub(crate) manager: String,
    pub(crate) refusals: Refusals,
}

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }

    pub(crate) fn build(self, namespace: &str) -> Build {
        Build::new(match self {
            Self::Secret => Secret::url_path(&(), Some(namespace)),
            Self::ConfigMap => ConfigMap::url_path(&(), Some(namespace)),
        })
    }
}

/// How much of an object to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Metadata,
}

type Built = Result<Request<Vec<u8>>, kube::core::request::Error>;

impl Caller {
    pub(crate) fn asked<'a>(&'a self, verb: &'static str, kind: Kind, name: &'a str) -> Asked<'a> {
        Asked { verb, resource: kind.resource(), name, namespace: self.names.namespace() }
    }

    fn build(&self, kind: Kind) -> Build {
        kind.build(self.names.namespace())
    }

    /// `None`: there is none.
    pub(crate) fn get(&self, kind: Kind, name: &str, extent: Extent) -> Result<Option<Answer>, PlaceError> {
        // Without a resourceVersion the API server asks its database.
        let newest = GetParams::default();
        let request = match extent {
            Extent::Whole => self.build(kind).get(name, &newest),
            Extent::Metadata => self.build(kind).get_metadata(name, &newest),
        };
        let request = request.map_err(|error| PlaceError::Refused(error.to_string()))?;
        verdict::of_read(self.asked("get", kind, name), self.exchange.wait_for(request, READING))
    }

    /// Makes an object, and never changes one that another manager made: the fields are that one's, which is a conflict.
    pub(crate) fn create<T: Serialize + std::fmt::Debug>(
        &self,
        kind: Kind,
        name: &str,
        object: &T,
    ) -> Result<Answer, WriteFailure> {
        let json = json(object)?;
        let manager = self.creator(&json);
        // Not forced: `PatchParams::apply` leaves that off.
        let request = self.build(kind).patch(name, &PatchParams::apply(&manager), &Patch::Apply(object));
        match self.write(self.asked("patch", kind, name), request) {
            Err(WriteFailure::Forbidden(_)) => {}
            answer => return answer,
        }
        let params = PostParams { field_manager: Some(manager), ..PostParams::default() };
        let answer = self.write(self.asked("create", kind, name), self.build(kind).create(&params, json));
        if !matches!(answer, Err(WriteFailure::Forbidden(_))) {
            let effect = "objects are created by POST, so the right to create them cannot be limited to their names";
            self.refusals.note(self.asked("patch", kind, name), effect);
        }
        answer
    }

    /// Replaces an object by one that says which version it replaces.
    pub(crate) fn put<T: Serialize>(&self, kind: Kind, name: &str, object: &T) -> Result<Answer, WriteFailure> {
        let params = PostParams { field_manager: Some(self.manager.clone()), ..PostParams::default() };
        self.write(self.asked("update", kind, name), self.build(kind).replace(name, &params, json(object)?))
    }

    /// Changes what a merge patch names.
    pub(crate) fn merge(&self, kind: Kind, name: &str, patch: &serde_json::Value) -> Result<Answer, WriteFailure> {
        let params = PatchParams { field_manager: Some(self.manager.clone()), ..PatchParams::default() };
        self.write(self.asked("patch", kind, name), self.build(kind).patch(name, &params, &Patch::Merge(patch)))
    }

    /// Who owns what is created, as the API server notes it: this process **and this content**. A manager may change its
    /// own fields without a conflict, so with one name for all attempts of a process an attempt that arrives late would
    /// silently replace what a later one of the same process had made.
    fn creator(&self, json: &[u8]) -> String {
        let digest = digest::digest(&digest::SHA256, json);
        format!("{}-{}", self.manager, hex::encode(digest.as_ref().get(..8).unwrap_or_default()))
    }

    fn write(&self, asked: Asked<'_>, request: Built) -> Result<Answer, WriteFailure> {
        let request = request.map_err(|error| WriteFailure::Refused(error.to_string()))?;
        verdict::of_write(asked, self.exchange.wait_for(request, WRITING))
    }
}

fn json<T: Serialize>(object: &T) -> Result<Vec<u8>, WriteFailure> {
    serde_json::to_vec(object).map_err(|error| WriteFailure::Refused(error.to_string()))
}
