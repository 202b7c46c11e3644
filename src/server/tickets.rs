//! `POST /v1/tickets`: a ticket for who shows a token, to stand in a URL where no header can.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Seats;
use super::auth::AuthError;
use super::caller::{Stranger, bearer};
use super::http::JSON;
use super::problem::{Problem, TicketProblems};
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
    security(("bearer" = [])),
    responses(
        (status = 200, description = "a ticket", body = Ticket, content_type = JSON),
        TicketProblems,
    )
)]
pub(super) async fn serve(
    State(seats): State<Seats>,
    _: Stranger,
    headers: HeaderMap,
) -> Result<Response, Problem> {
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
