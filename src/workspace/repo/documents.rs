//! Which store a document of the automerge-repo dialect is, and who waits for one that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{RepoDelivery, RepoSession};
use crate::document::{Incoming, SyncSession};
use crate::ids::{DocumentId, Millis, SessionId, StoreName, WorkspaceId};
use crate::limits;
use crate::workspace::edit::Making;
use crate::workspace::effect::Delivery;
use crate::workspace::session::Stand;
use crate::workspace::{Dialect, Origin, Ready, Refusal, StoreKey, Workspace};

/// The stores of a workspace by document.
#[derive(Debug)]
pub(in crate::workspace) struct Documents {
    workspace: WorkspaceId,
    stores: BTreeMap<DocumentId, StoreName>,
    wanted: BTreeMap<DocumentId, BTreeSet<SessionId>>,
}

impl Documents {
    pub(in crate::workspace) fn new(workspace: WorkspaceId) -> Self {
        Self { workspace, stores: BTreeMap::new(), wanted: BTreeMap::new() }
    }

    /// Notes a store that everybody shares.
    pub(in crate::workspace) fn add(&mut self, store: &StoreName) {
        self.stores.entry(self.id(store)).or_insert_with(|| store.clone());
    }

    /// The document that a store is.
    pub(super) fn id(&self, store: &StoreName) -> DocumentId {
        DocumentId::of(&self.workspace, store)
    }

    pub(super) fn store(&self, document: DocumentId) -> Option<&StoreName> {
        self.stores.get(&document)
    }

    /// Who waits for a document.
    pub(super) fn wanting(&self, document: DocumentId) -> impl Iterator<Item = SessionId> {
        self.wanted.get(&document).into_iter().flatten().copied()
    }

    /// Forgets a session and what it waits for.
    pub(in crate::workspace) fn forget(&mut self, id: SessionId, peer: &RepoSession) {
        for document in &peer.wanted {
            if let Some(sessions) = self.wanted.get_mut(document) {
                sessions.remove(&id);
                if sessions.is_empty() {
                    self.wanted.remove(document);
                }
            }
        }
    }
}

impl Workspace {
    /// The shared store that a document is, if there is such a store.
    pub(super) fn document_key(&self, document: DocumentId) -> Option<StoreKey> {
        let name = self.documents.store(document)?.clone();
        Some(StoreKey { name, owner: None })
    }

    /// Sees to it that the store of a document is loaded, if there is one.
    pub(in crate::workspace) fn ready_for_document(&mut self, document: DocumentId) -> Ready {
        self.document_key(document).map_or(Ready::Now, |key| self.require(&key))
    }

    /// Takes a sync message about a document; gives it back if the store has to be loaded first.
    pub(super) fn repo_sync(
        &mut self,
        id: SessionId,
        document: DocumentId,
        message: Vec<u8>,
        now: Millis,
    ) -> Option<Vec<u8>> {
        self.peer(id)?;
        let incoming = match Incoming::open(&message) {
            Ok(incoming) => incoming,
            Err(error) => {
                self.complain(id, Some(document.to_string()), Refusal::Document(error));
                return None;
            }
        };
        let Some(key) = self.document_key(document).or_else(|| self.adopt(document, &incoming))
        else {
            self.miss(id, document);
            return None;
        };
        if matches!(self.require(&key), Ready::Later) {
            return Some(message);
        }
        if let Err(refusal) = self.store(&key) {
            self.complain(id, Some(key.name.to_string()), refusal);
            self.miss(id, document);
            return None;
        }
        if !incoming.has_heads() {
            self.begin(id, &key, now);
        }
        let is_new = self.sessions.get(&id).is_some_and(|s| !s.stands.contains_key(&key));
        let heads = incoming.heads().to_vec();
        self.take_sync(id, &key, incoming, Dialect::Repo, now);
        if is_new {
            let remotes = self.peer(id).into_iter().flat_map(|peer| &peer.remotes);
            let remotes: Vec<_> = remotes.cloned().collect();
            self.tell_known_heads(id, &key, &remotes);
        }
        self.note_heads_of_peer(id, &key, heads, now);
        None
    }

    /// A document that the client has made becomes a store named by its id, if stores may come to
    /// be.
    fn adopt(&mut self, document: DocumentId, incoming: &Incoming) -> Option<StoreKey> {
        let name: StoreName = document.to_string().parse().ok()?;
        let may_be = incoming.has_heads() && self.config.allows(&name);
        may_be.then_some(StoreKey { name, owner: None })
    }

    /// A document without changes is none to a client of this dialect: so the first that opens a
    /// store which nobody has written to begins it, by a change that changes nothing.
    fn begin(&mut self, id: SessionId, key: &StoreKey, now: Millis) {
        let user = self.sessions.get(&id).map(|session| session.user.clone());
        let (Ok(store), Some(user)) = (self.store(key), user) else {
            return;
        };
        if !store.document.heads().is_empty() {
            return;
        }
        let before = store.document.json();
        let (name, initial) = (store.config.name.clone(), store.config.initial.clone());
        let begun = crate::document::begin(&mut store.document, &name, &initial);
        let changes = match self.sound(key, begun) {
            Ok(change) => vec![change],
            Err(refusal) => return self.complain(id, Some(name.to_string()), refusal),
        };
        let origin = Origin { user, session: Some(id), dialect: Dialect::Repo, id: None };
        let making = Making { before, changes, origin, spoken: Vec::new(), depth: None, now };
        if let Err(refusal) = self.commit(key, making, None) {
            self.complain(id, Some(name.to_string()), refusal);
        }
    }

    /// There is no such document; whoever wanted it is told when there is.
    fn miss(&mut self, id: SessionId, document: DocumentId) {
        let Some(peer) = self.sessions.get_mut(&id).and_then(|session| session.repo.as_mut())
        else {
            return;
        };
        if peer.wanted.len() < limits::DOCUMENTS_WANTED_MAX {
            peer.wanted.insert(document);
            self.documents.wanted.entry(document).or_default().insert(id);
        }
        let document = document.to_string();
        self.tell_repo(id, RepoDelivery::Unavailable { document });
    }

    /// Gives a store that has just got its first change to those who wanted it before.
    pub(in crate::workspace) fn serve_wanted(&mut self, key: &StoreKey) {
        if key.owner.is_some() {
            return;
        }
        let document = self.documents.id(&key.name);
        for id in self.documents.wanted.remove(&document).unwrap_or_default() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if let Some(peer) = &mut session.repo {
                peer.wanted.remove(&document);
            }
            if session.stands.contains_key(key) {
                continue;
            }
            let mut sync = Box::new(SyncSession::new());
            if let Ok(store) = self.store(key) {
                let about = Some((key.clone(), store.seq()));
                let message = Arc::new(sync.begin(&mut store.document));
                let delivery = Delivery::Sync { store: key.name.clone(), message };
                self.deliver(id, about, delivery);
            }
            if let Some(session) = self.sessions.get_mut(&id) {
                session.stands.insert(key.clone(), Stand::Crdt(sync));
            }
        }
    }
}
