//! The JSend-like envelope around every v1 and v2 answer.

use serde::{Deserialize, Serialize};

/// `{"status": .., "data": .., "message": ..}`; `data` is always present, `message` only if not empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// `success`, `fail` (v2 client mistakes) or `error`.
    pub status: String,
    /// The payload, `null` where there is none.
    pub data: Option<T>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
