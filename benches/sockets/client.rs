//! One client at work: its socket, its side of the document, and when it edits.

use std::sync::Arc;
use std::time::Duration;

use automerge::ChangeHash;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};

use crate::board::Board;
use crate::link::{Link, Traffic};
use crate::replica::Follower;
use crate::{Outcome, now};

/// When a client edits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Never.
    Silent,
    /// Each so often, the first time after this delay.
    Every(Duration, Duration),
    /// Whenever fewer of its edits than this wait for their acknowledgement.
    Window(u64),
}

/// What all clients of a run do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Phase {
    /// Edit, and listen.
    Write,
    /// Only listen.
    Drain,
    /// Come to an end.
    Stop,
}

/// What is left of a client.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) document: String,
    pub(crate) heads: Vec<ChangeHash>,
    pub(crate) traffic: Traffic,
    /// From the making of others' edits until they were applied here.
    pub(crate) delivered: Vec<Duration>,
    /// From the making of own edits until the server was known to have them.
    pub(crate) acked: Vec<Duration>,
}

/// A client that has its document, and waits for the run to start.
pub(crate) struct Client<F> {
    pub(crate) link: Link,
    pub(crate) side: F,
    pub(crate) document: String,
}

impl<F: Follower> Client<F> {
    /// Opens a socket and a document, and returns when server and client have the same.
    ///
    /// A server that only copies is asked to be put on the document; it has nothing to give.
    pub(crate) async fn open(
        url: &str,
        name: &str,
        document: &str,
        (side, copied): (F, bool),
        patience: Duration,
    ) -> Outcome<Self> {
        let link = Link::open(url, name).await?;
        let mut client = Self { link, side, document: document.to_owned() };
        let opened = timeout(patience, client.settle(copied)).await;
        opened.map_err(|_elapsed| "the document did not settle in time".to_owned())??;
        Ok(client)
    }

    async fn settle(&mut self, copied: bool) -> Outcome<()> {
        if copied {
            self.link.send("request", &self.document, &[]).await?;
            return self.link.next().await.map(drop);
        }
        let first = if self.side.heads().is_empty() { "request" } else { "sync" };
        let message = self.side.say().unwrap_or_default();
        self.link.send(first, &self.document, &message).await?;
        while !self.side.settled() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Takes the next frame, and answers it; returns the changes that were new.
    async fn hear(&mut self) -> Outcome<Vec<ChangeHash>> {
        let frame = self.link.next().await?;
        self.take(&frame).await
    }

    async fn take(&mut self, frame: &crate::frame::Frame) -> Outcome<Vec<ChangeHash>> {
        if frame.document != self.document {
            return Ok(Vec::new());
        }
        match frame.kind.as_str() {
            "sync" | "request" if frame.data.is_empty() => Ok(Vec::new()),
            "sync" | "request" => {
                let new = self.side.hear(&frame.data)?;
                self.speak().await?;
                Ok(new)
            }
            "doc-unavailable" => Err("the server says that it has no such document".to_owned()),
            _ => Ok(Vec::new()),
        }
    }

    async fn speak(&mut self) -> Outcome<()> {
        match self.side.say() {
            Some(message) => self.link.send("sync", &self.document, &message).await,
            None => Ok(()),
        }
    }

    /// Works until the run stops.
    pub(crate) async fn work(
        self,
        pace: Pace,
        board: Arc<Board>,
        mut phase: watch::Receiver<Phase>,
    ) -> Outcome<Remains> {
        let mut work = Work::new(self, pace, board);
        loop {
            let now_is = *phase.borrow_and_update();
            if now_is == Phase::Stop {
                return Ok(work.remains());
            }
            let writes = now_is == Phase::Write;
            while writes && work.may_write() {
                work.edit().await?;
            }
            tokio::select! {
                _ = work.ticks.tick(), if writes && work.by_the_clock() => work.edit().await?,
                frame = work.client.link.next() => {
                    let new = work.client.take(&frame?).await?;
                    work.note(&new);
                }
                changed = phase.changed() => changed.map_err(|error| error.to_string())?,
            }
        }
    }
}

/// A client in a run.
struct Work<F> {
    client: Client<F>,
    pace: Pace,
    board: Arc<Board>,
    ticks: Interval,
    /// When the own edits were made that the server is not known to have.
    waiting: std::collections::VecDeque<std::time::Instant>,
    known_acked: u64,
    delivered: Vec<Duration>,
    acked: Vec<Duration>,
}

impl<F: Follower> Work<F> {
    fn new(mut client: Client<F>, pace: Pace, board: Arc<Board>) -> Self {
        let (delay, period) = match pace {
            Pace::Every(delay, period) => (delay, period),
            _ => (Duration::ZERO, Duration::from_secs(1)),
        };
        let mut ticks = interval_at((now() + delay).into(), period);
        // A late client must not make up for it with a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (waiting, delivered, acked) = Default::default();
        // What opening the document took is measured elsewhere.
        client.link.traffic = Traffic::default();
        Self { client, pace, board, ticks, waiting, known_acked: 0, delivered, acked }
    }

    fn by_the_clock(&self) -> bool {
        matches!(self.pace, Pace::Every(..))
    }

    fn may_write(&self) -> bool {
        matches!(self.pace, Pace::Window(most) if (self.waiting.len() as u64) < most)
    }

    async fn edit(&mut self) -> Outcome<()> {
        let at = now();
        if let Some(hash) = self.client.side.edit() {
            self.board.made(hash, at);
            self.waiting.push_back(at);
        }
        self.client.speak().await
    }

    /// Counts what a frame brought: others' edits, and acknowledgements of its own.
    fn note(&mut self, new: &[ChangeHash]) {
        let at = now();
        self.delivered.extend(self.board.seen(new, at));
        let acked = self.client.side.acked();
        let fresh = acked.saturating_sub(self.known_acked);
        self.known_acked = acked;
        for made in self.waiting.drain(..(fresh as usize).min(self.waiting.len())) {
            self.acked.push(at - made);
        }
        self.board.acked(fresh);
    }

    fn remains(self) -> Remains {
        Remains {
            heads: self.client.side.heads(),
            document: self.client.document,
            traffic: self.client.link.traffic,
            delivered: self.delivered,
            acked: self.acked,
        }
    }
}
