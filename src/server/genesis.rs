//! `GET .../stores/{store}/genesis`: the first change of a store, so that an Automerge client may
//! start offline from the same beginning as everyone else.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::caller::{Caller, Named};
use super::problem::{Problem, ReadProblems};
use crate::document::genesis;
use crate::ids::StoreName;
use crate::workspace::{Answer, Ask};

/// Answers with the change as Automerge encodes it, or 204 if the store starts empty.
#[utoipa::path(
    get,
    operation_id = "read_genesis",
    path = "/v1/workspaces/{workspace}/stores/{store}/genesis",
    tag = "history",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
    ),
    responses(
        (
            status = 200, description = "the first change", body = Vec<u8>,
            content_type = "application/octet-stream"
        ),
        (status = 204, description = "it starts empty"),
        ReadProblems,
    ),
)]
pub(super) async fn serve(caller: Caller, Named(name): Named) -> Result<Response, Problem> {
    let rules = &caller.seats.workspace;
    // It is the initial state: whoever may not read all of the store may not read all of that.
    let is_whole = caller.rights.reading(&name).is_whole();
    if !(rules.allows(&name) && is_whole && may_be(&caller, &name).await?) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-store", "there is no such store"));
    }
    let store = rules.store(&name);
    let change = genesis(&name, &store.initial, &Arc::new(store.policy)).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    Ok(match change {
        Some(bytes) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Whether there is such a store, or could be if the caller wrote to it.
async fn may_be(caller: &Caller, name: &StoreName) -> Result<bool, Problem> {
    let is_listed = caller.seats.workspace.stores.iter().any(|store| store.name == *name);
    if is_listed || caller.rights.writes(name) {
        return Ok(true);
    }
    let answer = caller.ask(Ask::Stores).await?;
    let Answer::Stores(stores) = answer else {
        return Err(Problem::internal("the workspace answered another question"));
    };
    Ok(stores.iter().any(|(store, _)| store == name))
}
