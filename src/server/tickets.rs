//! `POST /v1/tickets`: a ticket for who shows a token, to stand in a URL where no header can.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::Seats;
use super::auth::AuthError;
use super::caller::bearer;
use super::http::JSON;
use super::problem::{PROBLEM, Problem};
use super::rates::Address;
use crate::ids::Secret;
use crate::limits;

/// A ticket: `?ticket=` in a URL lets in once.
#[derive(Serialize, ToSchema)]
struct Ticket {
    #[schema(value_type = String)]
    ticket: Secret,
    /// How long it may be used, from now on.
    expires_ms: u64,
}

/// Answers with a ticket that lets in once, as the token does that the request carries.
#[utoipa::path(
    post,
    operation_id = "make_ticket",
    path = "/v1/tickets",
    tag = "tickets",
    responses(
        (status = 200, description = "a ticket", body = Ticket, content_type = JSON),
        (
            status = 401, description = "no token, or one that does not count", body = Problem,
            content_type = PROBLEM
        ),
        (
            status = 404, description = "nobody is asked who he is", body = Problem,
            content_type = PROBLEM
        ),
        (status = 429, description = "`too-many`", body = Problem, content_type = PROBLEM),
        (status = 503, description = "`shutting-down`", body = Problem, content_type = PROBLEM),
    )
)]
pub(super) async fn serve(
    State(seats): State<Seats>,
    from: Option<Extension<Address>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(Extension(Address(address))) = from {
        seats.rates.request(address).map_err(Problem::too_often)?;
    }
    let Some(auth) = &seats.auth else {
        let detail = "this server asks nobody who he is";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-resource", detail));
    };
    seats.check_running()?;
    let token = bearer(&headers)?.ok_or(AuthError::Missing)?;
    let ticket = auth.ticket(&token).await?;
    let mut answer = Json(Ticket { ticket, expires_ms: limits::TICKET_MS_MAX }).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
