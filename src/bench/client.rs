//! One client at work: its socket, its side of the document, and when it edits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};

use super::board::Board;
use super::socket::{Socket, Traffic, Way};
use super::voice::{Claim, Holdings, Voice};
use super::{Outcome, now, words};

/// When a client edits.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Never.
    Silent,
    /// Each so often, the first time after this delay.
    Every(Duration, Duration),
    /// Whenever fewer of its edits than this wait for their acknowledgement.
    Window(u64),
}

/// What all clients of a run do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Edit, and listen.
    Write,
    /// Only listen.
    Drain,
    /// Come to an end.
    Stop,
}

/// What is left of a client.
#[derive(Debug)]
pub struct Remains {
    /// The document it worked on.
    pub document: String,
    /// What it holds of it.
    pub holdings: Holdings,
    /// What went through its socket since it had the document.
    pub traffic: Traffic,
    /// From the making of others' edits until they were seen here.
    pub delivered: Vec<Duration>,
    /// From the making of own edits until the server was known to have them.
    pub acked: Vec<Duration>,
    /// Own edits.
    pub edits: u64,
    /// What the server has promised to keep.
    pub claim: Claim,
    /// Why it ended before it was told to, if it did.
    pub cut: Option<String>,
}

/// A client that has its document, and waits for the run to start.
pub struct Client {
    /// Its socket.
    pub socket: Socket,
    /// Its side of the document.
    pub voice: Box<dyn Voice>,
    document: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").field("document", &self.document).finish_non_exhaustive()
    }
}

impl Client {
    /// Opens a socket and a document, and returns when server and client have the same.
    pub async fn open(
        way: &Way,
        document: &str,
        voice: Box<dyn Voice>,
        patience: Duration,
    ) -> Outcome<Self> {
        let socket = Socket::connect(way).await?;
        let mut client = Self { socket, voice, document: document.to_owned() };
        let opened = timeout(patience, client.settle()).await;
        opened.map_err(|_elapsed| "the document did not settle in time".to_owned())??;
        Ok(client)
    }

    async fn settle(&mut self) -> Outcome<()> {
        self.voice.greet()?;
        self.speak().await?;
        while !self.voice.settled() {
            let message = self.socket.hear().await?;
            self.voice.hear(&message)?;
            self.speak().await?;
        }
        Ok(())
    }

    /// Makes so many edits, says them together, and waits until the server has them.
    pub async fn edit_and_wait(&mut self, edits: u64, patience: Duration) -> Outcome<()> {
        let until = self.voice.acked() + edits;
        for _ in 0..edits {
            self.voice.edit()?;
        }
        self.speak().await?;
        let waiting = async {
            while self.voice.acked() < until {
                let message = self.socket.hear().await?;
                self.voice.hear(&message)?;
                self.speak().await?;
            }
            Ok(())
        };
        timeout(patience, waiting).await.map_err(|_elapsed| "no acknowledgement".to_owned())?
    }

    async fn speak(&mut self) -> Outcome<()> {
        for message in self.voice.say()? {
            self.socket.say(message).await?;
        }
        Ok(())
    }

    /// Works until the run stops. A client whose socket breaks tells of it in its remains.
    pub async fn work(
        self,
        pace: Pace,
        board: Arc<Board>,
        mut phase: watch::Receiver<Phase>,
    ) -> Remains {
        let mut work = Work::new(self, pace, board);
        let cut = work.until_stopped(&mut phase).await.err();
        work.remains(cut)
    }
}

/// A client in a run.
struct Work {
    client: Client,
    pace: Pace,
    board: Arc<Board>,
    ticks: Interval,
    /// When the own edits were made that the server is not known to have.
    waiting: VecDeque<Instant>,
    /// Edits and acknowledgements from before the run.
    edits: u64,
    known_acked: u64,
    delivered: Vec<Duration>,
    acked: Vec<Duration>,
}

impl Work {
    fn new(mut client: Client, pace: Pace, board: Arc<Board>) -> Self {
        let (delay, period) = match pace {
            Pace::Every(delay, period) => (delay, period),
            Pace::Silent | Pace::Window(_) => (Duration::ZERO, Duration::from_secs(1)),
        };
        let mut ticks = interval_at((now() + delay).into(), period);
        // A late client must not make up for it with a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let known_acked = client.voice.acked();
        // What opening the document took is measured elsewhere.
        client.socket.traffic = Traffic::default();
        let (waiting, delivered, acked) = Default::default();
        Self { client, pace, board, ticks, waiting, edits: 0, known_acked, delivered, acked }
    }

    async fn until_stopped(&mut self, phase: &mut watch::Receiver<Phase>) -> Outcome<()> {
        loop {
            let now_is = *phase.borrow_and_update();
            if now_is == Phase::Stop {
                return Ok(());
            }
            let writes = now_is == Phase::Write;
            while writes && self.may_write() {
                self.edit().await?;
            }
            tokio::select! {
                _ = self.ticks.tick(), if writes && self.by_the_clock() => self.edit().await?,
                message = self.client.socket.hear() => {
                    let new = self.client.voice.hear(&message?)?;
                    self.client.speak().await?;
                    self.note(&new);
                }
                changed = phase.changed() => changed.map_err(words)?,
            }
        }
    }

    fn by_the_clock(&self) -> bool {
        matches!(self.pace, Pace::Every(..))
    }

    fn may_write(&self) -> bool {
        matches!(self.pace, Pace::Window(most) if (self.waiting.len() as u64) < most)
    }

    async fn edit(&mut self) -> Outcome<()> {
        let at = now();
        let key = self.client.voice.edit()?;
        self.board.made(key, at);
        self.edits += 1;
        self.waiting.push_back(at);
        self.client.speak().await
    }

    /// Counts what a message brought: others' edits, and acknowledgements of its own.
    fn note(&mut self, new: &[super::board::EditKey]) {
        let at = now();
        self.delivered.extend(self.board.seen(new, at));
        let acked = self.client.voice.acked();
        let fresh = acked.saturating_sub(self.known_acked);
        self.known_acked = acked;
        for made in self.waiting.drain(..(fresh as usize).min(self.waiting.len())) {
            self.acked.push(at.saturating_duration_since(made));
        }
        self.board.acked(fresh);
    }

    fn remains(self, cut: Option<String>) -> Remains {
        Remains {
            holdings: self.client.voice.holdings(),
            claim: self.client.voice.claim(),
            document: self.client.document,
            traffic: self.client.socket.traffic,
            delivered: self.delivered,
            acked: self.acked,
            edits: self.edits,
            cut,
        }
    }
}
