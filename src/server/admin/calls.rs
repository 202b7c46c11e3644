//! Calls of webhooks that were given up: to look at, and to make again.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Office;
use crate::ids::Millis;
use crate::limits;
use crate::server::problem::Problem;
use crate::storage::{self, CallId, GivenUpCall, StorageError, time_of};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// The id of the last call on the page before.
    after: Option<u64>,
}

/// One page of them. What they tell, the values before and after, is not told here.
#[derive(Debug, Serialize)]
pub(super) struct GivenUp {
    calls: Vec<Entry>,
    /// Where the next page begins: `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: u64,
    webhook: String,
    workspace: String,
    store: String,
    seq: u64,
    path: String,
    /// When the commit was made, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
}

impl From<GivenUpCall> for Entry {
    fn from(given_up: GivenUpCall) -> Self {
        let GivenUpCall { id, lane, call } = given_up;
        Self {
            id: id.0,
            webhook: lane.webhook.to_string(),
            workspace: lane.workspace.to_string(),
            store: lane.store.to_string(),
            seq: call.seq.0,
            path: call.path.to_string(),
            time: time_of(&call.told).map(|Millis(time)| time),
        }
    }
}

/// How many wait again.
#[derive(Debug, Serialize)]
pub(super) struct Retried {
    retried: usize,
    /// How many do not, because their webhooks are not configured any more.
    left: usize,
}

/// `GET /webhooks/given-up`.
pub(super) async fn list(
    State(office): State<Office>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<GivenUp>, Problem> {
    let Query(page) = page.map_err(|error| Problem::bad_query(error.body_text()))?;
    let after = page.after.map(CallId);
    let most = limits::GIVEN_UP_PAGE_MAX;
    let page = office.ledger.ask(move |log| log.given_up(after, most)).await;
    let page = page.map_err(|error| failed(&error))?;
    let calls = page.calls.into_iter().map(Entry::from).collect();
    Ok(Json(GivenUp { calls, next: page.next.map(|next| next.0) }))
}

/// `POST /webhooks/given-up/{id}/retry`.
pub(super) async fn retry(
    State(office): State<Office>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Retried>, Problem> {
    let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, "bad-name", detail);
    let Path(id) = id.map_err(|error| bad(error.body_text()))?;
    match again(&office, Some(CallId(id))).await? {
        Retried { retried: 0, left: 1.. } => {
            let detail = "the webhook of this call is not configured any more";
            Err(Problem::new(StatusCode::CONFLICT, "no-such-webhook", detail))
        }
        Retried { retried: 0, left: 0 } => {
            let detail = "no call of this id was given up and is kept";
            Err(Problem::new(StatusCode::NOT_FOUND, "no-such-call", detail))
        }
        retried => Ok(Json(retried)),
    }
}

/// `POST /webhooks/given-up/retry`.
pub(super) async fn retry_all(State(office): State<Office>) -> Result<Json<Retried>, Problem> {
    again(&office, None).await.map(Json)
}

async fn again(office: &Office, id: Option<CallId>) -> Result<Retried, Problem> {
    let webhooks = office.ledger.webhooks();
    let asked = office.ledger.ask(move |log| log.retry(id, &webhooks)).await;
    let storage::Retried { waiting, left } = asked.map_err(|error| failed(&error))?;
    if waiting > 0 {
        office.news.add_any();
    }
    Ok(Retried { retried: waiting, left })
}

fn failed(error: &StorageError) -> Problem {
    tracing::error!(%error, "the calls of webhooks cannot be looked at");
    Problem::internal("the log failed; its own log says more")
}
