//! Taking back a token, or all of a user: `POST /revoke`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Office;
use crate::ids::Millis;
use crate::server::auth::{Revocation, RevokeError};
use crate::server::http::body;
use crate::server::problem::Problem;

/// Who is not let in any more: one of `jti` and `sub`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The id of a token.
    jti: Option<String>,
    /// A user.
    sub: Option<String>,
    /// Only tokens of the user that were made up to then (`iat`), in seconds since 1970.
    up_to: Option<u64>,
}

/// It holds from now on.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    revoked: bool,
    /// Whether it outlives a restart, because there is a file for it.
    durable: bool,
}

/// `POST /revoke`.
pub(super) async fn serve(
    State(office): State<Office>,
    headers: HeaderMap,
    text: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    if body::media_type(&headers).as_deref() != Some("application/json") {
        return Err(body::unsupported(header::ACCEPT, "application/json"));
    }
    let Some(auth) = office.auth else {
        let detail = "this server asks nobody who he is: there is no [auth]";
        return Err(Problem::new(StatusCode::CONFLICT, "no-auth", detail));
    };
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad-message", detail);
    let text = text.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error.body_text())
        }
        _ => bad(error.body_text()),
    })?;
    let request: Request = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    let revocation = match request {
        Request { jti: Some(id), sub: None, up_to: None } => Revocation::token(id),
        Request { jti: None, sub: Some(user), up_to: None } => Revocation::user(user),
        Request { jti: None, sub: Some(user), up_to: Some(seconds) } => {
            Revocation::tokens_of(user, Millis(seconds.saturating_mul(1_000)))
        }
        Request { .. } => None,
    };
    let one = "it has one of jti and sub; up_to goes with sub; names have no blanks around them";
    let revocation = revocation.ok_or_else(|| bad(one.to_owned()))?;
    match auth.revoke(revocation).await {
        Ok(durable) => {
            tracing::info!(durable, "somebody was revoked");
            Ok(Json(Answer { revoked: true, durable }))
        }
        Err(RevokeError::Full) => {
            let detail = RevokeError::Full.to_string();
            Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "too-many", detail))
        }
        Err(RevokeError::Unwritable(error)) => {
            tracing::error!(error, "the list of the revoked cannot be written: nobody is revoked");
            Err(Problem::internal("the list of the revoked cannot be written: nobody is revoked"))
        }
    }
}
