//! Who makes a request, and in which workspace: the one way in for every path below a workspace,
//! whatever dialect is spoken behind it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::Seats;
use super::problem::Problem;
use crate::hub::HubError;
use crate::ids::{StoreName, WorkspaceId};
use crate::protocol::codes;
use crate::workspace::{ANONYMOUS, Answer, Ask};

/// The author of a request, let in to the workspace that its path names.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) seats: Seats,
    pub(super) workspace: WorkspaceId,
    /// As whom he is known: stamped on commits and presence.
    pub(super) user: Arc<str>,
}

impl FromRequestParts<Seats> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let workspace = named(parts, seats, "workspace").await?.parse().map_err(bad_name)?;
        if !seats.rules.origins.allow(&parts.headers) {
            let detail = "pages of this origin may not connect; see `origins` in the configuration";
            return Err(Problem::new(StatusCode::FORBIDDEN, "bad-origin", detail));
        }
        seats.check_running()?;
        Ok(Self { seats: seats.clone(), workspace, user: ANONYMOUS.into() })
    }
}

impl Caller {
    /// Asks the workspace something.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, Problem> {
        let workspace = &self.workspace;
        self.seats.hub.ask(workspace, ask).await.map_err(|error| {
            tracing::warn!(%workspace, %error, "a request was refused");
            refused(&error)
        })
    }
}

/// The store that the path of a request names.
#[derive(Debug)]
pub(super) struct Named(pub(super) StoreName);

impl FromRequestParts<Seats> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let name = named(parts, seats, "store").await?.parse();
        Ok(Self(name.map_err(|error| bad_name(format!("store: {error}")))?))
    }
}

async fn named(parts: &mut Parts, seats: &Seats, what: &str) -> Result<String, Problem> {
    let path = Path::<BTreeMap<String, String>>::from_request_parts(parts, seats).await;
    let Path(mut names) = path.map_err(|error| bad_name(error.body_text()))?;
    names.remove(what).ok_or_else(|| bad_name(format!("the path names no {what}")))
}

fn bad_name(detail: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-name", detail.to_string())
}

/// All of it passes: the client may ask again.
fn refused(error: &HubError) -> Problem {
    let (code, detail) = match error {
        HubError::Refused(refusal) => (codes::error_code(refusal), refusal.to_string()),
        // What the disk says is for the log.
        HubError::Storage(_) => ("unavailable", "the workspace cannot be opened".to_owned()),
        HubError::Closed => ("shutting-down", "the server is about to stop".to_owned()),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
}
