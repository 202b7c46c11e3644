//! Which store a document of the automerge-repo dialect is, and who waits for one that is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RepoDelivery, RepoSession};
use crate::document::{Incoming, SyncMessage, SyncSession};
use crate::ids::{DocumentId, Millis, SessionId, StoreName, WorkspaceId};
use crate::limits;
use crate::workspace::edit::Making;
use crate::workspace::effect::{Delivery, Effect};
use crate::workspace::rights::Wanted;
use crate::workspace::session::Stand;
use crate::workspace::{Dialect, Origin, Ready, Refusal, StoreKey, Workspace};

/// The stores of a workspace by document.
#[derive(Debug)]
pub(in crate::workspace) struct Documents {
    workspace: WorkspaceId,
    stores: BTreeMap<DocumentId, StoreName>,
    /// Who waits for what does not exist, and whether he reads whole documents.
    wanted: BTreeMap<DocumentId, BTreeMap<SessionId, bool>>,
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
        self.wanted.get(&document).into_iter().flat_map(BTreeMap::keys).copied()
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

    /// Sees to it that the store of a document is loaded, if there is one that the session may
    /// follow.
    pub(in crate::workspace) fn ready_for_document(
        &mut self,
        id: SessionId,
        document: DocumentId,
    ) -> Ready {
        let rights = self.rights(id);
        self.document_key(document).map_or(Ready::Now, |key| self.require_for(&rights, &key))
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
                let document = document.to_string();
                self.tell_repo(id, RepoDelivery::Unavailable { document });
                return None;
            }
        };
        let Some(key) = self.document_key(document).or_else(|| self.adopt(document, &incoming))
        else {
            self.miss(id, document, &incoming);
            return None;
        };
        let is_there = self.stores.contains_key(&key);
        let wanted = if is_there { Wanted::Follow } else { Wanted::Bring };
        if self.authorize(&self.rights(id), &key, wanted).is_err() {
            // The answer is the same whether or not it is there.
            if incoming.has_heads() && !document.is_derived() {
                self.complain(id, Some(document.to_string()), Refusal::Forbidden);
            }
            self.miss(id, document, &incoming);
            return None;
        }
        if matches!(self.require(&key), Ready::Later) {
            return Some(message);
        }
        if let Err(refusal) = self.store(&key) {
            self.complain(id, Some(key.name.to_string()), refusal);
            self.miss(id, document, &incoming);
            return None;
        }
        if !incoming.has_heads() && !self.begin(id, &key, now) {
            self.miss(id, document, &incoming);
            return None;
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
    /// be. An id that is derived from a name waits for the store of that name.
    fn adopt(&mut self, document: DocumentId, incoming: &Incoming) -> Option<StoreKey> {
        let name: StoreName = document.to_string().parse().ok()?;
        let may_be = incoming.has_heads() && !document.is_derived() && self.config.allows(&name);
        may_be.then_some(StoreKey { name, owner: None })
    }

    /// A document without changes is none to a client of this dialect: so the first that opens a
    /// store which nobody has written to begins it, by a change that changes nothing. A store that
    /// a client is about to fill with a document of its own is left to him. Returns whether the
    /// document is there.
    fn begin(&mut self, id: SessionId, key: &StoreKey, now: Millis) -> bool {
        let user = self.sessions.get(&id).map(|session| session.user.clone());
        let (Ok(store), Some(user)) = (self.store(key), user) else {
            return false;
        };
        if !store.document.heads().is_empty() {
            return true;
        }
        let own = key.name.as_str().parse::<DocumentId>().is_ok();
        if own || self.authorize(&self.rights(id), key, Wanted::Bring).is_err() {
            return false;
        }
        let Ok(store) = self.store(key) else {
            return false;
        };
        let before = store.document.json();
        let (name, initial) = (store.config.name.clone(), store.config.initial.clone());
        let begun = crate::document::begin(&mut store.document, &name, &initial);
        let changes = match self.sound(key, begun) {
            Ok(change) => vec![change],
            Err(refusal) => {
                self.complain(id, Some(name.to_string()), refusal);
                return false;
            }
        };
        let origin = Origin { user, session: Some(id), dialect: Dialect::Repo, id: None };
        let making = Making { before, changes, origin, spoken: Vec::new(), depth: None, now };
        let made = self.commit(key, making, None);
        if let Err(refusal) = &made {
            self.complain(id, Some(name.to_string()), refusal.clone());
        }
        made.is_ok()
    }

    /// There is no such document; whoever wanted it is told when there is.
    fn miss(&mut self, id: SessionId, document: DocumentId, incoming: &Incoming) {
        let Some(peer) = self.sessions.get_mut(&id).and_then(|session| session.repo.as_mut())
        else {
            return;
        };
        if peer.wanted.len() < limits::DOCUMENTS_WANTED_MAX {
            peer.wanted.insert(document);
            let reads_documents = incoming.reads_documents();
            self.documents.wanted.entry(document).or_default().insert(id, reads_documents);
        }
        let document = document.to_string();
        self.tell_repo(id, RepoDelivery::Unavailable { document: document.clone() });
        if let Some(error) = incoming.refused() {
            self.complain(id, Some(document), Refusal::Document(error.clone()));
        }
    }

    /// Gives a store to those who wanted it before it was there.
    pub(in crate::workspace) fn serve_wanted(&mut self, key: &StoreKey) {
        if key.owner.is_some() || self.documents.wanted.is_empty() {
            return;
        }
        let document = self.documents.id(&key.name);
        let Ok(store) = self.store(key) else {
            return;
        };
        if store.document.heads().is_empty() {
            return;
        }
        let seq = store.seq();
        let mut waiting = self.documents.wanted.remove(&document).unwrap_or_default();
        waiting.retain(|id, _| self.authorize(&self.rights(*id), key, Wanted::Follow).is_ok());
        // Each message is the same for all who read it.
        for reads_documents in [true, false] {
            let mut to = Vec::new();
            for (id, _) in waiting.iter().filter(|(_, reads)| **reads == reads_documents) {
                let Some(session) = self.sessions.get_mut(id) else {
                    continue;
                };
                if let Some(peer) = &mut session.repo {
                    peer.wanted.remove(&document);
                }
                if !session.stands.contains_key(key) {
                    let sync = Box::new(SyncSession::told(reads_documents));
                    session.stands.insert(key.clone(), Stand::Crdt(sync));
                    to.push(*id);
                }
            }
            if let (Ok(store), false) = (self.store(key), to.is_empty()) {
                let message = Arc::new(SyncMessage::all(&mut store.document, reads_documents));
                let delivery = Delivery::Sync { store: key.name.clone(), message };
                let about = Some((key.clone(), seq));
                self.outbox.when_saved(about, Effect::Deliver { to, delivery });
            }
        }
    }
}
