//! What the answers of v1 and v2 have in common.

use std::collections::{BTreeMap, BTreeSet};

use marblerun_api::bytes::Base64;
use marblerun_api::v2;

use crate::error::{Error, ErrorKind};
use crate::server::http::dialect::Refusal;
use crate::server::http::envelope::{self, Answer};
use crate::server::http::guard::UserPass;
use crate::server::http::query;
use crate::server::http::router::Call;

/// Answer to the last acknowledgement.
pub(super) const APPLIED: &str = "All users have acknowledged the update manifest. Update successfully applied";

/// Answer to a cancellation.
pub(super) const CANCELLED: &str = "Update successfully cancelled";

/// How many acknowledgements are missing, in words.
pub(super) fn still_needed(missing: i64) -> String {
    match missing {
        1 => "1 user still needs to acknowledge the update manifest".to_owned(),
        n => format!("{n} users still need to acknowledge the update manifest"),
    }
}

/// Party to ciphertext, as it goes out.
pub(super) fn base64_map(map: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Base64> {
    map.into_iter().map(|(name, bytes)| (name, Base64(bytes))).collect()
}

/// The secrets named by `s` parameters.
pub(super) async fn read_secrets(call: &Call<UserPass>) -> Result<BTreeMap<String, v2::Secret>, Error> {
    let bad_query = |message: &str| Error::new(ErrorKind::BadRequest, "bad_query", message);
    let mut names = query::values(&call.query, "s");
    if names.is_empty() {
        return Err(bad_query("invalid query: endpoint requires at least one query parameter"));
    }
    if names.iter().any(String::is_empty) {
        return Err(bad_query("malformed query string: empty query parameter"));
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    call.coordinator().read_secrets(Some(&call.pass.certificate), &names).await
}

/// `GET update-manifest`, the same in both versions.
pub(super) async fn pending_update(call: Call<()>) -> Result<Answer, Refusal> {
    let (raw, missing_users, missing) = call.coordinator().pending_update().await?;
    Ok(envelope::success(&v2::PendingUpdate {
        manifest: Base64(raw),
        message: still_needed(missing),
        missing_users: Some(missing_users),
    }))
}
