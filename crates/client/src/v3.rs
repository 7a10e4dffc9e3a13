//! What API v3 adds. Coordinators of other makes do not have it: then there is no answer, and no error.

use marblerun_api::v3;

use crate::rest::Data;
use crate::{Client, ClientError};

impl Client {
    /// The packages in force, with their present security versions. `None` if the Coordinator has no API v3.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn packages_in_force(&self) -> Result<Option<v3::Packages>, ClientError> {
        where_there_is(self.rest.get("/api/v3/packages", &[]).await)?
            .map(|data| data.object("packages", &["packages"]))
            .transpose()
    }

    /// State, version and identity of the Coordinator. `None` if it has no API v3.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status_v3(&self) -> Result<Option<v3::Status>, ClientError> {
        where_there_is(self.rest.get("/api/v3/status", &[]).await)?.map(|data| data.object("status", &[])).transpose()
    }
}

/// Go's router answers 405 for what it does not know, others 404.
fn where_there_is(answer: Result<Data, ClientError>) -> Result<Option<Data>, ClientError> {
    match answer {
        Err(error) if matches!(error.code(), Some(404 | 405)) => Ok(None),
        other => other.map(Some),
    }
}
