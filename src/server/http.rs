//! `.../stores/{store}`: a store as a resource that is read, patched, set, and read as it was.
//!
//! What comes in becomes one question to the workspace, the same that server code asks; nothing is
//! decided here about states. An edit that names an older state (`If-Match`) is made on that state
//! and merges, unless the client prefers that it be refused.

pub(super) mod body;
pub(super) mod changes;
mod conditions;
pub(super) mod query;
pub(super) mod tag;

use std::sync::Arc;

use automerge::ChangeHash;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Seats;
use super::caller::{Caller, Named};
use super::problem::{BodyProblems, PROBLEM, Problem, ReadProblems, WriteProblems};
use crate::hub::host::blocking;
use crate::ids::{Seq, StoreName};
use crate::json::{Json, JsonOp, JsonPatch, Pointer};
use crate::limits;
use crate::protocol::json::{read_json_patch, read_value};
use crate::workspace::{Answer, Ask, At, Author, Cursor, Edit, Moment, Moments, Terms, Write};
use conditions::{Conditions, Tags};
use query::StoreQuery;
use tag::Tag;

/// The header that says which seq an answer is about.
pub(super) const SEQ: HeaderName = HeaderName::from_static("statehouse-seq");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const PATCHES: &str = "application/json-patch+json, application/merge-patch+json";
/// What may be done with a store.
const ALLOW: &str = "GET, HEAD, PATCH, PUT, DELETE, OPTIONS";

/// What an answer is about: a state of a store.
#[derive(Debug)]
struct Stand {
    /// Whether the caller sees all of it. A tag names a state, not a part of it: who sees a part is
    /// given none, and none of his counts, since what he may see can be another part tomorrow.
    is_whole: bool,
    /// `None`: of a former state, of which only the heads are known.
    seq: Option<Seq>,
    heads: Vec<ChangeHash>,
}

impl Stand {
    fn tag(&self) -> Option<HeaderValue> {
        if !self.is_whole {
            return None;
        }
        let cursor = Cursor { seq: self.seq.unwrap_or_default(), heads: self.heads.clone() };
        Tag::of(cursor).header()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.extend(self.tag().map(|tag| (header::ETAG, tag)));
        headers.extend(self.seq.map(|seq| (SEQ, HeaderValue::from(seq.0))));
        // It may be kept, and must be asked for again before it is used.
        let revalidated = HeaderValue::from_static("private, no-cache");
        headers.insert(header::CACHE_CONTROL, revalidated);
        headers
    }
}

/// `GET` and `HEAD`: the state, or the value at one place of it, now or as it was.
#[utoipa::path(
    get,
    operation_id = "read_store",
    path = "/v1/workspaces/{workspace}/stores/{store}",
    tag = "stores",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("path" = Option<String>, Query, description = "a JSON Pointer"),
        ("at" = Option<String>, Query, description = "a seq, an entity tag, or heads in hex"),
        ("If-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "entity tags, or `*`"),
    ),
    responses(
        (
            status = 200, description = "the state, or the value at `path`",
            body = serde_json::Value, content_type = JSON,
            headers(
                ("ETag" = String, description = "if the caller sees all of it: the state"),
                ("Statehouse-Seq" = u64, description = "if it is known: its seq"),
            )
        ),
        (
            status = 304, description = "as it was",
            headers(
                ("ETag" = String, description = "if the caller sees all of it: the state"),
                ("Statehouse-Seq" = u64, description = "if it is known: its seq"),
            )
        ),
        (status = 410, description = "`version-gone`", body = Problem, content_type = PROBLEM),
        (
            status = 412, description = "`precondition-failed`", body = Problem,
            content_type = PROBLEM
        ),
        ReadProblems,
    ),
)]
pub(super) async fn read(
    caller: Caller,
    Named(store): Named,
    query: StoreQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let conditions = conditions(&caller, &store, &headers)?;
    let (state, stand) = match query.at {
        None => newest(&caller, store).await?,
        Some(at) => former(&caller, store, at).await?,
    };
    if conditions.matches != Tags::Absent && !conditions.matches.hold_strongly(&stand.heads) {
        let detail = "the state is none of those in If-Match";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail));
    }
    if conditions.none_matches.hold(&stand.heads) {
        return Ok((StatusCode::NOT_MODIFIED, stand.headers()).into_response());
    }
    let place = query.path.unwrap_or_default();
    let value = state.get(&place).cloned().ok_or_else(no_such_value)?;
    let mut answer = stand.headers();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok((answer, written(&caller.seats, value).await?).into_response())
}

/// The conditions of a request. The tags in those of a caller who sees only a part are as if nobody
/// had made them.
fn conditions(
    caller: &Caller,
    store: &StoreName,
    headers: &HeaderMap,
) -> Result<Conditions, Problem> {
    let conditions = Conditions::read(headers)?;
    Ok(if sees_all(caller, store) { conditions } else { conditions.without_tags() })
}

fn sees_all(caller: &Caller, store: &StoreName) -> bool {
    caller.rights.reading(store).is_whole()
}

async fn newest(caller: &Caller, store: StoreName) -> Result<(Json, Stand), Problem> {
    let is_whole = sees_all(caller, &store);
    match caller.ask(Ask::Get { store }).await? {
        Answer::State { state, cursor: Cursor { seq, heads } } => {
            Ok((state, Stand { is_whole, seq: Some(seq), heads }))
        }
        _ => Err(unexpected()),
    }
}

async fn former(caller: &Caller, store: StoreName, at: At) -> Result<(Json, Stand), Problem> {
    let is_whole = sees_all(caller, &store);
    let moments = moments(caller, store, at, 0).await?;
    let Some(moment) = moments.moments.first() else { return Err(no_such_version()) };
    let stand = Stand { is_whole, seq: moment.seq, heads: moment.heads.clone() };
    let state = if moment.is_at_hand() {
        state_of(&moments, moment)?
    } else {
        let moment = moment.clone();
        in_the_past(&caller.seats, move || state_of(&moments, &moment)).await??
    };
    Ok((state, stand))
}

/// The state of a store at a position.
pub(super) async fn state_at(caller: &Caller, store: StoreName, at: At) -> Result<Json, Problem> {
    former(caller, store, at).await.map(|(state, _)| state)
}

/// The moments of a store from a position on.
async fn moments(
    caller: &Caller,
    store: StoreName,
    from: At,
    more: usize,
) -> Result<Moments, Problem> {
    match caller.ask(Ask::Moments { store, from, more }).await {
        Ok(Answer::Moments(moments)) => Ok(moments),
        Ok(_) => Err(unexpected()),
        Err(problem) if problem.code() == "stale" => Err(Problem::new(
            StatusCode::GONE,
            "version-gone",
            "the history does not reach back that far",
        )),
        Err(problem) => Err(problem),
    }
}

fn state_of(moments: &Moments, moment: &Moment) -> Result<Json, Problem> {
    moments.json(moment).map_err(|error| Problem::internal(error.to_string()))
}

/// Does what reads much where it holds nobody up, and only a few at a time.
async fn in_the_past<T: Send + 'static>(
    seats: &Seats,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let place = Arc::clone(&seats.past).acquire_owned().await;
    let reading = move || {
        let read = work();
        drop(place);
        read
    };
    blocking(&**seats.hub.host(), reading).await.map_err(Problem::internal)
}

/// The value as text; a large one is written where that holds up nobody.
async fn written(seats: &Seats, value: Json) -> Result<String, Problem> {
    if value.encoded_len() <= limits::ANSWER_INLINE_BYTES_MAX {
        return Ok(value.to_string());
    }
    blocking(&**seats.hub.host(), move || value.to_string()).await.map_err(Problem::internal)
}

/// `PATCH`: a JSON patch (RFC 6902) or a merge patch (RFC 7396) of the state.
#[utoipa::path(
    patch,
    operation_id = "patch_store",
    path = "/v1/workspaces/{workspace}/stores/{store}",
    tag = "stores",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("If-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        (
            "Prefer" = Option<String>, Header,
            description = "`handling=strict`: refuse, do not merge"
        ),
        ("Idempotency-Key" = Option<String>, Header, description = "done once under this name"),
    ),
    request_body(
        description = "RFC 6902 or RFC 7396",
        content(
            (serde_json::Value = "application/json-patch+json"),
            (serde_json::Value = "application/merge-patch+json"),
        )
    ),
    responses(
        (
            status = 200, description = "done, and durable", body = Done, content_type = JSON,
            headers(
                ("ETag" = String, description = "if it is known: the state"),
                ("Statehouse-Seq" = u64, description = "its seq"),
                (
                    "Preference-Applied" = String,
                    description = "if it was asked for: `handling=strict`"
                ),
            )
        ),
        WriteProblems,
        BodyProblems,
    ),
)]
pub(super) async fn patch(
    caller: Caller,
    Named(store): Named,
    query: StoreQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.is_only_of(false)?;
    let kind = body::media_type(&headers);
    let is_merge = match kind.as_deref() {
        Some(JSON_PATCH) => false,
        Some(MERGE_PATCH) => true,
        _ => return Err(body::unsupported(ACCEPT_PATCH, PATCHES)),
    };
    let body = taken(&caller, &headers, body).await?;
    let edit = if is_merge {
        read_value(&body, &caller.seats.workspace.limits.json).map(Edit::Merge)
    } else {
        read_json_patch(&body).map(Edit::Patch)
    };
    write(&caller, store, &headers, edit.map_err(|refusal| Problem::of(&refusal))?).await
}

/// `PUT`: the whole state, of which what differs is written; with `path`, the value at one place.
#[utoipa::path(
    put,
    operation_id = "put_store",
    path = "/v1/workspaces/{workspace}/stores/{store}",
    tag = "stores",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("path" = Option<String>, Query, description = "a JSON Pointer"),
        ("If-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        (
            "Prefer" = Option<String>, Header,
            description = "`handling=strict`: refuse, do not merge"
        ),
        ("Idempotency-Key" = Option<String>, Header, description = "done once under this name"),
    ),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses(
        (
            status = 200, description = "done, and durable", body = Done, content_type = JSON,
            headers(
                ("ETag" = String, description = "if it is known: the state"),
                ("Statehouse-Seq" = u64, description = "its seq"),
                (
                    "Preference-Applied" = String,
                    description = "if it was asked for: `handling=strict`"
                ),
            )
        ),
        WriteProblems,
        BodyProblems,
    ),
)]
pub(super) async fn put(
    caller: Caller,
    Named(store): Named,
    query: StoreQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query.is_only_of(true)?;
    if body::media_type(&headers).as_deref() != Some(JSON) {
        return Err(body::unsupported(header::ACCEPT, JSON));
    }
    let body = taken(&caller, &headers, body).await?;
    let value = read_value(&body, &caller.seats.workspace.limits.json);
    let value = value.map_err(|refusal| Problem::of(&refusal))?;
    let edit = match query.path {
        Some(path) if !path.is_root() => Edit::Put { path, value },
        Some(_) | None => Edit::Set(value),
    };
    write(&caller, store, &headers, edit).await
}

/// `DELETE` with `path`: takes out the value at one place.
#[utoipa::path(
    delete,
    operation_id = "delete_value",
    path = "/v1/workspaces/{workspace}/stores/{store}",
    tag = "stores",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("store" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("path" = String, Query, description = "a JSON Pointer"),
        ("If-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "entity tags, or `*`"),
        (
            "Prefer" = Option<String>, Header,
            description = "`handling=strict`: refuse, do not merge"
        ),
        ("Idempotency-Key" = Option<String>, Header, description = "done once under this name"),
    ),
    responses(
        (
            status = 200, description = "done, and durable", body = Done, content_type = JSON,
            headers(
                ("ETag" = String, description = "if it is known: the state"),
                ("Statehouse-Seq" = u64, description = "its seq"),
                (
                    "Preference-Applied" = String,
                    description = "if it was asked for: `handling=strict`"
                ),
            )
        ),
        WriteProblems,
    ),
)]
pub(super) async fn delete(
    caller: Caller,
    Named(store): Named,
    query: StoreQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.is_only_of(true)?;
    let Some(path) = query.path.filter(|path: &Pointer| !path.is_root()) else {
        return Err(Problem::bad_query("DELETE takes out the value at `path`, not the store"));
    };
    let edit = Edit::Patch(JsonPatch { ops: vec![JsonOp::Remove { path }] });
    match write(&caller, store, &headers, edit).await {
        Err(problem) if problem.code() == "bad-path" => Err(no_such_value()),
        done => done,
    }
}

/// `OPTIONS`: what may be done (RFC 5789, section 3.1).
pub(super) async fn options(_caller: Caller, Named(_store): Named) -> Response {
    let headers = [
        (header::ALLOW, HeaderValue::from_static(ALLOW)),
        (ACCEPT_PATCH, HeaderValue::from_static(PATCHES)),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn taken(caller: &Caller, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let rules = &caller.seats.rules;
    let allowance =
        body::Allowance { bytes_max: rules.json.message_bytes_max, stall: rules.request };
    body::read(headers, body, allowance).await
}

/// What a write is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    /// The seq of the state with the edit in it.
    seq: u64,
    /// Whether the edit made it another state.
    changed: bool,
}

async fn write(
    caller: &Caller,
    store: StoreName,
    headers: &HeaderMap,
    edit: Edit,
) -> Result<Response, Problem> {
    let is_whole = sees_all(caller, &store);
    let conditions = conditions(caller, &store, headers)?;
    let strict = conditions.strict;
    let done = attempt(caller, store, conditions, edit).await;
    let applied = HeaderValue::from_static("handling=strict");
    let (seq, changed, heads) = match done {
        Ok(Answer::Written { seq, changed, heads }) => (seq, changed, heads),
        Ok(_) => return Err(unexpected()),
        Err(problem) if strict => return Err(problem.with(PREFERENCE_APPLIED, applied)),
        Err(problem) => return Err(problem),
    };
    let mut answer = match heads {
        Some(heads) => Stand { is_whole, seq: Some(seq), heads }.headers(),
        None => HeaderMap::from_iter([(SEQ, HeaderValue::from(seq.0))]),
    };
    if strict {
        answer.insert(PREFERENCE_APPLIED, applied);
    }
    Ok((answer, axum::Json(Done { seq: seq.0, changed })).into_response())
}

/// Makes the edit on the first of the states in `If-Match` on which it can be made.
async fn attempt(
    caller: &Caller,
    store: StoreName,
    conditions: Conditions,
    edit: Edit,
) -> Result<Answer, Problem> {
    let Conditions { matches, none_matches, strict, id } = conditions;
    let mut terms = Terms { id, newest: strict, ..Terms::default() };
    match (&matches, &none_matches) {
        // Nothing is both there and not there.
        (Tags::Any, Tags::Any) => return Err(unmet()),
        (Tags::Any, _) => terms.written = Some(true),
        (_, Tags::Any) => terms.written = Some(false),
        _ => {}
    }
    for tag in none_matches.known() {
        terms.unlike.extend(resolved(caller, &store, tag).await?.map(|cursor| cursor.heads));
    }
    let author = Author::User(caller.user.to_string());
    let ask = |base| {
        let (store, edit) = (store.clone(), edit.clone());
        Ask::Write(Write { store, base, edit, author: author.clone(), terms: terms.clone() })
    };
    if !matches!(matches, Tags::These(_)) {
        return caller.ask(ask(None)).await;
    }
    let mut refusal = unmet();
    for tag in matches.strong() {
        let Some(base) = resolved(caller, &store, tag).await? else { continue };
        match caller.ask(ask(Some(base))).await {
            Err(problem) if matches!(problem.code(), "stale" | "precondition-failed") => {
                refusal = problem;
            }
            done => return done,
        }
    }
    Err(refusal)
}

/// The state that a tag names, as far as it is known.
async fn resolved(
    caller: &Caller,
    store: &StoreName,
    tag: &Tag,
) -> Result<Option<Cursor>, Problem> {
    let seq = match tag {
        Tag::Whole(cursor) => return Ok(Some(cursor.clone())),
        Tag::Hashed { seq, .. } => *seq,
    };
    let found = match moments(caller, store.clone(), At::Seq(seq), 0).await {
        Ok(found) => found.moments,
        Err(problem) if problem.code() == "version-gone" => Vec::new(),
        Err(problem) => return Err(problem),
    };
    let found = found.into_iter().map(|moment| moment.heads).find(|heads| tag.names(heads));
    Ok(found.map(|heads| Cursor { seq, heads }))
}

fn unmet() -> Problem {
    let detail = "the store is not as the request demands";
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
}

/// Never the answer where a value is `null`.
fn no_such_value() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-value", "there is no value at this path")
}

fn no_such_version() -> Problem {
    let detail = "the store has never been in this state";
    Problem::new(StatusCode::NOT_FOUND, "no-such-version", detail)
}

fn unexpected() -> Problem {
    Problem::internal("the workspace answered another question")
}
