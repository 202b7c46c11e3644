//! What went wrong with a request, for programs and for people (RFC 9457).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{self, Content, HeaderBuilder, Object, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::document::DocumentError;
use crate::json::{JsonError, PatchError, PatchErrorKind};
use crate::limits;
use crate::protocol::codes;
use crate::workspace::Refusal;

/// The media type of a problem.
pub(super) const PROBLEM: &str = "application/problem+json";

/// An answer that says why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    /// What a client needs beside it, to do better.
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// `code` is for programs and never changes; `detail` is for people.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    /// The client asks too often: after this time he may again.
    pub(super) fn too_often(wait: Duration) -> Self {
        let detail = "there were too many requests from this address or user";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail);
        problem.with(header::RETRY_AFTER, wait.as_secs().saturating_add(1).into())
    }

    /// What the workspace refused, with the code that a socket would be told.
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self::new(status_of(refusal), codes::error_code(refusal), codes::told(refusal))
    }

    /// The query of a request means nothing.
    pub(super) fn bad_query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-query", detail)
    }

    /// There is nothing at this address; `detail` says where there is something.
    pub(super) fn no_such_resource(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-resource", detail)
    }

    /// It cannot be done at this address.
    pub(super) fn no_such_method() -> Self {
        let detail = "see Allow for what can be done here";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    /// The page that asks is none of those that may.
    pub(super) fn bad_origin() -> Self {
        let detail = "pages of this origin may not connect; see `origins` in the configuration";
        Self::new(StatusCode::FORBIDDEN, "bad-origin", detail)
    }

    /// The server is at fault.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The same with one more header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What programs go by.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// Whether the client has done nothing wrong.
    pub(super) fn is_ours(&self) -> bool {
        self.status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        const TYPE: HeaderValue = HeaderValue::from_static(PROBLEM);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // An empty body is still an answer: the status says most of it.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut headers = HeaderMap::from_iter(self.headers);
        headers.insert(header::CONTENT_TYPE, TYPE);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let usual = limits::RETRY_AFTER_S.into();
            headers.entry(header::RETRY_AFTER).or_insert(usual);
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 11.6.1, and RFC 6750, section 3.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        (status, headers, body).into_response()
    }
}

/// The one table from a refusal to a status (RFC 9110, section 15; RFC 6585, section 4).
const fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::BadMessage(_) => StatusCode::BAD_REQUEST,
        Refusal::NoStore => StatusCode::NOT_FOUND,
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        Refusal::Unavailable(_)
        | Refusal::NotSaved(_)
        | Refusal::NoProgress
        | Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Stale | Refusal::Unmet => StatusCode::PRECONDITION_FAILED,
        Refusal::Patch(error) => status_of_patch(error),
        Refusal::Json(error) => status_of_json(error),
        Refusal::Document(error) => status_of_document(error),
        Refusal::ActorTaken(_) | Refusal::Replaced => StatusCode::CONFLICT,
        Refusal::NotAnObject => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
    }
}

const fn status_of_patch(error: &PatchError) -> StatusCode {
    match &error.kind {
        PatchErrorKind::TestFailed => StatusCode::CONFLICT,
        PatchErrorKind::TooManyOps => StatusCode::PAYLOAD_TOO_LARGE,
        PatchErrorKind::NoSuchPath
        | PatchErrorKind::BadIndex
        | PatchErrorKind::NotAContainer
        | PatchErrorKind::MoveIntoSelf => StatusCode::UNPROCESSABLE_ENTITY,
        PatchErrorKind::Malformed(_) | PatchErrorKind::Pointer(_) => StatusCode::BAD_REQUEST,
        PatchErrorKind::Limit(error) => status_of_json(error),
    }
}

const fn status_of_json(error: &JsonError) -> StatusCode {
    match error {
        JsonError::Syntax(_) => StatusCode::BAD_REQUEST,
        JsonError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        JsonError::TooDeep | JsonError::KeyTooLong | JsonError::ForbiddenKey(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }
}

const fn status_of_document(error: &DocumentError) -> StatusCode {
    match error {
        DocumentError::Malformed(_) => StatusCode::BAD_REQUEST,
        DocumentError::TooMany(_) | DocumentError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DocumentError::TooDeep
        | DocumentError::ReservedKey
        | DocumentError::Refused(_)
        | DocumentError::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
        DocumentError::Full => StatusCode::INSUFFICIENT_STORAGE,
        DocumentError::Json(error) => status_of_json(error),
        DocumentError::UnknownHeads => StatusCode::PRECONDITION_FAILED,
        DocumentError::NoProgress => StatusCode::SERVICE_UNAVAILABLE,
        DocumentError::Diverged => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// How reading goes wrong, as `OpenAPI` has it.
pub(super) struct ReadProblems;

/// How writing goes wrong.
pub(super) struct WriteProblems;

/// How it goes wrong to take the body of a request.
pub(super) struct BodyProblems;

/// How making a ticket goes wrong.
pub(super) struct TicketProblems;

/// A status, and what it means where it is given.
type Meaning = (u16, &'static str);

const UNKNOWN: Meaning = (401, "`unauthorized`, `expired`, `revoked`");
const TOO_OFTEN: Meaning = (429, "`too-many-requests`, `too-many`");
const FAULT: Meaning = (500, "`internal`: the server is at fault");

impl IntoResponses for ReadProblems {
    fn responses() -> Described {
        described(&[
            (400, "`bad-name`, `bad-query`, `bad-header`"),
            UNKNOWN,
            (403, "`bad-origin`, `forbidden`"),
            (404, "`no-store`, `no-such-value`, `no-such-version`"),
            TOO_OFTEN,
            FAULT,
            (503, "`unavailable`, `shutting-down`"),
        ])
    }
}

impl IntoResponses for WriteProblems {
    fn responses() -> Described {
        let mut all = described(&[
            (400, "`bad-name`, `bad-query`, `bad-header`, `bad-message`, `bad-patch`"),
            UNKNOWN,
            (403, "`bad-origin`, `forbidden`"),
            (404, "`no-store`, `no-such-value`"),
            (409, "`test-failed`"),
            (412, "`precondition-failed`, `stale`"),
            (413, "`too-large`, `too-many-ops`"),
            (422, "not applicable, or beyond a limit: `bad-path`, `too-deep` and others"),
            TOO_OFTEN,
            FAULT,
            (503, "`unavailable`, `not-saved`, `shutting-down`"),
            (507, "`workspace-full`"),
        ]);
        for answer in all.values_mut() {
            if let RefOr::T(answer) = answer {
                let header = text("if it was asked for, and looked at: `handling=strict`");
                answer.headers.insert("Preference-Applied".to_owned(), header.into());
            }
        }
        all
    }
}

impl IntoResponses for BodyProblems {
    fn responses() -> Described {
        described(&[(408, "`request-timeout`"), (415, "`unsupported-media-type`")])
    }
}

impl IntoResponses for TicketProblems {
    fn responses() -> Described {
        described(&[
            UNKNOWN,
            (404, "`no-such-resource`: nobody is asked who he is"),
            TOO_OFTEN,
            FAULT,
            (503, "`shutting-down`"),
        ])
    }
}

/// A header of text. `about` begins with "if" where it may be absent.
fn text(about: &str) -> openapi::Header {
    let schema = Object::with_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()
}

type Described = BTreeMap<String, RefOr<openapi::Response>>;

fn described(problems: &[Meaning]) -> Described {
    let problem = |(status, meaning): &Meaning| {
        let body = Content::new(Some(openapi::Ref::from_schema_name("Problem")));
        let answer = ResponseBuilder::new().description(*meaning).content(PROBLEM, body);
        let answer = match status {
            401 => answer.header("WWW-Authenticate", text("`Bearer`")),
            415 => answer
                .header("Accept-Patch", text("if it was no patch: what a patch may be"))
                .header("Accept", text("if it was no value: what a body may be"))
                .header("Accept-Encoding", text("if it was compressed: `identity`")),
            429 | 503 => answer.header("Retry-After", text("in seconds")),
            _ => answer,
        };
        (status.to_string(), answer.build().into())
    };
    problems.iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(refusal: &Refusal) -> (u16, &'static str) {
        let problem = Problem::of(refusal);
        let (status, code) = (problem.status, problem.code());
        let response = problem.into_response();
        assert_eq!(response.status().as_u16(), status);
        let again = response.headers().contains_key(header::RETRY_AFTER);
        assert_eq!(again, matches!(status, 429 | 503), "{code}");
        (status, code)
    }

    /// Clients are written against this table. `codes::every_refusal` has every reason there is.
    #[test]
    fn every_refusal_has_its_status() {
        let mut table: Vec<_> = codes::every_refusal().iter().map(answered).collect();
        table.sort_unstable();
        table.dedup();
        let expected = [
            (400, "bad-message"),
            (400, "bad-patch"),
            (400, "bad-sync"),
            (403, "forbidden"),
            (404, "no-store"),
            (409, "actor-taken"),
            (409, "replaced"),
            (409, "test-failed"),
            (412, "precondition-failed"),
            (412, "stale"),
            (413, "too-large"),
            (413, "too-many"),
            (413, "too-many-ops"),
            (422, "bad-patch"),
            (422, "bad-path"),
            (422, "forbidden-key"),
            (422, "key-too-long"),
            (422, "not-an-object"),
            (422, "refused"),
            (422, "reserved-key"),
            (422, "schema-violation"),
            (422, "too-deep"),
            (429, "too-many"),
            (500, "internal"),
            (503, "not-saved"),
            (503, "resync"),
            (503, "shutting-down"),
            (503, "unavailable"),
            (507, "workspace-full"),
        ];
        assert_eq!(table, expected);
    }

    /// Whether reading can be refused for this reason: all that an edit does not have to be.
    fn meets_readers(refusal: &Refusal) -> bool {
        match refusal {
            Refusal::BadMessage(_)
            | Refusal::NoStore
            | Refusal::Forbidden
            | Refusal::Unavailable(_)
            | Refusal::NotSaved(_)
            | Refusal::NoProgress
            | Refusal::TooMany(_)
            | Refusal::ShuttingDown
            | Refusal::Document(DocumentError::NoProgress | DocumentError::Diverged) => true,
            Refusal::Stale
            | Refusal::Unmet
            | Refusal::Patch(_)
            | Refusal::Json(_)
            | Refusal::Document(_)
            | Refusal::ActorTaken(_)
            | Refusal::Replaced
            | Refusal::NotAnObject => false,
        }
    }

    /// Clients are generated from the description: they know of no status that is not in it.
    #[test]
    fn every_status_of_a_refusal_is_described() {
        let (reading, writing) = (ReadProblems::responses(), WriteProblems::responses());
        for refusal in codes::every_refusal() {
            let (status, code) = answered(&refusal);
            assert!(writing.contains_key(&status.to_string()), "{status} {code}");
            if meets_readers(&refusal) {
                assert!(reading.contains_key(&status.to_string()), "{status} {code}");
            }
        }
    }
}
