//! `GET /v1/workspaces/{workspace}`: its stores, where each stands and how large it is.

use axum::Json;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::http::JSON;
use super::problem::{Problem, ReadProblems};
use crate::ids::{DocumentId, WorkspaceId};
use crate::workspace::{Answer, Ask, Overview};

/// The stores of a workspace, in the order in which a hello is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing {
    workspace: String,
    stores: Vec<Entry>,
}

/// One store. What is only known of a store that can be read is left out where it cannot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    /// The id under which Automerge repositories know it.
    document_id: String,
    automerge_url: String,
    persistent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// The Automerge heads, in hex, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    heads: Option<Vec<String>>,
    /// The length of the state as compact JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unavailable: bool,
}

impl Entry {
    fn new(workspace: &WorkspaceId, overview: Overview) -> Self {
        let Overview { store, persistent, stand } = overview;
        let (cursor, bytes) = stand.unzip();
        let id = DocumentId::of(workspace, &store);
        Self {
            name: store.to_string(),
            document_id: id.to_string(),
            automerge_url: id.url(),
            persistent,
            seq: cursor.as_ref().map(|cursor| cursor.seq.0),
            unavailable: cursor.is_none(),
            heads: cursor.map(|cursor| cursor.heads.iter().map(ToString::to_string).collect()),
            bytes,
        }
    }
}

/// Answers with the stores that all sessions share. It loads them; what it tells of is durable.
#[utoipa::path(
    get,
    operation_id = "list_stores",
    path = "/v1/workspaces/{workspace}",
    tag = "workspaces",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
    ),
    responses(
        (status = 200, description = "its stores", body = Listing, content_type = JSON),
        ReadProblems,
    ),
)]
pub(super) async fn serve(caller: Caller) -> Result<Json<Listing>, Problem> {
    let answer = caller.ask(Ask::Overview).await?;
    let Answer::Overview(stores) = answer else {
        let detail = "the workspace answered another question";
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail));
    };
    let stores = stores.into_iter().map(|store| Entry::new(&caller.workspace, store)).collect();
    Ok(Json(Listing { workspace: caller.workspace.to_string(), stores }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_read_is_named() {
        let (workspace, store) = ("w".parse().unwrap(), "a".parse().unwrap());
        let id = DocumentId::of(&workspace, &store);
        let overview = Overview { store, persistent: true, stand: None };
        let entry = serde_json::to_value(Entry::new(&workspace, overview)).unwrap();
        let expected = serde_json::json!({
            "name": "a", "documentId": id.to_string(), "automergeUrl": format!("automerge:{id}"),
            "persistent": true, "unavailable": true,
        });
        assert_eq!(entry, expected);
    }
}
