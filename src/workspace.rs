//! The one state machine: the stores and sessions of a user or team.
//!
//! [`Workspace::handle`] takes what happened and says what is to be done about it. It awaits
//! nothing, reads no clock, opens no file and draws no random number: the same inputs give the
//! same effects, in the server, in a test and in a simulation. A commit of any origin walks the
//! same way: a base is found, the document takes the change, the commit gets the next seq, and
//! what tells of it is held until the log says that it is durable.

// Seqs, lengths and indices come off the wire here: no sum may wrap, no cast may cut.
#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod actors;
mod ask;
pub mod commit;
pub mod config;
mod edit;
pub mod effect;
pub mod gate;
mod hello;
mod history;
pub mod input;
mod intake;
mod mend;
mod outbox;
mod publish;
mod quota;
pub mod recover;
pub mod refusal;
pub mod repo;
pub mod rights;
mod session;
mod store;
mod sync;
pub mod trigger;
mod webhook;

pub use actors::{ANONYMOUS, ActorTaken, Actors};
pub use commit::{Append, Commit, Dialect, MessageId, Origin};
pub use config::{Durability, Past, Scope, StoreConfig, WorkspaceConfig, WorkspaceLimits};
pub use effect::{Answer, Changes, Delivery, Effect, Moment, Moments, Overview, SaveId, Ticket};
pub use gate::{Gate, JsonSchema, SchemaError};
pub use input::{
    Ask, At, Author, Burden, Caps, Cursor, Edit, Garbled, Hello, Input, Request, Terms, Write,
};
pub use intake::{Carrier, Content};
pub use recover::{Checkpoint, Recovered, Stored, Unavailable};
pub use refusal::Refusal;
pub use repo::{RepoDelivery, RepoRequest, SenderId, StorageId};
pub use rights::{Glob, GlobError, Grant, Rights, View};
pub use trigger::{Context, Firing, Pattern, PatternError, TriggerId};
pub use webhook::{Call, Webhook};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::ids::{Millis, Seq, SessionId, StoreName, WorkspaceId};
use crate::limits;
use outbox::Outbox;
use quota::Quota;
use repo::{Documents, Heard, RemoteBook};
use session::{Session, Stand};
use store::Store;

/// What a workspace is opened with.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its name.
    pub id: WorkspaceId,
    /// Its rules.
    pub config: Arc<WorkspaceConfig>,
    /// The stores that the log holds, by name.
    pub stored: Vec<(StoreName, Seq)>,
    /// What the log holds of them, in bytes; nobody asks unless
    /// [`WorkspaceLimits::bytes_max`] says less than there is.
    pub held: Vec<(StoreName, u64)>,
    /// The epoch of its transient stores: another one at every opening.
    pub epoch: u32,
    /// 16 random bytes: the Automerge actor of this opening's server-side writes.
    pub actor: [u8; 16],
    /// The name of this place among those that keep documents: the same at every opening.
    pub storage: StorageId,
}

/// The stores and sessions of one user or team.
#[derive(Debug)]
pub struct Workspace {
    config: Arc<WorkspaceConfig>,
    epoch: u32,
    signers: Signers,
    stores: BTreeMap<StoreKey, Slot>,
    sessions: BTreeMap<SessionId, Session>,
    triggers: BTreeMap<TriggerId, Pattern>,
    /// Questions of server code that wait for a store.
    asks: VecDeque<(Ticket, Arc<Rights>, Ask)>,
    /// Messages that nobody here remembers, of which the log was asked, and what it said.
    recalls: BTreeMap<(StoreName, MessageId), Option<Recalled>>,
    documents: Documents,
    /// The sessions of the automerge-repo dialect by the names that they give themselves.
    names: BTreeMap<SenderId, SessionId>,
    heard: Heard,
    remote: RemoteBook,
    quota: Quota,
    outbox: Outbox,
}

/// What the log said of a message: the commit that carried it, or that there is none, or an error.
type Recalled = Result<Option<Seq>, String>;

/// Names a store: a session-scoped one exists once for each session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct StoreKey {
    name: StoreName,
    owner: Option<SessionId>,
}

/// A store that the workspace knows of.
#[derive(Debug)]
enum Slot {
    /// It is in the log, or new.
    Unloaded,
    /// It was asked for; anew, if it had come to this seq before.
    Loading(Option<Seq>),
    /// Here it is.
    Loaded(Box<Store>),
    /// It lost commits, or its document cannot be trusted: it is loaded anew as soon as no save of
    /// it is under way, and whoever stands in it is told all anew. Had it no log, it starts anew
    /// after this seq.
    ///
    /// If nothing was lost, and it comes back as it was, nobody needs to notice.
    Broken {
        /// What it had come to.
        seq: Seq,
        /// Whether something was lost that was told, or was to be told.
        lost: bool,
    },
    /// It could not be loaded; whoever asks next makes the next attempt.
    Unavailable(String),
}

/// Whether something can be done now.
enum Ready {
    Now,
    /// It waits for stores that are being loaded.
    Later,
}

impl Workspace {
    /// A workspace with nothing loaded.
    pub fn open(opening: Opening) -> Self {
        let shared = |name: StoreName| (StoreKey { name, owner: None }, Slot::Unloaded);
        let listed = opening.config.stores.iter().filter(|store| store.scope == Scope::Workspace);
        let names = listed.map(|store| store.name.clone());
        let config = Arc::clone(&opening.config);
        let reachable =
            |name: &StoreName| config.allows(name) && config.scope(name) == Scope::Workspace;
        let stored = opening.stored.into_iter().map(|(name, _)| name).filter(reachable);
        let stores: BTreeMap<StoreKey, Slot> = names.chain(stored).map(shared).collect();
        let mut documents = Documents::new(opening.id);
        for key in stores.keys() {
            documents.add(&key.name);
        }
        Self {
            stores,
            documents,
            names: BTreeMap::new(),
            heard: Heard::default(),
            remote: RemoteBook::new(opening.storage),
            quota: Quota::new(opening.config.limits.bytes_max, opening.held),
            config: opening.config,
            epoch: opening.epoch,
            signers: Signers::new(opening.actor),
            sessions: BTreeMap::new(),
            triggers: BTreeMap::new(),
            asks: VecDeque::new(),
            recalls: BTreeMap::new(),
            outbox: Outbox::default(),
        }
    }

    /// Takes what happened, in order, as one turn, and says what is to be done about it, in order.
    pub fn handle(&mut self, turn: Vec<Input>, now: Millis) -> Vec<Effect> {
        for input in turn {
            self.take(input, now);
        }
        self.reload_broken();
        self.pay_snapshots();
        self.outbox.end_turn(self.config.durability == Durability::Strict)
    }

    /// Whether nobody is attached and nothing is under way: the workspace can be dropped, and
    /// opened again, with no other loss than its transient stores.
    pub fn is_idle(&self) -> bool {
        let loading = |slot: &Slot| matches!(slot, Slot::Loading(_) | Slot::Broken { .. });
        self.sessions.is_empty()
            && self.triggers.is_empty()
            && self.asks.is_empty()
            && self.outbox.is_quiet()
            && !self.stores.values().any(loading)
    }

    /// What the workspace holds in memory, roughly, in bytes.
    pub fn bytes(&self) -> usize {
        let stores = self.stores.values().filter_map(|slot| match slot {
            Slot::Loaded(store) => Some(store.bytes()),
            _ => None,
        });
        stores.sum()
    }

    fn take(&mut self, input: Input, now: Millis) {
        match input {
            Input::Attach { session, user, rights } => {
                self.sessions.insert(session, Session::new(user, rights));
            }
            Input::Entitle { session, rights } => self.entitle(session, rights),
            Input::Detach { session } => self.detach(session),
            Input::Say { session, request, burden } => {
                self.forgive_unavailable();
                self.say(session, request, burden, now);
            }
            Input::Resync { session, missed } => self.resync(session, &missed),
            Input::Ask { ticket, ask, rights } => {
                self.forgive_unavailable();
                self.ask(ticket, ask, rights, now);
            }
            Input::Watch { trigger, pattern } => {
                if self.triggers.len() < limits::TRIGGERS_MAX {
                    self.triggers.insert(trigger, pattern);
                }
            }
            Input::Unwatch { trigger } => {
                self.triggers.remove(&trigger);
            }
            Input::Loaded { store, result } => self.loaded(store, result, now),
            Input::Saved { save, failed } => self.saved(save, failed),
            Input::Recalled { store, id, found } => {
                let message = (store, id);
                self.recalls.insert(message.clone(), Some(found));
                self.unpark(now);
                self.recalls.remove(&message);
            }
            Input::Checkpointed { store, done } => {
                let key = StoreKey { name: store, owner: None };
                if let Some(Slot::Loaded(store)) = self.stores.get_mut(&key) {
                    store.checkpointed(done);
                }
                self.weigh(&key);
            }
        }
    }

    fn detach(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let own = self.stores.extract_if(.., |key, _| key.owner == Some(id));
        for (key, _) in own {
            self.quota.forget(&key);
        }
        if let Some(peer) = &session.repo {
            self.forget_peer(id, peer);
        }
        if session.presence.is_some() {
            self.tell_departure(id, &session);
        }
    }

    /// Ends a session whose dialogue cannot go on.
    fn close(&mut self, id: SessionId, refusal: Refusal) {
        self.detach(id);
        self.outbox.when_saved(None, Effect::Close { session: id, refusal });
    }

    fn say(&mut self, id: SessionId, request: Request, burden: Burden, now: Millis) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.parked.len() >= limits::PARKED_MESSAGES_MAX {
            self.close(id, Refusal::TooMany("messages waiting for a store"));
            return;
        }
        let waits = !session.parked.is_empty();
        if waits {
            // Its turn is not yet, but its store can be loaded meanwhile.
            self.prepare(id, &request);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.parked.push_back((request, burden));
        }
        self.unpark_session(id, now);
    }

    /// Does what waits, in order, as far as the stores that it needs are there.
    fn unpark(&mut self, now: Millis) {
        let waiting: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in waiting {
            self.unpark_session(id, now);
        }
        self.answer_asks(now);
    }

    fn unpark_session(&mut self, id: SessionId, now: Millis) {
        while let Some(session) = self.sessions.get_mut(&id)
            && let Some((request, burden)) = session.parked.pop_front()
        {
            if let (Ready::Later, request) = self.request(id, request, now) {
                if let (Some(session), Some(request)) = (self.sessions.get_mut(&id), request) {
                    session.parked.push_front((request, burden));
                }
                return;
            }
        }
    }

    /// Does one request, or gives it back when it has to wait.
    fn request(
        &mut self,
        id: SessionId,
        request: Request,
        now: Millis,
    ) -> (Ready, Option<Request>) {
        if matches!(self.prepare(id, &request), Ready::Later) {
            return (Ready::Later, Some(request));
        }
        match request {
            Request::Hello(hello) => self.hello(id, hello, now),
            Request::Patch { store, seq, id: message, patch } => {
                let edit = edit::JsonEdit { store, seq, id: message, patch };
                if let Some(edit) = self.patch(id, edit, now) {
                    let edit::JsonEdit { store, seq, id, patch } = edit;
                    return (Ready::Later, Some(Request::Patch { store, seq, id, patch }));
                }
            }
            Request::Sync { store, message } => self.sync(id, &store, &message, now),
            Request::Repo(request) => {
                if let Some(request) = self.repo(id, request, now) {
                    return (Ready::Later, Some(Request::Repo(request)));
                }
            }
            Request::Presence { data } => self.presence(id, data),
            Request::Garbled { reason } => self.garbled(id, reason),
        }
        (Ready::Now, None)
    }

    /// Sees to it that the stores of a request are loaded.
    fn prepare(&mut self, id: SessionId, request: &Request) -> Ready {
        match request {
            Request::Hello(hello) => self.ready_for_hello(id, hello),
            Request::Patch { store, .. } | Request::Sync { store, .. } => {
                let key = self.key(store, Some(id));
                self.require_for(&self.rights(id), &key)
            }
            Request::Repo(RepoRequest::Document { document, .. }) => {
                self.ready_for_document(id, *document)
            }
            Request::Repo(_) | Request::Presence { .. } | Request::Garbled { .. } => Ready::Now,
        }
    }

    /// The key of a store as a session, or server code, means it.
    fn key(&self, name: &StoreName, session: Option<SessionId>) -> StoreKey {
        let scoped = self.config.scope(name) == Scope::Session;
        StoreKey { name: name.clone(), owner: session.filter(|_| scoped) }
    }

    /// Sees to it that a store is loaded, if there is such a store or one may be made.
    fn require(&mut self, key: &StoreKey) -> Ready {
        if !self.stores.contains_key(key) {
            if !(self.may_be(key) && self.has_room(key)) {
                return Ready::Now;
            }
            self.stores.insert(key.clone(), Slot::Unloaded);
            if key.owner.is_none() {
                self.documents.add(&key.name);
            }
        }
        let Some(slot) = self.stores.get_mut(key) else {
            return Ready::Now;
        };
        match slot {
            Slot::Loaded(_) | Slot::Unavailable(_) => Ready::Now,
            Slot::Loading(_) | Slot::Broken { .. } => Ready::Later,
            Slot::Unloaded => {
                let config = self.config.store(&key.name);
                if config.persistent {
                    *slot = Slot::Loading(None);
                    self.outbox.at_once(Effect::Load { store: key.name.clone() });
                    return Ready::Later;
                }
                let signer = self.signers.next();
                *slot = transient(config, Seq::start_of(self.epoch), &signer, &self.config);
                Ready::Now
            }
        }
    }

    /// Whether the rules allow such a store.
    fn may_be(&self, key: &StoreKey) -> bool {
        let scoped = self.config.scope(&key.name) == Scope::Session;
        scoped == key.owner.is_some() && self.config.allows(&key.name)
    }

    /// Whether one more store may come to be. Those of the configuration need no room.
    fn has_room(&self, key: &StoreKey) -> bool {
        let shared = || self.stores.keys().filter(|key| key.owner.is_none()).count();
        self.config.listed(&key.name).is_some() || shared() < self.config.limits.stores_max
    }

    /// A store that was [required](Self::require), or why it is not there.
    fn store(&mut self, key: &StoreKey) -> Result<&mut Store, Refusal> {
        if !self.stores.contains_key(key) && self.may_be(key) {
            return Err(Refusal::TooMany("stores"));
        }
        match self.stores.get_mut(key) {
            Some(Slot::Loaded(store)) => Ok(store),
            Some(Slot::Unavailable(why)) => Err(Refusal::Unavailable(why.clone())),
            Some(Slot::Unloaded | Slot::Loading(_) | Slot::Broken { .. }) => {
                Err(Refusal::Unavailable("it is being loaded".to_owned()))
            }
            None => Err(Refusal::NoStore),
        }
    }

    /// The stores that everybody shares: the listed ones first, then the others by name.
    fn shared_names(&self) -> Vec<StoreName> {
        let shared = |store: &&StoreConfig| store.scope == Scope::Workspace;
        let mut names: Vec<StoreName> =
            self.config.stores.iter().filter(shared).map(|store| store.name.clone()).collect();
        let listed = names.len();
        for key in self.stores.keys().filter(|key| key.owner.is_none()) {
            if !names.iter().take(listed).any(|name| *name == key.name) {
                names.push(key.name.clone());
            }
        }
        names
    }

    fn loaded(
        &mut self,
        name: StoreName,
        result: Result<Box<Recovered>, Unavailable>,
        now: Millis,
    ) {
        let key = StoreKey { name, owner: None };
        let slot = match result {
            Ok(recovered) => {
                let Recovered(mut store) = *recovered;
                store.sign_as(&self.signers.next());
                store.document.hold_to(&self.config.limits.json);
                Slot::Loaded(Box::new(store))
            }
            Err(Unavailable(why)) => Slot::Unavailable(why),
        };
        let former = match self.stores.insert(key.clone(), slot) {
            Some(Slot::Loading(seq)) => seq,
            _ => None,
        };
        self.weigh(&key);
        self.fire_what_was_saved(&key);
        self.reconcile(&key, former);
        self.serve_wanted(&key);
        self.unpark(now);
    }

    /// Fires for commits that are in the log although their save had failed.
    fn fire_what_was_saved(&mut self, key: &StoreKey) {
        let Some(Slot::Loaded(store)) = self.stores.get(key) else {
            return;
        };
        for firing in self.outbox.take_doubtful(key) {
            let Context { seq, heads, .. } = &firing.context;
            if store.heads(*seq) == Ok(&**heads) {
                self.outbox.when_saved(None, Effect::Fire(Box::new(firing)));
            }
        }
    }

    /// Whoever waited for a store that could not be loaded has been told so; the next to ask makes
    /// the next attempt.
    fn forgive_unavailable(&mut self) {
        let waits = |session: &Session| !session.parked.is_empty();
        if !self.asks.is_empty() || self.sessions.values().any(waits) {
            return;
        }
        for slot in self.stores.values_mut() {
            if matches!(slot, Slot::Unavailable(_)) {
                *slot = Slot::Unloaded;
            }
        }
    }

    fn saved(&mut self, save: SaveId, failed: Vec<(StoreName, String)>) {
        let appended = self.outbox.saved(save);
        for (store, after) in &appended {
            if let Some(Slot::Loaded(store)) =
                self.stores.get_mut(&StoreKey { name: store.clone(), owner: None })
            {
                store.is_durable_to(*after);
            }
        }
        for (store, why) in failed {
            let after = appended.iter().find(|(name, _)| *name == store).map(|(_, after)| *after);
            self.break_store(&store, after.unwrap_or_default(), &Refusal::NotSaved(why));
        }
    }

    /// Gives up what a store holds in memory beyond what is durable, and what was to be told of it.
    fn break_store(&mut self, name: &StoreName, durable: Seq, refusal: &Refusal) {
        let without_state = self.outbox.take_back(name, durable, refusal);
        let key = StoreKey { name: name.clone(), owner: None };
        let mut broken_lines = Vec::new();
        for (id, session) in &mut self.sessions {
            if let Some(Stand::Json(stand)) = session.stands.get_mut(&key) {
                let counts = !session.caps.ack && stand.counts_beyond(durable);
                let lost = stand.roll_back(durable) || counts;
                if lost && session.caps.ack {
                    broken_lines.push(*id);
                } else if lost {
                    stand.miscounts_all();
                }
                if lost || without_state.contains(id) {
                    session.owed.insert(key.clone());
                }
            }
        }
        // What such a client has under way lies on what was lost: it has to begin anew.
        for id in broken_lines {
            self.close(id, refusal.clone());
        }
        self.mark_broken(&key, true);
    }

    fn mark_broken(&mut self, key: &StoreKey, lost: bool) {
        if let Some(slot) = self.stores.get_mut(key) {
            match slot {
                Slot::Loaded(store) => *slot = Slot::Broken { seq: store.seq(), lost },
                Slot::Broken { lost: already, .. } => *already |= lost,
                Slot::Unloaded | Slot::Loading(_) | Slot::Unavailable(_) => {}
            }
        }
    }

    fn reload_broken(&mut self) {
        let mut anew = Vec::new();
        for (key, slot) in &mut self.stores {
            let Slot::Broken { seq, lost } = *slot else {
                continue;
            };
            let config = self.config.store(&key.name);
            if !config.persistent {
                let signer = self.signers.next();
                *slot = transient(config, seq.next(), &signer, &self.config);
                anew.push(key.clone());
            } else if !self.outbox.is_saving(&key.name) {
                *slot = Slot::Loading(Some(seq).filter(|_| !lost));
                self.outbox.at_once(Effect::Load { store: key.name.clone() });
            }
        }
        for key in anew {
            self.reconcile(&key, None);
        }
    }

    /// Puts all who stand in a store right, after it was loaded anew.
    fn reconcile(&mut self, key: &StoreKey, former: Option<Seq>) {
        let Ok(newest) = self.store(key).map(|store| store.seq()) else {
            return;
        };
        let mut crdt = Vec::new();
        for (id, session) in &mut self.sessions {
            match session.stands.get(key) {
                // If it has come back as it was, nobody needs to notice.
                Some(Stand::Crdt(_)) if former != Some(newest) => crdt.push(*id),
                Some(Stand::Json(stand)) if stand.told.is_some_and(|told| told != newest) => {
                    session.owed.insert(key.clone());
                }
                _ => {}
            }
        }
        for id in crdt {
            self.restart_sync(id);
        }
    }

    /// A sync dialogue can only start over on both sides: one that lost a message, or told of what
    /// is no more, ends with its session, and the client connects again.
    fn restart_sync(&mut self, id: SessionId) {
        self.close(id, Refusal::NoProgress);
    }
}

/// The actors that sign in stores: another one each time that a store is loaded or made. What the
/// store has lost may still be somewhere, under the actor before.
#[derive(Debug)]
struct Signers {
    opening: [u8; 16],
    given: u64,
}

impl Signers {
    const fn new(opening: [u8; 16]) -> Self {
        Self { opening, given: 0 }
    }

    fn next(&mut self) -> [u8; 16] {
        self.given = self.given.saturating_add(1);
        #[cfg(planted)]
        if crate::planted::is("actor-reused") {
            self.given = 1;
        }
        let hash = Sha256::new().chain_update(self.opening).chain_update(self.given.to_be_bytes());
        hash.finalize().first_chunk().copied().unwrap_or(self.opening)
    }
}

/// A store without a log, at its beginning.
fn transient(config: StoreConfig, start: Seq, actor: &[u8], rules: &WorkspaceConfig) -> Slot {
    match Store::rebuild(Arc::new(config), Stored { start, ..Stored::default() }) {
        Ok(mut store) => {
            store.sign_as(actor);
            store.document.hold_to(&rules.limits.json);
            Slot::Loaded(Box::new(store))
        }
        Err(Unavailable(why)) => Slot::Unavailable(why),
    }
}

#[cfg(test)]
mod tests;
