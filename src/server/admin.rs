//! What is for whoever runs the server: is it alive, does it take requests, what has it counted.
//!
//! It is served where clients are, and with `[admin] listen` on an address of its own, which stays
//! open until the server has ended: while it stops, a load balancer still hears there that it does.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::Phase;
use super::metrics::Metrics;
use super::problem::Problem;

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
        routes.with_state(self)
    }
}

async fn is_ready(State(desk): State<Desk>) -> Result<&'static str, Problem> {
    check(&desk.phase, Phase::Running).map(|()| "ok\n")
}

async fn tell(State(desk): State<Desk>) -> Response {
    desk.metrics.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |all| all.answer())
}

/// Refuses what comes to a server that is further on its way to its end than this.
pub(super) fn check(phase: &watch::Sender<Phase>, last: Phase) -> Result<(), Problem> {
    if *phase.borrow() <= last {
        return Ok(());
    }
    let detail = "the server is about to stop";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", detail))
}
