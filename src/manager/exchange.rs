//! What the container holds, and how that and the stores come together.
//!
//! The container changes by itself, and it is not always there. So its JSON is never simply taken
//! over, and never overwritten unread: what is new there is what differs from the JSON that was
//! last exchanged, and that is written into the document at the heads where it said the same. The
//! merge is then the document's, as with any other client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{ManagerError, unexpected};
use crate::hub::host::blocking;
use crate::hub::{Host, Hub, HubError};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::json::{Json, JsonOp, JsonPatch, Pointer, between};
use crate::limits;
use crate::storage::container::{self, Container, ContainerError};
use crate::storage::{ChangeLog, StorageError};
use crate::workspace::{
    Answer, Ask, Author, Cursor, Edit, Refusal, Scope, StoreConfig, Terms, Write,
};

/// Time that one call to a container may take, in milliseconds.
const CALL_MS_MAX: u64 = limits::STOP_MS_MAX;
/// Commits among which a container that is behind is looked for; each costs a walk through the
/// document.
const ANCESTORS_MAX: usize = 64;
/// Sends without an answer that are remembered of one store.
const UNSURE_MAX: usize = 8;
/// How often a save starts again because the container changed under it.
const ROUNDS_MAX: u32 = 8;

/// The persistent stores and the container.
#[derive(Debug)]
pub(super) struct Exchange {
    hub: Hub,
    id: WorkspaceId,
    container: Arc<dyn Container>,
    /// The log, if it may hold more than this life has seen.
    past: Option<Past>,
    stores: BTreeMap<StoreName, Standing>,
}

/// What was written before this life, and where it is read.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) host: Arc<dyn Host>,
    pub(super) log: Arc<dyn ChangeLog>,
}

/// How a store stands with the container.
#[derive(Debug)]
struct Standing {
    rules: StoreConfig,
    /// The document before the container was first heard.
    origin: Option<Cursor>,
    held: Held,
    /// What was sent and may have arrived or not; the newest last.
    unsure: VecDeque<(Json, Cursor)>,
    /// The newest seq of the store that the container is known to hold.
    saved: Option<Seq>,
}

/// What the container holds of a store, as far as is known.
#[derive(Debug)]
enum Held {
    /// Nobody knows: nothing may be saved over it.
    Unread,
    /// Nothing.
    Nothing,
    /// This, and where the document says the same, if it ever did.
    State(Json, Option<Cursor>),
}

/// Reading.
impl Exchange {
    pub(super) fn new(
        hub: Hub,
        id: WorkspaceId,
        container: Arc<dyn Container>,
        past: Option<Past>,
        stores: &[StoreConfig],
    ) -> Self {
        let kept = stores.iter().filter(|s| s.persistent && s.scope == Scope::Workspace);
        let standing = |rules: &StoreConfig| {
            let rules = rules.clone();
            Standing {
                rules,
                origin: None,
                held: Held::Unread,
                unsure: VecDeque::new(),
                saved: None,
            }
        };
        let stores = kept.map(|rules| (rules.name.clone(), standing(rules))).collect();
        Self { hub, id, container, past, stores }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.container.is_connected()
    }

    /// Whether a store is kept in step with the container.
    pub(super) fn keeps(&self, store: &StoreName) -> bool {
        self.stores.contains_key(store)
    }

    pub(super) fn stores(&self) -> Vec<StoreName> {
        self.stores.keys().cloned().collect()
    }

    /// Notes where the stores stand before anybody can write to them.
    pub(super) async fn begin(&mut self) -> Result<(), ManagerError> {
        for store in self.stores() {
            let (_, cursor) = self.state(&store).await?;
            if let Some(standing) = self.stores.get_mut(&store) {
                standing.origin.get_or_insert(cursor);
            }
        }
        Ok(())
    }

    /// Reads all stores, in one call, and merges what is new.
    pub(super) async fn read_all(&mut self) -> Result<(), ManagerError> {
        self.read(self.stores()).await
    }

    /// Reads the stores that were never read, in one call, and merges them.
    pub(super) async fn read_unread(&mut self) -> Result<(), ManagerError> {
        let unread =
            self.stores.iter().filter(|(_, standing)| matches!(standing.held, Held::Unread));
        let unread = unread.map(|(store, _)| store.clone()).collect();
        self.read(unread).await
    }

    async fn read(&mut self, stores: Vec<StoreName>) -> Result<(), ManagerError> {
        if stores.is_empty() {
            return Ok(());
        }
        let container = Arc::clone(&self.container);
        let mut found = called(container.load_all_stores(&stores)).await?;
        for store in stores {
            match found.remove(&store) {
                Some(state) => self.merge(&store, state).await?,
                None => self.note_absent(&store).await?,
            }
        }
        Ok(())
    }

    /// A store that the container never held keeps its state; if that is the initial one, nobody
    /// needs to save it.
    async fn note_absent(&mut self, store: &StoreName) -> Result<(), ManagerError> {
        let (_, cursor) = self.state(store).await?;
        let start = u32::try_from(cursor.seq.epoch()).ok().map(Seq::start_of);
        if let Some(standing) = self.stores.get_mut(store) {
            standing.saved = start;
            standing.held = Held::Nothing;
        }
        Ok(())
    }

    /// Brings what the container holds into the store.
    async fn merge(&mut self, store: &StoreName, found: Json) -> Result<(), ManagerError> {
        let (state, cursor) = self.state(store).await?;
        let Some(standing) = self.stores.get_mut(store) else { return Ok(()) };
        if state.same_value(&found) {
            standing.note_in_step(found, cursor);
            return Ok(());
        }
        let unsure = std::mem::take(&mut standing.unsure);
        if let Some((sent, at)) = unsure.into_iter().rfind(|(sent, _)| sent.same_value(&found)) {
            // It is what was sent when an answer was lost.
            standing.note_in_step(sent, at);
            return Ok(());
        }
        if matches!(standing.held, Held::Unread)
            && let Some(at) = self.ancestor(store, &found).await?
        {
            // The container is only behind, as after a crash: nothing is new there.
            if let Some(standing) = self.stores.get_mut(store) {
                standing.note_in_step(found, at);
            }
            return Ok(());
        }
        let Some(standing) = self.stores.get_mut(store) else { return Ok(()) };
        let (base, change) = standing.news(&found);
        self.write(store, base, change, &found).await?;
        let (merged, cursor) = self.state(store).await?;
        if let Some(standing) = self.stores.get_mut(store) {
            if merged.same_value(&found) {
                standing.note_in_step(found, cursor);
            } else {
                standing.held = Held::State(found, None);
                standing.saved = None;
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        store: &StoreName,
        base: Option<Cursor>,
        edit: Edit,
        found: &Json,
    ) -> Result<(), ManagerError> {
        let author = Author::Container;
        let write = Write {
            store: store.clone(),
            base,
            edit,
            author: author.clone(),
            terms: Terms::default(),
        };
        let written = self.hub.ask(&self.id, Ask::Write(write)).await;
        if let Err(HubError::Refused(Refusal::Stale | Refusal::Patch(_))) = &written {
            // The base is gone. The container is the user's own place, so its word counts; what it
            // replaces is in the history.
            tracing::warn!(%store, "the container's state cannot be merged and is taken as it is");
            let edit = Edit::Set(found.clone());
            let write =
                Write { store: store.clone(), base: None, edit, author, terms: Terms::default() };
            self.hub.ask(&self.id, Ask::Write(write)).await?;
            return Ok(());
        }
        written?;
        Ok(())
    }

    /// Where, among the newest commits in the log, the store said just this.
    async fn ancestor(
        &self,
        store: &StoreName,
        found: &Json,
    ) -> Result<Option<Cursor>, ManagerError> {
        let Some(Past { host, log }) = self.past.clone() else { return Ok(None) };
        let (id, name) = (self.id.clone(), store.clone());
        let read = blocking(&*host, move || log.read(&id, &name)).await;
        let read = read.unwrap_or_else(|error| Err(StorageError::Failed(error)));
        let stored = read.map_err(|error| HubError::Storage(Arc::new(error)))?;
        let newest = stored.commits.into_iter().rev().take(ANCESTORS_MAX);
        for cursor in newest.map(|commit| Cursor { seq: commit.seq, heads: commit.heads }) {
            // A patch that only tests changes nothing, and says whether the state is that.
            let test = JsonOp::Test { path: Pointer::root(), value: found.clone() };
            let edit = Edit::Patch(JsonPatch { ops: vec![test] });
            let base = Some(cursor.clone());
            let write = Write {
                store: store.clone(),
                base,
                edit,
                author: Author::Container,
                terms: Terms::default(),
            };
            match self.hub.ask(&self.id, Ask::Write(write)).await {
                Ok(_) => return Ok(Some(cursor)),
                Err(HubError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The newest durable state of a store.
    async fn state(&self, store: &StoreName) -> Result<(Json, Cursor), ManagerError> {
        match self.hub.ask(&self.id, Ask::Get { store: store.clone() }).await? {
            Answer::State { state, cursor } => Ok((state, cursor)),
            other => Err(unexpected(&other)),
        }
    }
}

/// Saving.
impl Exchange {
    /// The stores that have changed since they were saved, or could not be read yet.
    pub(super) async fn behind(&self) -> Result<Vec<StoreName>, ManagerError> {
        let mut behind = Vec::new();
        for (store, standing) in &self.stores {
            let (_, cursor) = self.state(store).await?;
            let known = match standing.held {
                Held::Unread => standing.origin.as_ref().map(|origin| origin.seq),
                Held::Nothing | Held::State(..) => standing.saved,
            };
            if known < Some(cursor.seq) {
                behind.push(store.clone());
            }
        }
        Ok(behind)
    }

    /// Saves what has changed since it was saved, in one call. What changes meanwhile has a higher
    /// seq than what is noted as saved, so it is saved the next time.
    pub(super) async fn save_dirty(&mut self) -> Result<(), ManagerError> {
        let mut states = BTreeMap::new();
        let mut cursors = BTreeMap::new();
        for store in self.stores() {
            if let Some((state, cursor)) = self.dirty(&store).await? {
                states.insert(store.clone(), state);
                cursors.insert(store, cursor);
            }
        }
        if states.is_empty() {
            tracing::debug!("the container holds all there is");
            return Ok(());
        }
        for (store, cursor) in &cursors {
            if let (Some(standing), Some(state)) = (self.stores.get_mut(store), states.get(store)) {
                standing.note_sent(state.clone(), cursor.clone());
            }
        }
        let container = Arc::clone(&self.container);
        match called(container.save_all_stores(&states)).await {
            Ok(()) => {
                for (store, cursor) in cursors {
                    if let (Some(standing), Some(state)) =
                        (self.stores.get_mut(&store), states.remove(&store))
                    {
                        standing.note_in_step(state, cursor);
                    }
                }
                Ok(())
            }
            Err(ManagerError::Container(ContainerError::Changed { store, state })) => {
                self.take_back(&store, state).await?;
                // The answer is about one store. What became of the others, and of this one now,
                // each of them says for itself.
                for store in cursors.into_keys() {
                    self.save_one(&store, false).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Saves one store, if it has changed or `even_clean`.
    pub(super) async fn save_one(
        &mut self,
        store: &StoreName,
        even_clean: bool,
    ) -> Result<(), ManagerError> {
        for _ in 0..ROUNDS_MAX {
            let dirty = match self.dirty(store).await? {
                None if even_clean => Some(self.state(store).await?),
                dirty => dirty,
            };
            let Some((state, cursor)) = dirty else { return Ok(()) };
            if let Some(standing) = self.stores.get_mut(store) {
                standing.note_sent(state.clone(), cursor.clone());
            }
            let container = Arc::clone(&self.container);
            match called(container.save_store(store, &state)).await {
                Ok(()) => {
                    if let Some(standing) = self.stores.get_mut(store) {
                        standing.note_in_step(state, cursor);
                    }
                    return Ok(());
                }
                Err(ManagerError::Container(ContainerError::Changed { store, state })) => {
                    self.take_back(&store, state).await?;
                }
                Err(error) => return Err(error),
            }
        }
        tracing::warn!(%store, "the container changes faster than it can be saved");
        Ok(())
    }

    /// The state of a store, if it was read and has changed since it was saved.
    async fn dirty(&self, store: &StoreName) -> Result<Option<(Json, Cursor)>, ManagerError> {
        let Some(standing) = self.stores.get(store) else { return Ok(None) };
        if matches!(standing.held, Held::Unread) {
            return Ok(None);
        }
        let saved = standing.saved;
        let (state, cursor) = self.state(store).await?;
        Ok((saved < Some(cursor.seq)).then_some((state, cursor)))
    }

    /// The container held something else than was thought, and nothing was saved over it.
    async fn take_back(
        &mut self,
        store: &StoreName,
        found: Option<Json>,
    ) -> Result<(), ManagerError> {
        if let Some(found) = found {
            return self.merge(store, found).await;
        }
        // What was taken away there is still here, and is put back.
        if let Some(standing) = self.stores.get_mut(store) {
            (standing.held, standing.saved) = (Held::Nothing, None);
            standing.unsure.clear();
        }
        Ok(())
    }
}

impl Standing {
    /// The container holds what the document says at `cursor`.
    fn note_in_step(&mut self, state: Json, cursor: Cursor) {
        self.saved = Some(cursor.seq);
        self.held = Held::State(state, Some(cursor));
        self.unsure.clear();
    }

    /// This is about to be sent. It is noted before, because the call may be given up at any time.
    fn note_sent(&mut self, state: Json, cursor: Cursor) {
        self.unsure.retain(|(_, sent)| *sent != cursor);
        self.unsure.push_back((state, cursor));
        if self.unsure.len() > UNSURE_MAX {
            self.unsure.pop_front();
        }
    }

    /// What is new at the container, and the state of the document that it is new against.
    fn news(&self, found: &Json) -> (Option<Cursor>, Edit) {
        match &self.held {
            Held::State(_, Some(cursor)) => (Some(cursor.clone()), Edit::Set(found.clone())),
            // The document never said just that: the difference is applied to the newest state.
            Held::State(last, None) => {
                let news = between(last, found, &self.rules.policy.identity);
                (None, Edit::Patch(news))
            }
            Held::Unread | Held::Nothing => (self.origin.clone(), Edit::Set(found.clone())),
        }
    }
}

/// A call to the container, which has to answer in time.
async fn called<T>(call: container::Call<'_, T>) -> Result<T, ManagerError> {
    let answer = timeout(Duration::from_millis(CALL_MS_MAX), call).await;
    Ok(answer.map_err(|_elapsed| ManagerError::ContainerSilent { ms_max: CALL_MS_MAX })??)
}
