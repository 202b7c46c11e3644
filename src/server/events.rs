//! `GET /v1/workspaces/{workspace}/events`: server-sent events (WHATWG HTML, section 9.2).
//!
//! A stream is a session like any other, which only listens: the same hub, the same outbox with the
//! same limit, the same messages. What is written is pulled by the socket, so a slow client makes
//! its outbox run full, loses what can be said again, and is given fresh state when it reads on.

mod query;
mod resume;
mod view;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use automerge::ChangeHash;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Phase;
use super::auth::Guard;
use super::caller::Follower;
use super::metrics::Counted;
use super::outbox::{Batch, Outbox, Waiting};
use super::problem::{Problem, ReadProblems};
use super::tongue::Tongue;
use crate::hub::{Attached, Channel};
use crate::ids::StoreName;
use crate::limits;
use crate::protocol::codes::Closing;
use crate::workspace::{Caps, Hello, Refusal, Request};
use query::EventsQuery;
use resume::Positions;
use view::View;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks proxies of the nginx kind not to gather what is written.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
const HEARTBEAT: Duration = Duration::from_millis(limits::EVENT_HEARTBEAT_MS);
/// A comment: clients skip it.
const ALIVE: &str = ":\n\n";

/// Answers with a stream that ends only when one side goes.
#[utoipa::path(
    get,
    operation_id = "follow_stores",
    path = "/v1/workspaces/{workspace}/events",
    tag = "events",
    params(
        ("workspace" = String, Path, description = "1 to 128 of `A-Z a-z 0-9 . _ : -`"),
        ("stores" = Option<String>, Query, description = "names, with commas between them"),
        ("path" = Option<String>, Query, description = "a JSON Pointer"),
        ("format" = Option<String>, Query, description = "`socket` or `ag-ui`"),
        (
            "lastEventId" = Option<String>, Query,
            description = "for clients that cannot send the header"
        ),
        ("Last-Event-ID" = Option<String>, Header, description = "go on after this event"),
    ),
    responses(
        (
            status = 200, description = "server-sent events", body = String,
            content_type = "text/event-stream"
        ),
        ReadProblems,
    ),
)]
pub(super) async fn serve(
    Follower(caller): Follower,
    query: EventsQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let rules = &caller.seats.workspace;
    if query.stores.iter().flatten().any(|name| !rules.allows(name)) {
        return Err(Problem::of(&Refusal::NoStore));
    }
    // The browser's own word is newer than that in the address, which stays the same.
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let held = last.or(query.last.as_deref()).map(Positions::read).unwrap_or_default();
    let store = query.stores.iter().flatten().next().map_or("", StoreName::as_str);
    let run = u128::from_be_bytes(caller.seats.hub.host().random());
    let view = View::new(query.path, query.format);
    let mut view = view.named(format!("{}/{store}", caller.workspace), format!("{run:032x}"));
    let held = view.prepare(&caller, held).await?;

    let (seats, bytes_max) = (&caller.seats, caller.seats.rules.outbox_bytes_max);
    let outbox = Arc::new(Outbox::new(bytes_max, Tongue::Json).counting(&seats.sockets));
    let channel: Arc<dyn Channel> = Arc::<Outbox>::clone(&outbox);
    let attached = caller.attach(channel).await?;
    let (seqs, cursors) = held.clone().into_hello();
    let caps = Caps { ready: true, cursor: true, ..Caps::default() };
    let hello = Hello { seqs, cursors, caps, stores: query.stores, ..Hello::default() };
    let said = attached.say(Request::Hello(hello)).await;
    said.map_err(|_closed| Problem::of(&Refusal::ShuttingDown))?;

    let feed = Feed {
        guard: caller.guard,
        outbox,
        attached,
        view,
        positions: held,
        waiting: VecDeque::new(),
        handed: None,
        owed: None,
        closing: None,
        stage: Stage::New,
        _phase: caller.seats.phase.subscribe(),
        _counted: caller.seats.sockets.count_events(),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (UNBUFFERED, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(feed.into_stream())).into_response())
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// Batches are taken from the outbox; this one is not written yet.
    Open,
    Writing,
    Over,
}

/// One stream of events.
struct Feed {
    /// Who listens, and for how long he may.
    guard: Option<Guard>,
    outbox: Arc<Outbox>,
    attached: Attached,
    view: View,
    /// Where the client stands when it has read all that it was given.
    positions: Positions,
    /// What is left of the batch that is being written.
    waiting: VecDeque<Waiting>,
    /// What was given to the socket, and counts until the socket asks for more.
    handed: Option<Waiting>,
    /// What is asked for anew when the batch is written.
    owed: Option<Vec<(StoreName, Vec<ChangeHash>)>>,
    closing: Option<Closing>,
    stage: Stage,
    /// The server waits for whoever holds one, so that the last event is still written.
    _phase: watch::Receiver<Phase>,
    _counted: Counted,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, async |mut feed| {
            let piece = feed.next().await?;
            Some((Ok(piece), feed))
        })
    }

    /// The next piece of text, as soon as there is one; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.stage == Stage::New {
            self.stage = Stage::Open;
            let greeting = self.view.greeting();
            return Some(format!("retry: {}\n\n{greeting}", limits::EVENT_RETRY_MS).into());
        }
        loop {
            if let Some(handed) = self.handed.take() {
                self.outbox.written(&handed);
            }
            if let Some(Err(why)) = self.guard.as_ref().map(Guard::check)
                && self.stage != Stage::Over
            {
                // What waits was not for who is listening now.
                self.waiting.clear();
                self.stage = Stage::Over;
                return self.view.goodbye(why.closing());
            }
            while let Some(waiting) = self.waiting.pop_front() {
                if let Some(text) = self.told(&waiting).await {
                    self.handed = Some(waiting);
                    return Some(text);
                }
                self.outbox.written(&waiting);
            }
            match self.stage {
                Stage::Over => return None,
                Stage::Writing => self.batch_written().await,
                Stage::New | Stage::Open => match timeout(HEARTBEAT, self.batch()).await {
                    Ok(batch) => {
                        self.waiting = batch.messages.into();
                        (self.owed, self.closing) = (batch.resync, batch.close);
                        self.stage = Stage::Writing;
                    }
                    Err(_elapsed) => return Some(ALIVE.into()),
                },
            }
            if self.stage == Stage::Over {
                return self.closing.and_then(|closing| self.view.goodbye(closing));
            }
        }
    }

    /// What waits next; the last word, once he may not listen any more.
    async fn batch(&self) -> Batch {
        let ended = async {
            match &self.guard {
                Some(guard) => guard.ended().await.closing(),
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            closing = ended => self.outbox.end(closing),
            batch = self.outbox.batch() => return batch,
        }
        self.outbox.batch().await
    }

    /// The event that says this, if there is one.
    async fn told(&mut self, waiting: &Waiting) -> Option<Bytes> {
        self.positions.note(waiting.message.delivery());
        let event = self.view.event(&waiting.message);
        if self.view.is_over() {
            self.waiting.clear();
            self.stage = Stage::Over;
        }
        if self.view.is_lost() {
            self.resync(Vec::new()).await;
        }
        let event = event?;
        let id = self.positions.id();
        Some(event.written(id.as_deref()).into())
    }

    async fn batch_written(&mut self) {
        if self.closing.is_some() {
            self.stage = Stage::Over;
            return;
        }
        if let Some(missed) = self.owed.take() {
            let session = self.attached.session();
            tracing::info!(%session, "a slow client is given fresh state");
            self.resync(missed).await;
        }
        self.outbox.batch_done();
        self.stage = Stage::Open;
    }

    async fn resync(&mut self, missed: Vec<(StoreName, Vec<ChangeHash>)>) {
        if self.attached.resync(missed).await.is_err() {
            self.outbox.end(Closing::RESTART);
        }
    }
}
