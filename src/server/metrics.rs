//! What the server counts, and how it is told: `GET /metrics`.
//!
//! What happens in workspaces is counted by the hub; here is what happens at the sockets, what the
//! process takes, and the text of it all in the format of `OpenMetrics` 1.0, which Prometheus reads
//! since its version 2.5.

mod process;

use std::fmt;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::problem::Problem;
use super::tongue::Tongue;
use super::webhooks::Ledger;
use crate::hub::Hub;

/// What is before every name that is not about the process as such.
const PREFIX: &str = "statehouse";
/// The route of requests that no route takes: what those ask for is anybody's to make up.
const NO_ROUTE: &str = "none";
/// The type of the text.
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What sockets count.
#[derive(Debug, Clone)]
pub(crate) struct SocketMeter {
    sessions: Family<[(&'static str, &'static str); 1], Gauge>,
    json: Gauge,
    repo: Gauge,
    events: Gauge,
    /// Sockets that are open, whatever is said on them.
    pub(super) open: Gauge,
    /// Messages to clients that were dropped, because they were too slow to take them.
    pub(super) dropped: Counter,
    /// Frames of clients that were not understood.
    pub(super) garbled: Counter,
}

impl Default for SocketMeter {
    fn default() -> Self {
        let sessions = Family::<_, Gauge>::default();
        let of = |dialect| sessions.get_or_create_owned(&[("dialect", dialect)]);
        let (json, repo, events) = (of("json"), of("repo"), of("events"));
        let (open, dropped, garbled) = (Gauge::default(), Counter::default(), Counter::default());
        Self { sessions, json, repo, events, open, dropped, garbled }
    }
}

impl SocketMeter {
    /// Counts a session for as long as the guard lives.
    pub(super) fn count(&self, tongue: &Tongue) -> Counted {
        let sessions = match tongue {
            Tongue::Json => &self.json,
            Tongue::Repo(_) => &self.repo,
        };
        Counted::new(sessions)
    }

    /// Counts a session that only listens, to a stream of events.
    pub(super) fn count_events(&self) -> Counted {
        Counted::new(&self.events)
    }
}

/// A session or socket that is counted for as long as this lives.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    /// Counts one.
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The route of a request, and the status that it was answered with.
type Answered = ([(&'static str, String); 1], [(&'static str, u16); 1]);

/// All that is counted, and the way to read it.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    calls: Arc<Ledger>,
}

impl Metrics {
    /// The metrics of one server.
    pub(super) fn new(hub: Hub, sockets: &SocketMeter, calls: Arc<Ledger>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix(PREFIX);
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        ours.register("build", "The program", Info::new(version));
        hub.meter().register(ours);
        let sessions = sockets.sessions.clone();
        ours.register(
            "sessions",
            "Sessions of sockets and event streams that are attached",
            sessions,
        );
        ours.register("sockets", "Sockets that are open", sockets.open.clone());
        ours.register(
            "outbox_dropped",
            "Messages dropped because a client was too slow to take them",
            sockets.dropped.clone(),
        );
        ours.register("frames_garbled", "Frames not understood", sockets.garbled.clone());
        let requests = Family::<Answered, Counter>::default();
        ours.register("http_requests", "Requests answered", requests.clone());
        ours.register_collector(Box::new(Held(hub)));
        calls.register(ours);
        Self { registry, requests, calls }
    }

    /// Counts a request when it is answered.
    pub(super) async fn count(
        State(metrics): State<Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Response {
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
        let answer = next.run(request).await;
        let labels = ([("route", route)], [("status", answer.status().as_u16())]);
        metrics.requests.get_or_create(&labels).inc();
        answer
    }

    /// Answers with all of it.
    pub(super) async fn answer(&self) -> Response {
        self.calls.refresh().await;
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.registry) {
            tracing::error!(%error, "the metrics could not be written");
            let detail = "the metrics could not be written";
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
                .into_response();
        }
        ([(header::CONTENT_TYPE, TYPE)], out).into_response()
    }
}

/// What is held at the moment when somebody asks.
#[derive(Debug)]
struct Held(Hub);

impl Collector for Held {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let holding = self.0.holding();
        let loaded = holding.workspaces;
        gauge(&mut encoder, "workspaces_loaded", "Workspaces in memory", None, loaded)?;
        let help = "Memory that loaded workspaces take, estimated";
        gauge(&mut encoder, "memory", help, Some(&Unit::Bytes), holding.bytes)?;
        let help = "Saves that wait for the writer of the log";
        gauge(&mut encoder, "saves_waiting", help, None, holding.saves_waiting)
    }
}

/// Writes one number that may rise and fall.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: usize,
) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
    gauge.encode(metric)
}
