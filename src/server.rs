//! The server: sockets, HTTP, and an orderly end.

mod accept;
mod admin;
mod asyncapi;
pub mod auth;
mod buffered;
mod caller;
pub mod config;
mod cors;
mod events;
mod genesis;
mod http;
mod listing;
pub(crate) mod metrics;
mod openapi;
mod origin;
mod outbox;
mod pieces;
mod problem;
mod rates;
pub(crate) mod socket;
mod tickets;
pub(crate) mod tongue;
mod trace;
mod webhooks;
pub mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Router, middleware};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::hub::{Host, Hub, HubConfig, Machine, Stopped};
use crate::limits;
use crate::storage::ChangeLog;
use crate::workspace::WorkspaceConfig;
use admin::{Desk, Office};
use auth::{Auth, AuthError, Entry};
use caller::{Line, Visitor};
use config::Config;
use metrics::{Metrics, SocketMeter};
use origin::Origins;
use problem::Problem;
use rates::Rates;
use socket::{Patience, Seat};
use tongue::{ServerName, Tongue};
use webhooks::Webhooks;
use wire::{Carrier, Gate, Listener, Wire};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address means nothing, or is taken, or is not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// There is no way to call webhooks on this machine.
    #[error("webhooks cannot be called: {0}")]
    Webhooks(reqwest::Error),
    /// Whoever reaches the address could read and write everything.
    #[error(
        "{0} can be reached from other machines, and this server asks nobody who he is; \
         configure [auth], listen on a loopback address, or say --insecure if the network itself \
         is trusted"
    )]
    Exposed(String),
    /// The keys, or the list of the revoked, cannot be read.
    #[error("[auth]: {0}")]
    Auth(String),
}

/// How far the server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// All goes on, but whoever asks is told to take his requests elsewhere.
    Draining,
    /// Nothing new is taken; what was taken is being saved and answered.
    Stopping,
    /// There is nothing more to say.
    Stopped,
}

/// A server that listens, and serves when it is [run](Self::run).
#[derive(Debug)]
pub struct Server<L = TcpListener> {
    listener: L,
    address: SocketAddr,
    hub: Hub,
    name: Arc<ServerName>,
    workspace: Arc<WorkspaceConfig>,
    auth: Option<Arc<Auth>>,
    rules: Rules,
    webhooks: Webhooks,
    rates: Rates,
    exposed: bool,
    admin: Option<TcpListener>,
}

/// What a socket is subject to.
#[derive(Debug, Clone)]
struct Rules {
    origins: Origins,
    outbox_bytes_max: usize,
    sockets_max: usize,
    messages_per_s: u32,
    request: Duration,
    drain: Duration,
    stop: Duration,
    json: Allowance,
    repo: Allowance,
}

/// What a socket of one dialect may take, in space and time.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    frame_bytes_max: usize,
    message_bytes_max: usize,
    patience: Patience,
}

/// Whether one of the addresses that `listen` stands for can be reached from other machines; that
/// has to be allowed, unless the server asks there who somebody is.
fn check_exposed(
    config: &Config,
    listen: &str,
    addresses: &[SocketAddr],
    asks: bool,
) -> Result<bool, StartError> {
    let exposed = !addresses.iter().all(|address| address.ip().is_loopback());
    if exposed && !config.insecure && !asks {
        return Err(StartError::Exposed(listen.to_owned()));
    }
    Ok(exposed)
}

/// Listens, if the configuration lets it.
async fn bind(config: &Config, listen: &str, asks: bool) -> Result<TcpListener, StartError> {
    let refuse = |error| StartError::Listen { address: listen.to_owned(), error };
    let addresses: Vec<_> = lookup_host(listen).await.map_err(refuse)?.collect();
    // What may not be listened on is not even listened on for a moment.
    check_exposed(config, listen, &addresses, asks)?;
    TcpListener::bind(&*addresses).await.map_err(refuse)
}

impl Rules {
    fn new(config: &Config, exposed: bool) -> Self {
        let limits = &config.limits;
        let patience = |ping| Patience {
            ping: Duration::from_millis(ping),
            stall: Duration::from_millis(limits.outbox_stall_ms),
        };
        Self {
            origins: Origins::new(config.origins.clone(), exposed),
            outbox_bytes_max: limits.outbox_bytes,
            sockets_max: limits.sockets,
            messages_per_s: limits.messages_per_s,
            request: Duration::from_millis(limits.request_ms),
            drain: Duration::from_millis(limits.drain_ms),
            stop: Duration::from_millis(limits.stop_ms),
            json: Allowance {
                frame_bytes_max: limits.frame_bytes,
                message_bytes_max: limits.message_bytes,
                patience: patience(limits.ping_ms),
            },
            // Its clients send a document as one frame, however large it is.
            repo: Allowance {
                frame_bytes_max: limits.repo_message_bytes,
                message_bytes_max: limits.repo_message_bytes,
                patience: patience(limits.repo_ping_ms),
            },
        }
    }
}

impl Server {
    /// Listens. Must be called within a tokio runtime.
    pub async fn start(config: &Config, log: Arc<dyn ChangeLog>) -> Result<Self, StartError> {
        let listener = bind(config, &config.listen, config.auth.is_some()).await?;
        let admin = match &config.admin {
            // Nobody is asked there.
            Some(listen) => Some(bind(config, listen, false).await?),
            None => None,
        };
        let server = Self::on(listener, config, log, Arc::new(Machine))?;
        Ok(Self { admin, ..server })
    }
}

impl<L: Listener> Server<L> {
    /// Takes over a listener, whatever `config.listen` says, and runs its workspaces on this host.
    /// Nothing is listened on beside it, whatever `config.admin` says. Must be called within a
    /// tokio runtime.
    pub fn on(
        listener: L,
        config: &Config,
        log: Arc<dyn ChangeLog>,
        host: Arc<dyn Host>,
    ) -> Result<Self, StartError> {
        let refuse = |error| StartError::Listen { address: config.listen.clone(), error };
        let address = listener.address().map_err(refuse)?;
        let asks = config.auth.is_some();
        let exposed = check_exposed(config, &config.listen, &[address], asks)?;
        let workspace = Arc::new(config.workspace.clone());
        let name = Arc::new(ServerName::new(u128::from_be_bytes(host.random())));
        let auth = config.auth.as_ref().map(|auth| Auth::open(auth, Arc::clone(&host)));
        let auth = auth.transpose().map_err(StartError::Auth)?.map(Arc::new);
        let hub = HubConfig {
            workspace: Arc::clone(&workspace),
            idle_ms_max: config.limits.idle_ms,
            memory_bytes_max: config.limits.memory_bytes,
            host,
        };
        let rules = Rules::new(config, exposed);
        let (log_of_calls, host) = (Arc::clone(&log), Arc::clone(&hub.host));
        let webhooks = Webhooks::new(&config.webhook_rules, &config.webhooks, log_of_calls, host);
        let webhooks = webhooks.map_err(StartError::Webhooks)?;
        let (hub, admin) = (Hub::start(hub, log), None);
        let rates = Rates::new(&config.limits);
        Ok(Self {
            listener,
            address,
            hub,
            name,
            workspace,
            auth,
            rules,
            webhooks,
            rates,
            exposed,
            admin,
        })
    }

    /// Where it listens; the port is the one that the system chose if the configuration left it
    /// open.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers those who run it, if that is an address of its own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// What those who run it may do, on their own address.
    fn office(&self) -> Office {
        let exposed = self.admin_address().is_some_and(|address| !address.ip().is_loopback());
        Office {
            auth: self.auth.clone(),
            ledger: Arc::clone(self.webhooks.ledger()),
            news: self.hub.new_calls(),
            origins: Origins::new(Vec::new(), exposed),
        }
    }

    /// Serves until `stop` is ready, and then ends in order: says that it is not ready any more,
    /// takes nothing new, saves, answers what was asked, closes the sockets. Returns what could
    /// not be saved.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Stopped {
        let phase = Arc::new(watch::Sender::new(Phase::Running));
        let (ledger, office) = (Arc::clone(self.webhooks.ledger()), self.office().router());
        let (stall, request) = (self.rules.json.patience.stall, self.rules.request);
        let (drain, stopping) = (self.rules.drain, self.rules.stop);
        let sockets = SocketMeter::default();
        let gate = Gate::new(self.listener, self.rules.sockets_max, stall).counting(&sockets.open);
        let metrics = Arc::new(Metrics::new(self.hub.clone(), &sockets, ledger));
        // Strangers are told nothing.
        let told = self.admin.is_none() && !self.exposed;
        let desk = |told: bool| Desk {
            phase: Arc::clone(&phase),
            metrics: told.then(|| Arc::clone(&metrics)),
        };
        let seats = Seats {
            hub: self.hub.clone(),
            workspace: self.workspace,
            rules: self.rules,
            name: self.name,
            auth: self.auth.clone(),
            past: Arc::new(Semaphore::new(limits::PAST_READERS_MAX)),
            phase: Arc::clone(&phase),
            sockets,
            rates: Arc::new(self.rates),
            talk: talk::<L::Stream>,
        };
        let routes = router(seats).merge(desk(told).router());
        let routes =
            routes.layer(middleware::from_fn_with_state(Arc::clone(&metrics), Metrics::count));
        let (accepting, ending) = watch::channel(());
        let calling = tokio::spawn(self.webhooks.run(self.hub.new_calls(), ending.clone()));
        let held = phase.subscribe();
        let serving = tokio::spawn(accept::serve(gate, routes, request, ending, held));
        let (answering, end) = watch::channel(());
        let admin = self.admin.map(|listener| {
            let routes = desk(true).router().merge(office);
            serve_office(listener, routes, (stall, request), end)
        });

        // To the end, also of a long one: who is revoked meanwhile is let out.
        let keeping = self.auth.map(|auth| tokio::spawn(auth.keep()));

        stop.await;
        tracing::info!("stopping");
        phase.send_replace(Phase::Draining);
        tokio::time::sleep(drain).await;
        phase.send_replace(Phase::Stopping);
        drop(accepting);
        let stopped = self.hub.stop_within(stopping).await;
        phase.send_replace(Phase::Stopped);
        let goodbyes = Duration::from_millis(2 * limits::CLOSE_MS_MAX);
        if timeout(goodbyes, phase.closed()).await.is_err() {
            tracing::warn!(sockets = phase.receiver_count(), "sockets did not close in time");
        }
        drop(answering);
        for task in std::iter::once(serving).chain(admin) {
            if let Err(error) = task.await {
                tracing::error!(%error, "accepting sockets ended badly");
            }
        }
        if !matches!(timeout(goodbyes, calling).await, Ok(Ok(()))) {
            // What was told and is not noted is told again.
            tracing::warn!("the calls of webhooks did not end as they should");
        }
        if let Some(keeping) = keeping {
            keeping.abort();
        }
        stopped
    }
}

/// Serves those who run the server, to the end: nobody waits for it.
fn serve_office(
    listener: TcpListener,
    routes: Router,
    (stall, request): (Duration, Duration),
    end: watch::Receiver<()>,
) -> JoinHandle<()> {
    let gate = Gate::new(listener, limits::ADMIN_SOCKETS_MAX, stall);
    let (_, held) = watch::channel(Phase::Running);
    let nothing = async || Problem::no_such_resource("PROTOCOL.md says what is on this address");
    let routes = routes.fallback(nothing);
    tokio::spawn(accept::serve(gate, routes, request, end, held))
}

/// What it takes to give a client a session.
#[derive(Debug, Clone)]
struct Seats {
    hub: Hub,
    workspace: Arc<WorkspaceConfig>,
    rules: Rules,
    name: Arc<ServerName>,
    auth: Option<Arc<Auth>>,
    /// Places for those who read what was: old states, and documents as a whole.
    past: Arc<Semaphore>,
    /// Each socket holds a receiver, so the sender knows when the last one is closed.
    phase: Arc<watch::Sender<Phase>>,
    sockets: SocketMeter,
    rates: Arc<Rates>,
    /// How to go on with a socket that is upgraded: it knows what sockets are here.
    talk: fn(OnUpgrade, Seat),
}

fn router(seats: Seats) -> Router {
    let workspace = Router::new()
        .route("/socket", any(open_socket))
        .route("/automerge", any(open_repo_socket))
        .route("/events", get(events::serve))
        .route(
            "/stores/{store}",
            get(http::read)
                .patch(http::patch)
                .put(http::put)
                .delete(http::delete)
                .options(http::options),
        )
        .route("/stores/{store}/changes", get(http::changes::list))
        .route("/stores/{store}/export.automerge", get(http::changes::export))
        .route("/stores/{store}/genesis", get(genesis::serve));
    Router::new()
        .route("/v1/workspaces/{workspace}", get(listing::serve))
        .route("/v1/tickets", post(tickets::serve))
        .route("/openapi.json", get(openapi::serve))
        .route("/asyncapi.json", get(asyncapi::serve))
        .route("/messages.schema.json", get(asyncapi::serve_schema))
        .nest("/v1/workspaces/{workspace}", workspace)
        .fallback(async || Problem::no_such_resource("see /v1/workspaces/{workspace}/socket"))
        .method_not_allowed_fallback(async || Problem::no_such_method())
        .layer(middleware::from_fn_with_state(seats.clone(), cors::guard))
        .layer(middleware::from_fn(trace::walk))
        .with_state(seats)
}

/// What a client may name as its subprotocol, beside which a token can stand: a browser can send no
/// header of its own with a socket.
const SUBPROTOCOL: &str = "statehouse.v1";

/// The way from a request to a socket, which is the same for every dialect.
struct Door {
    visitor: Visitor,
    upgrade: OnUpgrade,
    /// What the client is answered, to show that it was understood (RFC 6455, section 4.2.2).
    accept: HeaderValue,
    /// Whether the client offers to speak [`SUBPROTOCOL`].
    named: bool,
}

impl FromRequestParts<Seats> for Door {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let Line(comer) = Line::from_request_parts(parts, seats).await?;
        let named = caller::subprotocols(&parts.headers).any(|offered| offered == SUBPROTOCOL);
        let upgrade = parts.extensions.get().cloned();
        let asked = WebSocketUpgrade::from_request_parts(parts, seats).await;
        // Only asked what it thinks of the request: its socket would keep the memory of the
        // largest message.
        if let Err(error) = asked {
            return Err(Problem::new(error.status(), "not-a-websocket", error.body_text()));
        }
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let accept = HeaderValue::try_from(derive_accept_key(key.unwrap_or_default()));
        let (Some(upgrade), Ok(accept)) = (upgrade, accept) else {
            let detail = "the socket is not known";
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail));
        };
        // Last of all: a ticket is gone when it is shown.
        let visitor = comer.shows(parts, seats).await?;
        Ok(Self { visitor, upgrade, accept, named })
    }
}

impl Door {
    fn open(self, tongue: Tongue, allowance: Allowance) -> Response {
        let Self { visitor: Visitor { seats, workspace, entry }, upgrade, accept, named } = self;
        let seat = Seat {
            hub: seats.hub,
            rules: seats.workspace,
            workspace,
            entry,
            tongue,
            outbox_bytes_max: seats.rules.outbox_bytes_max,
            frame_bytes_max: allowance.frame_bytes_max,
            message_bytes_max: allowance.message_bytes_max,
            patience: allowance.patience,
            phase: seats.phase.subscribe(),
            meter: seats.sockets,
            messages_per_s: seats.rules.messages_per_s,
        };
        (seats.talk)(upgrade, seat);
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if named {
            let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        answer
    }
}

/// Serves a socket as soon as it is upgraded.
fn talk<C: Carrier>(upgrade: OnUpgrade, seat: Seat) {
    tokio::spawn(async move {
        match upgrade.await.map(hyper::upgrade::Upgraded::downcast::<TokioIo<Wire<C>>>) {
            Ok(Ok(parts)) => socket::serve(parts.io.into_inner(), parts.read_buf, seat).await,
            Ok(Err(_)) => tracing::error!("an upgraded socket is not one of this server's"),
            Err(error) => tracing::trace!(%error, "a socket ended before it was upgraded"),
        }
    });
}

async fn open_socket(door: Door) -> Response {
    let allowance = door.visitor.seats.rules.json;
    door.open(Tongue::Json, allowance)
}

async fn open_repo_socket(door: Door) -> Response {
    let Visitor { seats, workspace, entry } = &door.visitor;
    // This dialect has no word for a token.
    if let Entry::Awaited(_) = entry {
        return Problem::from(AuthError::Missing).into_response();
    }
    let allowance = seats.rules.repo;
    let tongue = Tongue::repo(workspace.clone(), Arc::clone(&seats.name));
    door.open(tongue, allowance)
}

impl Seats {
    fn check_running(&self) -> Result<(), Problem> {
        admin::check(&self.phase, Phase::Draining)
    }
}

#[cfg(test)]
mod tests;
