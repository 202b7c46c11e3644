//! What browsers let pages of other origins do here: the CORS protocol (WHATWG Fetch, section 3.3).
//!
//! A page that may open a socket may send requests and read the answers; others are told nothing,
//! and their browser keeps the answer from them. Credentials that a browser adds by itself, such as
//! cookies, are never asked for.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Seats;
use super::problem::Problem;
use crate::limits;

const METHODS: &str = "GET, HEAD, PATCH, PUT, DELETE, OPTIONS";
/// Headers that a page may set, beside those that it always may.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, if-match, \
                               if-none-match, last-event-id, prefer";
/// Headers that a page may read, beside those that it always may.
const RESPONSE_HEADERS: &str =
    "etag, statehouse-seq, preference-applied, retry-after, accept-patch, content-disposition";

/// Answers preflights, and says of every other answer who may read it.
pub(super) async fn guard(State(seats): State<Seats>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN).cloned() else {
        return varied(next.run(request).await);
    };
    let allowed = seats.rules.origins.allow(headers);
    let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (request.method() == Method::OPTIONS && asks, allowed) {
        (true, true) => (StatusCode::NO_CONTENT, preflight()).into_response(),
        (true, false) => Problem::bad_origin().into_response(),
        (false, _) => next.run(request).await,
    };
    if allowed {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static(RESPONSE_HEADERS);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    varied(response)
}

/// The answer is another one for another origin and another user, and caches must know.
fn varied(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("authorization, origin"));
    response
}

fn preflight() -> HeaderMap {
    let fixed = HeaderValue::from_static;
    HeaderMap::from_iter([
        (header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, fixed(REQUEST_HEADERS)),
        (header::ACCESS_CONTROL_MAX_AGE, limits::PREFLIGHT_S.into()),
    ])
}
