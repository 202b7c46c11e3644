//! Where workspaces live: one task each, opened when somebody comes and unloaded when nobody has
//! been there for a while.
//!
//! A message goes from [`Hub`] into the bounded mailbox of its workspace. The workspace's task
//! takes what waits there as one turn, hands it to the pure state machine and carries out the
//! effects that come back: commits go to the one thread that writes the log, reads to blocking
//! threads, deliveries to [`Channel`]s, firings to the runner of handlers. Answers of the log come
//! back to the task as inputs. The task waits for nothing else, so no client, handler or disk can
//! hold up another workspace.

mod calls;
pub mod clock;
mod deliver;
mod directory;
mod fire;
pub mod host;
mod meter;
mod read;
mod save;
#[cfg(test)]
mod tests;
mod turn;
pub(crate) mod walk;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use automerge::ChangeHash;
use tokio::sync::{OnceCell, Semaphore, oneshot, watch};
use tokio::time::timeout;

pub use calls::{Heard, NewCalls};
pub use deliver::{Channel, Outgoing};
pub use fire::{BoxError, Fired, Handler, Watch, WatchOptions, depth};
pub use host::{Host, Machine};
pub use meter::Meter;
pub use walk::TARGET as WALK;

use crate::hub::directory::{Directory, Lease};
use crate::hub::read::Reader;
use crate::hub::save::{Press, Writer};
use crate::hub::turn::Message;
use crate::ids::{SessionId, StoreName, WorkspaceId};
use crate::limits;
use crate::storage::{ChangeLog, StorageError};
use crate::workspace::{Answer, Ask, Burden, Pattern, Refusal, Request, Rights, WorkspaceConfig};

/// What a hub is made of.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The rules of every workspace.
    pub workspace: Arc<WorkspaceConfig>,
    /// Time without sessions or calls after which a workspace is unloaded, in milliseconds.
    pub idle_ms_max: u64,
    /// Bytes that loaded workspaces may hold together before idle ones are unloaded early.
    pub memory_bytes_max: usize,
    /// The machine that it runs on.
    pub host: Arc<dyn Host>,
}

/// Why the hub could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HubError {
    /// The workspace refused; nothing has changed.
    #[error("{0}")]
    Refused(Refusal),
    /// The hub has stopped, or the workspace failed while it dealt with this: what was asked may
    /// or may not have been done.
    #[error("the workspace is closed")]
    Closed,
    /// The workspace could not be opened. The next call tries again.
    #[error("the workspace cannot be opened: {0}")]
    Storage(Arc<StorageError>),
}

/// How a stop went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Stores with commits that did not become durable.
    pub unsaved: Vec<(WorkspaceId, StoreName)>,
}

/// What a hub holds at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Workspaces that are loaded, or being loaded.
    pub workspaces: usize,
    /// What they hold in memory, estimated, in bytes.
    pub bytes: usize,
    /// Saves that wait for the writer of the log.
    pub saves_waiting: usize,
}

/// The door to all workspaces. Clones are the same door; when the last one is dropped without
/// [`stop`](Self::stop), the workspaces stop by themselves and nobody waits for them.
#[derive(Debug, Clone)]
pub struct Hub {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    stopped: OnceCell<Stopped>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.directory.close();
        self.shared.phase.send_replace(Phase::Stopping);
    }
}

/// What the tasks of a hub have in common.
#[derive(Debug)]
struct Shared {
    config: HubConfig,
    directory: Directory,
    reader: Reader,
    writer: Writer,
    calls: Arc<NewCalls>,
    meter: Arc<Meter>,
    sessions: AtomicU64,
    phase: watch::Sender<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Finish what was begun, then end.
    Stopping,
    /// There is no more time to finish.
    Over,
}

impl Hub {
    /// A hub over a log, with the writer running and no workspace loaded. It must be
    /// called within a tokio runtime; that is where the workspaces will run.
    pub fn start(config: HubConfig, log: Arc<dyn ChangeLog>) -> Self {
        let calls = Arc::<NewCalls>::default();
        let meter = Arc::<Meter>::default();
        let press = Press {
            log: Arc::clone(&log),
            host: Arc::clone(&config.host),
            meter: Arc::clone(&meter),
            calls: Arc::clone(&calls),
        };
        let shared = Arc::new(Shared {
            directory: Directory::new(),
            reader: Reader::new(Arc::clone(&config.host), log),
            writer: Writer::start(press),
            meter,
            config,
            calls,
            sessions: AtomicU64::new(0),
            phase: watch::Sender::new(Phase::Running),
        });
        directory::relieve(&shared);
        Self { owner: Arc::new(Owner { shared, stopped: OnceCell::new() }) }
    }

    /// Attaches a client to a workspace, which is opened if it is not. It may do everything.
    pub async fn attach(
        &self,
        workspace: &WorkspaceId,
        user: &str,
        channel: Arc<dyn Channel>,
    ) -> Result<Attached, HubError> {
        self.attach_as(workspace, user, Arc::new(Rights::all()), channel).await
    }

    /// As [`attach`](Self::attach), for a client that may do no more than this.
    pub async fn attach_as(
        &self,
        workspace: &WorkspaceId,
        user: &str,
        rights: Arc<Rights>,
        channel: Arc<dyn Channel>,
    ) -> Result<Attached, HubError> {
        let lease = self.lease(workspace)?;
        let session = self.owner.shared.sessions.fetch_add(1, Ordering::Relaxed);
        let session = SessionId(session.saturating_add(1));
        let attached = Attached { session, lease, room: Arc::new(Semaphore::new(ROOM_MAX)) };
        let mailbox = attached.lease.mailbox().clone();
        let (reply, answer) = oneshot::channel();
        let user = user.to_owned();
        send(&mailbox, Message::Attach { attached, user, rights, channel, reply }).await?;
        answer.await.map_err(|_gone| HubError::Closed)?
    }

    /// Asks a workspace something, which is opened if it is not. What was written is durable
    /// when the answer comes, unless the configuration says that it need not be.
    pub async fn ask(&self, workspace: &WorkspaceId, ask: Ask) -> Result<Answer, HubError> {
        self.ask_as(workspace, Arc::new(Rights::all()), ask).await
    }

    /// As [`ask`](Self::ask), for somebody who may do no more than this.
    pub async fn ask_as(
        &self,
        workspace: &WorkspaceId,
        rights: Arc<Rights>,
        ask: Ask,
    ) -> Result<Answer, HubError> {
        // The lease is held to the end: the workspace stays loaded while an answer is awaited.
        let lease = self.lease(workspace)?;
        let (reply, answer) = oneshot::channel();
        let span = tracing::Span::current();
        send(lease.mailbox(), Message::Ask { ask, rights, reply, span }).await?;
        answer.await.map_err(|_gone| HubError::Closed)?
    }

    /// Runs a handler whenever a value at a matching path changes, until the guard is dropped.
    ///
    /// The workspace stays loaded as long as the guard lives, so that no change is missed. If the
    /// workspace fails and is opened again, the handler is there again too.
    pub async fn watch(
        &self,
        workspace: &WorkspaceId,
        pattern: Pattern,
        options: WatchOptions,
        handler: Handler,
    ) -> Result<Watch, HubError> {
        let lease = self.lease(workspace)?;
        let mailbox = lease.mailbox().clone();
        let (reply, answer) = oneshot::channel();
        send(&mailbox, Message::Watch { pattern, options, handler, lease, reply }).await?;
        answer.await.map_err(|_gone| HubError::Closed)?
    }

    /// Where it is heard that calls of webhooks lie in the log.
    pub fn new_calls(&self) -> Arc<NewCalls> {
        Arc::clone(&self.owner.shared.calls)
    }

    /// The machine that it runs on.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.owner.shared.config.host
    }

    /// What the hub holds at the moment.
    pub fn holding(&self) -> Holding {
        let (workspaces, bytes) = self.owner.shared.directory.holding();
        Holding { workspaces, bytes, saves_waiting: self.owner.shared.writer.waiting() }
    }

    /// What the hub has counted.
    pub fn meter(&self) -> &Meter {
        &self.owner.shared.meter
    }

    /// Stores with commits that are not durable yet.
    pub fn unsaved(&self) -> Vec<(WorkspaceId, StoreName)> {
        self.owner.shared.directory.unsaved()
    }

    /// Stops: nothing new is taken in, what was taken in is handled and saved, handlers run what
    /// waits for them, and every session is closed as shutting down. What cannot be saved within
    /// [`limits::STOP_MS_MAX`] is named. A second call waits for the first and says the same.
    ///
    /// If all went well, only this handle still holds the log: once it is dropped, the log can be
    /// opened again.
    pub async fn stop(&self) -> Stopped {
        self.stop_within(Duration::from_millis(limits::STOP_MS_MAX)).await
    }

    /// The same, with another time in which all must be saved.
    pub async fn stop_within(&self, most: Duration) -> Stopped {
        self.owner.stopped.get_or_init(|| self.owner.shared.stop(most)).await.clone()
    }

    fn lease(&self, workspace: &WorkspaceId) -> Result<Lease, HubError> {
        self.owner.shared.directory.lease(workspace, &self.owner.shared).ok_or(HubError::Closed)
    }
}

impl Shared {
    async fn stop(&self, most: Duration) -> Stopped {
        let all_ended = self.directory.close();
        self.phase.send_replace(Phase::Stopping);
        // A tenth of the time is for closing the sessions of workspaces that could not finish.
        let closing = most / 10;
        let finishing = most.saturating_sub(closing);
        let Some(mut all_ended) = all_ended else { return Stopped::default() };
        let ending = async {
            // Nobody sends: the channel closes when the last task has dropped its end.
            all_ended.recv().await;
            self.writer.end().await;
        };
        let mut ending = std::pin::pin!(ending);
        if timeout(finishing, &mut ending).await.is_err() {
            self.phase.send_replace(Phase::Over);
            if timeout(closing, ending).await.is_err() {
                tracing::error!("what still waits for the log was left behind");
            }
        }
        let unsaved = self.directory.unsaved();
        for (workspace, store) in &unsaved {
            tracing::error!(%workspace, %store, "the last commits of a store could not be saved");
        }
        Stopped { unsaved }
    }
}

/// A client's hold on its workspace. Dropped, it detaches the session, after all that was said.
#[derive(Debug)]
pub struct Attached {
    session: SessionId,
    lease: Lease,
    /// What the session may have under way, in parts of [`limits::SESSION_WAITING_BYTES_MAX`].
    room: Arc<Semaphore>,
}

/// One part of what a session may have under way, in bytes.
const ROOM_BYTES: usize = 1 << 10;
/// All parts, and those that a message takes at least.
const ROOM_MAX: usize = limits::SESSION_WAITING_BYTES_MAX / ROOM_BYTES;
const ROOM_MIN: usize = ROOM_MAX / limits::SESSION_WAITING_MESSAGES_MAX;

impl Attached {
    /// The session's name.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Hands on what the client said in a few bytes; see [`say_long`](Self::say_long).
    pub async fn say(&self, request: Request) -> Result<(), HubError> {
        self.say_long(request, 0).await
    }

    /// Hands on what the client said in so many bytes. It waits while the workspace's mailbox is
    /// full, and while the session has more under way than one may have: a client is read no
    /// faster than its workspace works, and a busy one leaves room for the others.
    pub async fn say_long(&self, request: Request, bytes: usize) -> Result<(), HubError> {
        let parts = (bytes / ROOM_BYTES).clamp(ROOM_MIN, ROOM_MAX);
        let parts = u32::try_from(parts).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(parts).await;
        let burden = Burden::new(room.map_err(|_closed| HubError::Closed)?);
        let session = self.session;
        let span = walk::message(bytes);
        send(self.lease.mailbox(), Message::Say { session, request, burden, span }).await
    }

    /// Says that what was delivered to the client has been thrown away, because it was too slow
    /// to take it: JSON stores are told anew, and of the stores in `missed` what came after the
    /// heads beside them.
    pub async fn resync(&self, missed: Vec<(StoreName, Vec<ChangeHash>)>) -> Result<(), HubError> {
        let session = self.session;
        send(self.lease.mailbox(), Message::Resync { session, missed }).await
    }

    /// Changes what the session may do, for all that it says after this.
    pub async fn entitle(&self, rights: Arc<Rights>) -> Result<(), HubError> {
        let session = self.session;
        send(self.lease.mailbox(), Message::Entitle { session, rights }).await
    }

    /// Ends the session from this side, after all that was said: its channel is closed.
    pub async fn close(&self, refusal: Refusal) -> Result<(), HubError> {
        let session = self.session;
        send(self.lease.mailbox(), Message::Close { session, refusal }).await
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.lease.post(Message::Detach { session: self.session });
    }
}

type Mailbox = tokio::sync::mpsc::Sender<Message>;

async fn send(mailbox: &Mailbox, message: Message) -> Result<(), HubError> {
    mailbox.send(message).await.map_err(|_closed| HubError::Closed)
}

/// Locks what is never left half changed: a panic of another holder does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
