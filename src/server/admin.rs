//! What is for whoever runs the server: is it alive, does it take requests, what has it counted,
//! and what he may do about it.
//!
//! The first three are served where clients are, and with `[admin] listen` on an address of its
//! own, which stays open until the server has ended: while it stops, a load balancer still hears
//! there that it does. What changes something, or tells of stores, is served only there: nobody is
//! asked who he is.

mod calls;
mod revoke;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::watch;

use super::Phase;
use super::auth::Auth;
use super::metrics::Metrics;
use super::origin::{FETCH_SITE, Origins};
use super::problem::Problem;
use super::webhooks::Ledger;
use crate::hub::NewCalls;
use crate::limits;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) phase: Arc<watch::Sender<Phase>>,
    /// None where they are not told.
    pub(super) metrics: Option<Arc<Metrics>>,
}

impl Desk {
    /// The routes to it.
    pub(super) fn router(self) -> Router {
        let routes =
            Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(is_ready));
        let told = self.metrics.is_some();
        let routes = if told { routes.route("/metrics", get(tell)) } else { routes };
        routes.method_not_allowed_fallback(async || Problem::no_such_method()).with_state(self)
    }
}

/// What those who run the server may do.
#[derive(Debug, Clone)]
pub(super) struct Office {
    pub(super) auth: Option<Arc<Auth>>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) news: Arc<NewCalls>,
    pub(super) origins: Origins,
}

impl Office {
    /// The routes to it.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/revoke", post(revoke::serve))
            .route("/webhooks/given-up", get(calls::list))
            .route("/webhooks/given-up/retry", post(calls::retry_all))
            .route("/webhooks/given-up/{id}/retry", post(calls::retry))
            .method_not_allowed_fallback(async || Problem::no_such_method())
            .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
            .layer(middleware::from_fn_with_state(self.origins.clone(), guard))
            .with_state(self)
    }
}

async fn guard(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    if is_of_no_page(&origins, request.headers()) {
        next.run(request).await
    } else {
        let detail = "pages may not ask this, wherever they are from";
        Problem::new(StatusCode::FORBIDDEN, "bad-origin", detail).into_response()
    }
}

/// Whether no page in a browser has made a request with these headers: no page is somebody who
/// runs the server, be it one of this machine. A browser says of what a page changes whose page it
/// is, and of all that goes to this machine whether a page has asked for it at all (Fetch
/// Metadata); of what a page reads whose name was pointed at this machine, the host still tells.
fn is_of_no_page(origins: &Origins, headers: &HeaderMap) -> bool {
    let by_hand = headers.get_all(FETCH_SITE).iter().all(|site| site == "none");
    !headers.contains_key(header::ORIGIN) && by_hand && origins.allow(headers)
}

async fn is_ready(State(desk): State<Desk>) -> Result<&'static str, Problem> {
    check(&desk.phase, Phase::Running).map(|()| "ok\n")
}

async fn tell(State(desk): State<Desk>) -> Response {
    match desk.metrics {
        Some(all) => all.answer().await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Refuses what comes to a server that is further on its way to its end than this.
pub(super) fn check(phase: &watch::Sender<Phase>, last: Phase) -> Result<(), Problem> {
    if *phase.borrow() <= last {
        return Ok(());
    }
    let detail = "the server is about to stop";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_runs_the_server() {
        let asks = |exposed: bool, more: &[(&'static str, &'static str)]| {
            let pairs =
                more.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            is_of_no_page(&Origins::new(Vec::new(), exposed), &pairs.collect())
        };
        let (here, named) = (("host", "127.0.0.1:4601"), ("host", "state.example:4601"));
        for (exposed, host) in [(false, here), (true, here), (true, named)] {
            assert!(asks(exposed, &[host]), "a program");
            assert!(asks(exposed, &[host, ("sec-fetch-site", "none")]), "typed by hand");
            for origin in [
                "http://127.0.0.1:4601",
                "http://localhost:3000",
                "http://state.example:4601",
                "https://example.com",
                "null",
            ] {
                assert!(!asks(exposed, &[host, ("origin", origin)]), "{origin}");
            }
            for site in ["same-origin", "same-site", "cross-site"] {
                assert!(!asks(exposed, &[host, ("sec-fetch-site", site)]), "{site}");
            }
        }
        assert!(!asks(false, &[named]), "dns rebinding");
    }
}
