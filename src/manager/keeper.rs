//! The task behind a manager: its life cycle, and the container, one thing after another.
//!
//! Because one task does it all, calls that come together initialize once, and no two saves of a
//! store overtake each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::exchange::Exchange;
use super::{ManagerError, Sessions, Unsaved};
use crate::hub::{Attached, Channel, Hub, Outgoing};
use crate::ids::{StoreName, WorkspaceId};
use crate::limits;
use crate::workspace::{Ask, Delivery, Hello, Refusal, Request};

/// How long commits are collected before the container is saved: it takes whole states.
const SAVE_PAUSE: Duration = Duration::from_millis(100);
/// How long a container that failed is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Command {
    Initialize(oneshot::Sender<Result<(), ManagerError>>),
    Shutdown(oneshot::Sender<Unsaved>),
    SaveDirty(oneshot::Sender<Result<(), ManagerError>>),
    SaveStore(StoreName, oneshot::Sender<Result<(), ManagerError>>),
}

/// The task behind a manager.
#[derive(Debug)]
pub(super) struct Keeper {
    hub: Hub,
    id: WorkspaceId,
    exchange: Option<Exchange>,
    open: Arc<AtomicBool>,
    /// Hears of every commit of a persistent store, and keeps the workspace loaded.
    tap: Option<(Attached, Arc<Tap>)>,
    stirred: Arc<Notify>,
    /// How long to wait before the container is looked after; `None`: until something happens.
    pause: Option<Duration>,
    /// Whether it was said that the container fails.
    failing: bool,
}

/// A channel that only notices that something was said.
#[derive(Debug)]
struct Tap {
    stirred: Arc<Notify>,
    lost: AtomicBool,
}

impl Channel for Tap {
    fn deliver(&self, message: &Arc<Outgoing>) {
        if matches!(message.delivery(), Delivery::Patch { .. } | Delivery::Snapshot { .. }) {
            self.stirred.notify_one();
        }
    }

    fn close(&self, _refusal: &Refusal) {
        self.lost.store(true, Ordering::Release);
        self.stirred.notify_one();
    }
}

impl Keeper {
    pub(super) fn new(
        hub: Hub,
        id: WorkspaceId,
        exchange: Option<Exchange>,
        open: Arc<AtomicBool>,
    ) -> Self {
        let stirred = Arc::default();
        Self { hub, id, exchange, open, tap: None, stirred, pause: None, failing: false }
    }

    /// Works until the manager is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, all: Arc<Sessions>) {
        loop {
            let pause = self.pause;
            let is_open = self.open.load(Ordering::Acquire);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command, &all).await,
                    None => return,
                },
                () = self.stirred.notified(), if is_open && pause.is_none() => {
                    self.pause = Some(SAVE_PAUSE);
                }
                () = sleep(pause.unwrap_or_default()), if is_open && pause.is_some() => {
                    self.look_after_container().await;
                }
            }
        }
    }

    async fn obey(&mut self, command: Command, all: &Sessions) {
        // Who commanded may have gone; what was done is done.
        match command {
            Command::Initialize(reply) => drop(reply.send(self.initialize().await)),
            Command::Shutdown(reply) => drop(reply.send(self.shutdown(all).await)),
            Command::SaveDirty(reply) => drop(reply.send(self.save_dirty().await)),
            Command::SaveStore(store, reply) => drop(reply.send(self.save_store(&store).await)),
        }
    }

    async fn initialize(&mut self) -> Result<(), ManagerError> {
        if self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        self.listen().await?;
        if let Some(exchange) = &mut self.exchange {
            exchange.begin().await?;
            if exchange.is_connected() {
                exchange.read_all().await?;
            } else {
                tracing::debug!(
                    "the container is away: persistent stores are read when it is back"
                );
            }
            self.pause = Some(SAVE_PAUSE);
        }
        self.open.store(true, Ordering::Release);
        tracing::info!(workspace = %self.id, "workspace initialized");
        Ok(())
    }

    /// Attaches the tap, if there is none that works.
    async fn listen(&mut self) -> Result<(), ManagerError> {
        let works = self.tap.as_ref().is_some_and(|(_, tap)| !tap.lost.load(Ordering::Acquire));
        if works {
            return Ok(());
        }
        let tap =
            Arc::new(Tap { stirred: Arc::clone(&self.stirred), lost: AtomicBool::new(false) });
        let channel = Arc::<Tap>::clone(&tap);
        let attached = self.hub.attach(&self.id, "container", channel).await?;
        let stores = self.exchange.as_ref().map(Exchange::stores).unwrap_or_default();
        let hello = Hello { stores: Some(stores), ..Hello::default() };
        attached.say(Request::Hello(hello)).await?;
        self.tap = Some((attached, tap));
        Ok(())
    }

    async fn shutdown(&mut self, all: &Sessions) -> Unsaved {
        if !self.open.swap(false, Ordering::AcqRel) {
            return Unsaved::default();
        }
        let saving = async {
            if let Err(error) = self.hub.ask(&self.id, Ask::Flush).await {
                tracing::warn!(%error, "commits were lost before the workspace shut down");
            }
            if let Err(error) = self.save_dirty().await {
                tracing::warn!(%error, "the container could not be saved at shutdown");
            }
            match &self.exchange {
                Some(exchange) => exchange.behind().await,
                None => Ok(Vec::new()),
            }
        };
        let behind = timeout(Duration::from_millis(limits::STOP_MS_MAX), saving).await;
        let log = self.hub.unsaved().into_iter().map(|(_, store)| store).collect();
        // Who could not be asked in time counts as unsaved.
        let persistent = || self.exchange.as_ref().map(Exchange::stores).unwrap_or_default();
        let container = behind.ok().and_then(Result::ok).unwrap_or_else(persistent);
        let sessions = all.with(std::mem::take);
        for attached in sessions.values() {
            if let Err(error) = attached.close(Refusal::ShuttingDown).await {
                tracing::debug!(%error, "a session had ended before the shutdown");
            }
        }
        self.pause = None;
        let unsaved = Unsaved { log, container };
        if unsaved != Unsaved::default() {
            tracing::warn!(?unsaved, "the workspace shut down with something unsaved");
        }
        tracing::info!(workspace = %self.id, "workspace shut down");
        unsaved
    }

    async fn save_dirty(&mut self) -> Result<(), ManagerError> {
        // What is read for the container is durable; without one, this alone is the barrier.
        self.hub.ask(&self.id, Ask::Flush).await?;
        match &mut self.exchange {
            Some(exchange) if exchange.is_connected() => {
                exchange.read_unread().await?;
                exchange.save_dirty().await
            }
            _ => {
                tracing::debug!("no container is connected: nothing is saved there");
                Ok(())
            }
        }
    }

    async fn save_store(&mut self, store: &StoreName) -> Result<(), ManagerError> {
        let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.is_connected())
        else {
            tracing::warn!(%store, "no container is connected");
            return Ok(());
        };
        if !exchange.keeps(store) {
            tracing::warn!(%store, "the store is not persistent");
            return Ok(());
        }
        exchange.read_unread().await?;
        exchange.save_one(store, true).await
    }

    /// Reads what has not been read and saves what has changed. Whether the container is
    /// connected is not asked: what it says of that it says of the last call, and somebody has to
    /// make the next.
    async fn look_after_container(&mut self) {
        let done = self.bring_in_step().await;
        self.pause = done.is_err().then_some(RETRY_PAUSE);
        match done {
            Ok(()) => self.failing = false,
            Err(error) if self.failing => tracing::debug!(%error, "the container still fails"),
            Err(error) => {
                self.failing = true;
                tracing::warn!(%error, "the container fails and is tried again from time to time");
            }
        }
    }

    async fn bring_in_step(&mut self) -> Result<(), ManagerError> {
        self.listen().await?;
        if let Some(exchange) = &mut self.exchange {
            exchange.read_unread().await?;
            exchange.save_dirty().await?;
        }
        Ok(())
    }
}
