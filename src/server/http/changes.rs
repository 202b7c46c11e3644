//! `.../changes` and `.../export.automerge`: what a store has been, as patches and as a document.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::conditions::Conditions;
use super::query::ChangesQuery;
use super::{JSON, Stand, in_the_past, moments, no_such_version, sees_all, state_of, unexpected};
use crate::ids::Seq;
use crate::json::{Json, JsonPatch, between};
use crate::limits;
use crate::server::caller::{Caller, Named};
use crate::server::problem::{PROBLEM, Problem, ReadProblems};
use crate::workspace::{Answer, Ask, At, Cursor, Moment, Moments};

/// The commits after a seq.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct Page {
    /// One for each commit, in order.
    changes: Vec<Change>,
    /// The newest seq of the store.
    seq: u64,
    /// Where to go on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<u64>,
}

/// One commit.
#[derive(Debug, Serialize, ToSchema)]
struct Change {
    seq: u64,
    /// Milliseconds since 1970.
    time: u64,
    user: String,
    dialect: &'static str,
    /// Turns the state before it into that at `seq`.
    #[schema(value_type = Vec<serde_json::Value>)]
    patch: JsonPatch,
}

/// `GET .../changes?since=seq`: every commit after it as a patch, with who made it and when.
#[utoipa::path(
    get,
    operation_id = "list_changes",
    path = "/v1/workspaces/{workspace}/stores/{store}/changes",
    tag = "history",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("since" = u64, Query, description = "a seq"),
        ("limit" = Option<u64>, Query, description = "1 to 1,000 commits"),
    ),
    responses(
        (status = 200, description = "the commits after it", body = Page, content_type = JSON),
        (status = 410, description = "`version-gone`", body = Problem, content_type = PROBLEM),
        ReadProblems,
    ),
)]
pub(in crate::server) async fn list(
    caller: Caller,
    Named(store): Named,
    query: ChangesQuery,
) -> Result<Response, Problem> {
    let is_whole = sees_all(&caller, &store);
    let found = moments(&caller, store, At::Seq(query.since), query.limit).await?;
    if found.moments.is_empty() {
        return Err(no_such_version());
    }
    let text = in_the_past(&caller.seats, move || changes_text(&found, is_whole)).await??;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(JSON)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ];
    Ok((headers, text).into_response())
}

fn changes_text(found: &Moments, is_whole: bool) -> Result<String, Problem> {
    serde_json::to_string(&changes(found, is_whole)?)
        .map_err(|error| Problem::internal(error.to_string()))
}

/// Who sees a part is not told of commits that changed nothing in it: who made them, and when.
fn changes(found: &Moments, is_whole: bool) -> Result<Page, Problem> {
    let mut budget = Budget::default();
    let (mut changes, mut last) = (Vec::new(), Seq::default());
    let mut before: Option<Json> = None;
    for moment in &found.moments {
        if budget.is_spent() {
            break;
        }
        let after = state_of(found, moment)?;
        budget.note_read(moment, &after);
        let seq = moment.seq.unwrap_or_default();
        if let Some(before) = &before {
            let patch = between(before, &after, &found.identity);
            let is_shown = is_whole || !patch.ops.is_empty();
            budget.note_written(&patch);
            let (user, dialect) = match &moment.author {
                Some((user, dialect)) => (user.to_string(), dialect.as_str()),
                None => (String::new(), ""),
            };
            if is_shown {
                changes.push(Change { seq: seq.0, time: moment.time.0, user, dialect, patch });
            }
        }
        (before, last) = (Some(after), seq);
    }
    let next = (last < found.newest).then_some(last.0);
    Ok(Page { changes, seq: found.newest.0, next })
}

/// What may still be read and written for one answer. It never ends before the first commit.
#[derive(Debug, Default)]
struct Budget {
    moments: usize,
    read: usize,
    written: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.moments > 1
            && (self.read > limits::CHANGES_READ_BYTES_MAX
                || self.written > limits::CHANGES_BYTES_MAX)
    }

    fn note_read(&mut self, moment: &Moment, state: &Json) {
        self.moments = self.moments.saturating_add(1);
        if !moment.is_at_hand() {
            self.read = self.read.saturating_add(state.encoded_len());
        }
    }

    fn note_written(&mut self, patch: &JsonPatch) {
        let values = patch.ops.iter().map(|op| match op {
            crate::json::JsonOp::Add { value, .. } | crate::json::JsonOp::Replace { value, .. } => {
                value.encoded_len().saturating_add(limits::MESSAGE_FRAMING_BYTES)
            }
            _ => limits::MESSAGE_FRAMING_BYTES,
        });
        self.written = self.written.saturating_add(values.sum());
    }
}

/// `GET .../export.automerge`: the document with its whole history, as Automerge saves it.
#[utoipa::path(
    get,
    operation_id = "export_store",
    path = "/v1/workspaces/{workspace}/stores/{store}/export.automerge",
    tag = "history",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("If-None-Match" = Option<String>, Header, description = "entity tags, or `*`"),
    ),
    responses(
        (
            status = 200, description = "the document", body = Vec<u8>,
            content_type = "application/vnd.automerge",
            headers(
                ("ETag" = String, description = "the state"),
                ("Statehouse-Seq" = u64, description = "its seq"),
                ("Content-Disposition" = String, description = "a name for the file"),
            )
        ),
        (
            status = 304, description = "as it was",
            headers(
                ("ETag" = String, description = "the state"),
                ("Statehouse-Seq" = u64, description = "its seq"),
            )
        ),
        ReadProblems,
    ),
)]
pub(in crate::server) async fn export(
    caller: Caller,
    Named(store): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let conditions = Conditions::read(&headers)?;
    let name = store.to_string();
    let answer = caller.ask(Ask::Document { store }).await?;
    let Answer::Document { document, cursor } = answer else { return Err(unexpected()) };
    let Cursor { seq, heads } = cursor;
    let stand = Stand { is_whole: true, seq: Some(seq), heads };
    if conditions.none_matches.hold(&stand.heads) {
        return Ok((StatusCode::NOT_MODIFIED, stand.headers()).into_response());
    }
    let saved = in_the_past(&caller.seats, move || document.save()).await?;
    let saved = saved.map_err(|error| Problem::internal(error.to_string()))?;
    let mut answer = stand.headers();
    let kind = HeaderValue::from_static("application/vnd.automerge");
    answer.insert(header::CONTENT_TYPE, kind);
    // A name of a store needs no escaping here.
    let file = HeaderValue::try_from(format!("attachment; filename=\"{name}.automerge\""));
    answer.extend(file.ok().map(|file| (header::CONTENT_DISPOSITION, file)));
    Ok((answer, saved).into_response())
}
