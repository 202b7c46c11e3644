//! The library surface for one embedded workspace, with the names of the original
//! `WorkspaceManager`.
//!
//! A manager is a [`Hub`] with one workspace, and a task that keeps the user's own [`Container`] of
//! plain JSON in step with it. What a commit is, when it is shown and what merges are the hub's
//! and the workspace's business: a manager adds a life cycle, channels and the container.
//!
//! Reading, attaching channels and watching paths work from the start, on the initial state.
//! Writing works between [`initialize`](WorkspaceManager::initialize) and
//! [`shutdown`](WorkspaceManager::shutdown).

mod exchange;
mod keeper;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::ser::Serializer;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::hub::{
    Attached, Channel, Handler, Host, Hub, HubConfig, HubError, Machine, Watch, WatchOptions, depth,
};
use crate::ids::{Seq, SessionId, StoreName, WorkspaceId};
use crate::json::{Json, JsonPatch, Object};
use crate::limits;
use crate::storage::ChangeLog;
use crate::storage::container::{Container, ContainerError};
use crate::storage::memory::MemoryLog;
use crate::workspace::{
    Answer, Ask, Author, Changes, Cursor, Edit, Hello, Pattern, Refusal, Request, StoreConfig,
    Terms, WorkspaceConfig, WorkspaceLimits, Write,
};
use exchange::{Exchange, Past};
use keeper::{Command, Keeper};

/// The stores of a workspace when nothing else is said, each with whether it is persistent.
///
/// They start as `{}`. The first is named by the original's examples; beside the chart the user
/// has preferences, and every channel can leave there what only matters while it is open.
pub const DEFAULT_STORES: [(&str, bool); 3] =
    [("chartState", true), ("preferences", true), ("channelState", false)];

/// The rules of [`DEFAULT_STORES`].
pub fn default_stores() -> Vec<StoreConfig> {
    let named = DEFAULT_STORES.into_iter().filter_map(|(name, persistent)| {
        let name = name.parse().ok()?;
        Some(StoreConfig { persistent, ..StoreConfig::open(name) })
    });
    named.collect()
}

/// What a manager is made of.
#[derive(Debug, Clone)]
pub struct WorkspaceManagerConfig {
    /// Whose workspace it is. It also names the workspace in the log: one log must not have two
    /// managers of one user at a time.
    pub user_id: String,
    /// The session that the workspace serves, for the contexts of triggers.
    pub session_id: String,
    /// The stores, in the order in which they are answered.
    pub stores: Vec<StoreConfig>,
    /// Whether stores that are not listed may come to be.
    pub create_stores: bool,
    /// The user's own place for plain JSON. Listed persistent stores are kept in step with it.
    pub container: Option<Arc<dyn Container>>,
    /// Where commits become durable. Without one they are kept in memory, and the container is
    /// the only durable place.
    pub log: Option<Arc<dyn ChangeLog>>,
    /// What a channel, and server code, may bring in.
    pub limits: WorkspaceLimits,
    /// The machine that it runs on.
    pub host: Arc<dyn Host>,
}

impl WorkspaceManagerConfig {
    /// A manager of these stores, without container and log.
    pub fn new(
        user_id: impl Into<String>,
        session_id: impl Into<String>,
        stores: Vec<StoreConfig>,
    ) -> Self {
        Self {
            user_id: user_id.into(),
            session_id: session_id.into(),
            stores,
            create_stores: false,
            container: None,
            log: None,
            limits: WorkspaceLimits::default(),
            host: Arc::new(Machine),
        }
    }
}

/// Why a manager could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManagerError {
    /// It is not initialized, or shut down.
    #[error("the workspace is not initialized")]
    NotInitialized,
    /// The session is not attached, or not any more.
    #[error("the session is not attached")]
    NoSession,
    /// The workspace refused, or could not.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The container could not be read or written.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The container took longer than it may.
    #[error("the container did not answer within {ms_max} ms")]
    ContainerSilent {
        /// The time that it had, in milliseconds.
        ms_max: u64,
    },
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The seq of the state with the change in it.
    pub seq: Seq,
    /// Whether there was anything to change.
    pub changed: bool,
}

/// What could not be saved before the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsaved {
    /// Stores with commits that the log does not have.
    pub log: Vec<StoreName>,
    /// Stores that the container does not hold as they are.
    pub container: Vec<StoreName>,
}

/// The workspace of one user. Clones are the same workspace; when the last is dropped, it ends.
#[derive(Debug, Clone)]
pub struct WorkspaceManager {
    user_id: Arc<str>,
    session_id: Arc<str>,
    rules: Arc<WorkspaceConfig>,
    id: WorkspaceId,
    hub: Hub,
    /// Whether the container is the only place where a commit becomes durable.
    only_container: bool,
    open: Arc<AtomicBool>,
    sessions: Arc<Sessions>,
    keeper: mpsc::Sender<Command>,
}

/// The attached sessions.
#[derive(Debug, Default)]
struct Sessions(Mutex<BTreeMap<SessionId, Arc<Attached>>>);

impl Sessions {
    fn with<R>(&self, look: impl FnOnce(&mut BTreeMap<SessionId, Arc<Attached>>) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A channel's hold on the workspace. Dropped, it detaches the channel.
#[derive(Debug)]
pub struct AttachedChannel {
    session: SessionId,
    sessions: Arc<Sessions>,
}

impl AttachedChannel {
    /// The name of the session, for [`WorkspaceManager::handle_hello`] and
    /// [`WorkspaceManager::handle_patch`].
    pub fn session(&self) -> SessionId {
        self.session
    }
}

impl Drop for AttachedChannel {
    fn drop(&mut self) {
        let attached = self.sessions.with(|sessions| sessions.remove(&self.session));
        // Not under the lock: it sends.
        drop(attached);
    }
}

/// Life.
impl WorkspaceManager {
    /// A workspace with its stores in their initial state. It must be called within a tokio
    /// runtime; that is where the workspace will run.
    pub fn new(config: WorkspaceManagerConfig) -> Self {
        let rules = Arc::new(WorkspaceConfig {
            create_stores: config.create_stores,
            stores: config.stores,
            limits: config.limits,
            user_id: config.user_id.clone(),
            session_id: config.session_id.clone(),
            ..WorkspaceConfig::default()
        });
        let only_container = config.log.is_none() && config.container.is_some();
        let hub = Hub::start(
            HubConfig {
                workspace: Arc::clone(&rules),
                idle_ms_max: limits::IDLE_MS_MAX,
                memory_bytes_max: limits::MEMORY_BYTES_MAX,
                host: Arc::clone(&config.host),
            },
            config.log.clone().unwrap_or_else(|| Arc::new(MemoryLog::new())),
        );
        let id = workspace_of(&config.user_id);
        let open = Arc::new(AtomicBool::new(false));
        let sessions = Arc::<Sessions>::default();
        let exchange = config.container.map(|container| {
            let log = config.log.clone().map(|log| Past { host: Arc::clone(&config.host), log });
            Exchange::new(hub.clone(), id.clone(), container, log, &rules.stores)
        });
        let (keeper, commands) = mpsc::channel(limits::MAILBOX_INPUTS_MAX);
        let task = Keeper::new(hub.clone(), id.clone(), exchange, Arc::clone(&open));
        tokio::spawn(task.run(commands, Arc::clone(&sessions)));
        Self {
            user_id: config.user_id.into(),
            session_id: config.session_id.into(),
            rules,
            id,
            hub,
            only_container,
            open,
            sessions,
            keeper,
        }
    }

    /// Opens the workspace for writing. The persistent stores are read from the container, if
    /// there is one and it is connected; if not, they are read and merged as soon as it is.
    ///
    /// Calls that come together read once, and once it is done nothing is done again. If the
    /// container fails, so does this, and it may be called again.
    pub async fn initialize(&self) -> Result<(), ManagerError> {
        self.command(Command::Initialize).await?
    }

    /// Closes the workspace for writing, saves what is to be saved, to the log and to the
    /// container, within [`limits::STOP_MS_MAX`], and closes all channels. Without
    /// [`initialize`](Self::initialize) before, it does nothing.
    ///
    /// What could not be saved is returned; it stays in memory, and reading goes on.
    pub async fn shutdown(&self) -> Result<Unsaved, ManagerError> {
        self.command(Command::Shutdown).await
    }

    /// Whether the workspace is open for writing.
    pub fn is_initialized(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whose workspace it is.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The session that the workspace serves.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The hub that it runs on, and the name of the workspace there: for sessions that are served
    /// otherwise than through a channel.
    #[cfg(feature = "sim")]
    pub(crate) fn ground(&self) -> (&Hub, &WorkspaceId) {
        (&self.hub, &self.id)
    }

    fn must_be_open(&self) -> Result<(), ManagerError> {
        if self.is_initialized() { Ok(()) } else { Err(ManagerError::NotInitialized) }
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ManagerError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.keeper.send(command(reply)).await;
        sent.map_err(|_gone| HubError::Closed)?;
        Ok(answer.await.map_err(|_gone| HubError::Closed)?)
    }
}

/// Channels.
impl WorkspaceManager {
    /// Attaches a channel, until the guard is dropped or the workspace shuts down. There may be
    /// any number of them; none replaces another.
    pub async fn attach_channel(
        &self,
        channel: Arc<dyn Channel>,
    ) -> Result<AttachedChannel, ManagerError> {
        let attached = self.hub.attach(&self.id, &self.user_id, channel).await?;
        let session = attached.session();
        self.sessions.with(|sessions| sessions.insert(session, Arc::new(attached)));
        Ok(AttachedChannel { session, sessions: Arc::clone(&self.sessions) })
    }

    /// Whether any channel is attached.
    pub fn has_channel(&self) -> bool {
        self.sessions.with(|sessions| !sessions.is_empty())
    }

    /// Answers a client's hello: for every store a snapshot, a patch or nothing, in the order of
    /// the stores. They are delivered when this returns. A session that is not attached is
    /// answered nothing.
    pub async fn handle_hello(
        &self,
        session: SessionId,
        seqs: BTreeMap<StoreName, i64>,
    ) -> Result<(), ManagerError> {
        self.must_be_open()?;
        let Some(attached) = self.session(session) else {
            tracing::warn!(%session, "no channel is attached: a hello cannot be answered");
            return Ok(());
        };
        attached.say(Request::Hello(Hello { seqs, ..Hello::default() })).await?;
        // The states come when all stores are loaded, which the hello may have to wait for.
        self.ask(Ask::States).await?;
        self.ask(Ask::Flush).await?;
        Ok(())
    }

    /// Takes a client's edit, made on the state at `seq`. When this returns the edit is durable
    /// and all others have been told, or it was refused and the sender has been told. If the
    /// container is the only durable place, it was offered the new state, too.
    pub async fn handle_patch(
        &self,
        session: SessionId,
        store: &StoreName,
        seq: i64,
        patch: JsonPatch,
    ) -> Result<(), ManagerError> {
        self.must_be_open()?;
        let attached = self.session(session).ok_or(ManagerError::NoSession)?;
        let edit = Request::Patch { store: store.clone(), seq, id: None, patch };
        attached.say(edit).await?;
        // The state comes when the store is loaded, after what waited for that.
        self.ask(Ask::Get { store: store.clone() }).await?;
        self.ask(Ask::Flush).await?;
        if self.only_container
            && let Err(error) = self.save_dirty_stores().await
        {
            tracing::warn!(%store, %error, "an edit is not at the container yet");
        }
        Ok(())
    }

    fn session(&self, session: SessionId) -> Option<Arc<Attached>> {
        self.sessions.with(|sessions| sessions.get(&session).cloned())
    }
}

/// State.
impl WorkspaceManager {
    /// The state of a store; `None` if there is no such store.
    pub async fn get_state(&self, store: &StoreName) -> Result<Option<Json>, ManagerError> {
        Ok(self.get_state_with_cursor(store).await?.map(|(state, _)| state))
    }

    /// The state of a store, and its name as the base of a [`change_at`](Self::change_at).
    pub async fn get_state_with_cursor(
        &self,
        store: &StoreName,
    ) -> Result<Option<(Json, Cursor)>, ManagerError> {
        match self.ask(Ask::Get { store: store.clone() }).await {
            Ok(Answer::State { state, cursor }) => Ok(Some((state, cursor))),
            Err(HubError::Refused(Refusal::NoStore)) => Ok(None),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes this the whole state of a store. What differs is one commit; if nothing does, nobody
    /// hears of it. What came in since the caller read the state is overwritten: see
    /// [`change_at`](Self::change_at).
    pub async fn set_state(&self, store: &StoreName, state: Json) -> Result<Written, ManagerError> {
        self.write(store, None, Edit::Set(state)).await
    }

    /// Sets members of the root object of a store, each whole; nothing is removed. `None` if the
    /// state is not an object: then nothing is done.
    pub async fn update_state(
        &self,
        store: &StoreName,
        updates: Object,
    ) -> Result<Option<Written>, ManagerError> {
        match self.write(store, None, Edit::Update(Json::Object(updates))).await {
            Err(ManagerError::Hub(HubError::Refused(Refusal::NotAnObject))) => Ok(None),
            written => written.map(Some),
        }
    }

    /// Applies a JSON merge patch (RFC 7396) to a store.
    pub async fn merge_state(
        &self,
        store: &StoreName,
        patch: Json,
    ) -> Result<Written, ManagerError> {
        self.write(store, None, Edit::Merge(patch)).await
    }

    /// Applies a JSON patch (RFC 6902) to a store, all or nothing.
    pub async fn patch_state(
        &self,
        store: &StoreName,
        patch: JsonPatch,
    ) -> Result<Written, ManagerError> {
        self.write(store, None, Edit::Patch(patch)).await
    }

    /// Changes a store as it was when the cursor was read, and merges that with what has come in
    /// since: nobody's edit is overwritten unread.
    pub async fn change_at(
        &self,
        store: &StoreName,
        base: Cursor,
        edit: Edit,
    ) -> Result<Written, ManagerError> {
        self.write(store, Some(base), edit).await
    }

    /// The names of the stores, those of the configuration first, in its order.
    pub async fn store_names(&self) -> Result<Vec<StoreName>, ManagerError> {
        match self.ask(Ask::Stores).await? {
            Answer::Stores(stores) => Ok(stores.into_iter().map(|(name, _)| name).collect()),
            other => Err(unexpected(&other)),
        }
    }

    /// The state of the configured stores as one JSON object, indented by two spaces, in the
    /// order of the configuration.
    pub async fn serialize_state(&self) -> Result<String, ManagerError> {
        let states = self.states().await?;
        let listed = self.rules.stores.iter().filter_map(|store| {
            let (_, state, _) = states.iter().find(|(name, _, _)| *name == store.name)?;
            Some((store.name.as_str(), state))
        });
        let text = serde_json::to_string_pretty(&InOrder(listed.collect()));
        text.map_err(|error| refused(Refusal::BadMessage(error.to_string())))
    }

    /// The highest seq of all stores; 0 if there are none.
    pub async fn current_seq(&self) -> Result<Seq, ManagerError> {
        let states = self.states().await?;
        Ok(states.iter().map(|(_, _, cursor)| cursor.seq).max().unwrap_or_default())
    }

    /// What changed after a seq, which is taken for every store alike, as in the original. A store
    /// whose own seq is lower, or whose history does not reach back, is left out without a word:
    /// [`changes_since_cursors`](Self::changes_since_cursors) tells them apart.
    pub async fn changes_since(
        &self,
        seq: Seq,
    ) -> Result<BTreeMap<StoreName, JsonPatch>, ManagerError> {
        Ok(self.changes(BTreeMap::new(), seq).await?.patches)
    }

    /// What changed in each store after its own seq; a store that is not named counts from its
    /// beginning. The answer has the seqs to ask with the next time, and names the stores whose
    /// history does not reach back.
    pub async fn changes_since_cursors(
        &self,
        since: BTreeMap<StoreName, Seq>,
    ) -> Result<Changes, ManagerError> {
        self.changes(since, Seq::default()).await
    }

    async fn changes(
        &self,
        since: BTreeMap<StoreName, Seq>,
        otherwise: Seq,
    ) -> Result<Changes, ManagerError> {
        match self.ask(Ask::ChangesSince { since, otherwise }).await? {
            Answer::Changes(changes) => Ok(changes),
            other => Err(unexpected(&other)),
        }
    }

    async fn states(&self) -> Result<Vec<(StoreName, Json, Cursor)>, ManagerError> {
        match self.ask(Ask::States).await? {
            Answer::States { states, unavailable } => match unavailable.first() {
                // A store that cannot be read is not the same as one that is not there.
                Some(store) => Err(refused(Refusal::Unavailable(store.to_string()))),
                None => Ok(states),
            },
            other => Err(unexpected(&other)),
        }
    }

    async fn write(
        &self,
        store: &StoreName,
        base: Option<Cursor>,
        edit: Edit,
    ) -> Result<Written, ManagerError> {
        self.must_be_open()?;
        // In a trigger's handler the depth says so, and circles come to an end.
        let author = Author::Server { depth: depth() };
        let write = Write { store: store.clone(), base, edit, author, terms: Terms::default() };
        match self.ask(Ask::Write(write)).await? {
            Answer::Written { seq, changed, .. } => Ok(Written { seq, changed }),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, HubError> {
        self.hub.ask(&self.id, ask).await
    }
}

/// Triggers and the container.
impl WorkspaceManager {
    /// Runs a handler whenever a value at a matching path has changed, until the guard is dropped.
    /// Handlers run one after another, in the order in which they were registered, and do not hold
    /// up who changed the value.
    pub async fn on_path_change(
        &self,
        pattern: Pattern,
        handler: Handler,
    ) -> Result<Watch, ManagerError> {
        Ok(self.hub.watch(&self.id, pattern, WatchOptions::default(), handler).await?)
    }

    /// Waits until all that was written before is durable in the log, and saves to the container
    /// what it does not hold yet, in one call. Without container, or while it is disconnected,
    /// that is nothing.
    pub async fn save_dirty_stores(&self) -> Result<(), ManagerError> {
        self.must_be_open()?;
        self.command(Command::SaveDirty).await?
    }

    /// Saves one store to the container, even if that holds it already.
    pub async fn save_store(&self, store: &StoreName) -> Result<(), ManagerError> {
        self.must_be_open()?;
        let store = store.clone();
        self.command(|reply| Command::SaveStore(store, reply)).await?
    }
}

/// Members in an order of their own.
struct InOrder<'a>(Vec<(&'a str, &'a Json)>);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// The workspace of a user in the log: his id, if that is a name, and else its hash.
fn workspace_of(user_id: &str) -> WorkspaceId {
    user_id.parse().unwrap_or_else(|_not_a_name| {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(user_id));
        // A hash in this alphabet is a name, so this goes no deeper.
        workspace_of(&format!("user:{hash}"))
    })
}

fn refused(refusal: Refusal) -> ManagerError {
    ManagerError::Hub(HubError::Refused(refusal))
}

/// The workspace answered another question.
fn unexpected(answer: &Answer) -> ManagerError {
    tracing::error!(?answer, "a workspace answered what it was not asked");
    ManagerError::Hub(HubError::Closed)
}
