//! Workspaces and stores as the path of a request names them.

use std::fmt::Display;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;

use super::problem::Problem;
use crate::ids::{StoreName, WorkspaceId};

/// The workspace in a path.
pub(super) fn workspace(path: Result<Path<String>, PathRejection>) -> Result<WorkspaceId, Problem> {
    let Path(workspace) = path.map_err(|error| bad_name(error.body_text()))?;
    workspace.parse().map_err(bad_name)
}

/// The workspace in a path, and the store after it.
pub(super) fn store(
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(WorkspaceId, StoreName), Problem> {
    let Path((workspace, store)) = path.map_err(|error| bad_name(error.body_text()))?;
    let workspace = workspace.parse().map_err(|error| bad_name(format!("workspace: {error}")))?;
    let store = store.parse().map_err(|error| bad_name(format!("store: {error}")))?;
    Ok((workspace, store))
}

fn bad_name(detail: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-name", detail.to_string())
}
