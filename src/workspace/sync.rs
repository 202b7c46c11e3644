//! Sessions that speak Automerge: their messages in, and what is said to them alone.

use std::sync::Arc;

use automerge::ChangeHash;

use super::edit::Making;
use super::effect::Delivery;
use super::rights::Wanted;
use super::session::{Session, Stand};
use super::store::Store;
use super::{ActorTaken, Dialect, Origin, Refusal, Slot, StoreKey, Workspace};
use crate::document::{DocumentError, Incoming, Received, SyncMessage};
use crate::ids::{Millis, SessionId, StoreName};
use crate::json::Json;
use crate::limits;

impl Workspace {
    /// Takes an Automerge sync message.
    pub(super) fn sync(&mut self, id: SessionId, name: &StoreName, message: &[u8], now: Millis) {
        let key = self.key(name, Some(id));
        if let Err(refusal) = self.store_for(&self.rights(id), &key, Wanted::Follow) {
            self.complain(id, Some(name.to_string()), refusal);
            return;
        }
        match Incoming::open(message) {
            Ok(incoming) => self.take_sync(id, &key, incoming, Dialect::Crdt, now),
            Err(error) => self.complain(id, Some(name.to_string()), Refusal::Document(error)),
        }
    }

    /// Takes a sync message whose bytes are sound into a store that is there, and answers it.
    pub(super) fn take_sync(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        mut incoming: Incoming,
        dialect: Dialect,
        now: Millis,
    ) {
        let (rights, full) = (self.rights(id), self.quota.is_full());
        if let Err(refusal) = self.authorize(&rights, key, Wanted::Follow) {
            return self.complain(id, Some(key.name.to_string()), refusal);
        }
        // What it reads goes on; what it brings is left outside.
        let forbidden = self.authorize(&rights, key, Wanted::Bring).is_err();
        let forbidden = forbidden && incoming.leave_changes();
        let (Some(session), Some(Slot::Loaded(store))) =
            (self.sessions.get_mut(&id), self.stores.get_mut(key))
        else {
            return;
        };
        let user = session.user.clone();
        if session.stands.len() >= limits::SESSION_STORES_MAX && !session.stands.contains_key(key) {
            return self.complain(id, Some(key.name.to_string()), Refusal::TooMany("open stores"));
        }
        // Who speaks of a store follows it.
        if let Some(only) = &mut session.only {
            only.insert(key.name.clone());
        }
        let Some(sync) = session.sync_session(key) else {
            return;
        };
        let before = store.document.json();
        store.document.fill(full);
        let Store { document, actors, .. } = &mut **store;
        let received = sync.receive(document, incoming, |actor| actors.may_use(&user, actor));
        if let Ok(received) = &received {
            actors.note(&user, &received.authors);
        }
        let received = match self.sound(key, received) {
            Ok(received) => received,
            Err(refusal @ (Refusal::NoProgress | Refusal::Document(DocumentError::Diverged))) => {
                return self.close(id, refusal);
            }
            Err(refusal) => return self.complain(id, Some(key.name.to_string()), refusal),
        };
        let origin = Origin { user, session: Some(id), dialect, id: None };
        self.take_received(id, key, received, before, origin, now);
        if forbidden {
            self.complain(id, Some(key.name.to_string()), Refusal::Forbidden);
        }
        self.answer_sync(id, key);
    }

    /// Commits what a sync message brought, and says what of it was refused.
    fn take_received(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        received: Received,
        before: Json,
        origin: Origin,
        now: Millis,
    ) {
        let Received { changes, refused, taken, gave_up, .. } = received;
        if !changes.is_empty() {
            let spoken = Vec::new();
            let making = Making { before, changes, origin, spoken, depth: Some(0), now };
            match self.commit(key, making, Some(id)) {
                Ok(made) => self.mend(id, key, &made, now),
                Err(refusal) => self.complain(id, Some(key.name.to_string()), refusal),
            }
        }
        let taken = taken.map(|actor| ActorTaken { actor }.into());
        for refusal in taken.into_iter().chain(refused.map(Refusal::Document)) {
            self.complain(id, Some(key.name.to_string()), refusal);
        }
        let orphans = self.sessions.get(&id).map_or(0, Session::orphan_bytes);
        if gave_up || orphans > limits::SESSION_ORPHAN_BYTES_MAX {
            // What nobody looked at is sent again only in a new dialogue.
            self.close(id, Refusal::NoProgress);
        }
    }

    /// Says what the last sync message of a session asks for.
    fn answer_sync(&mut self, id: SessionId, key: &StoreKey) {
        let (Some(session), Some(Slot::Loaded(store))) =
            (self.sessions.get_mut(&id), self.stores.get_mut(key))
        else {
            return;
        };
        let Some(Stand::Crdt(sync)) = session.stands.get_mut(key) else {
            return;
        };
        if let Some(message) = sync.answer(&mut store.document) {
            self.tell_sync(id, key, message);
        }
    }

    fn tell_sync(&mut self, id: SessionId, key: &StoreKey, message: SyncMessage) {
        let Ok(about) = self.store(key).map(|store| (key.clone(), store.seq())) else {
            return;
        };
        let delivery = Delivery::Sync { store: key.name.clone(), message: Arc::new(message) };
        self.deliver(id, Some(about), delivery);
    }

    /// Brings a slow client, whose news were thrown away, up to date in one message.
    pub(super) fn catch_up(&mut self, id: SessionId, name: &StoreName, since: &[ChangeHash]) {
        let key = self.key(name, Some(id));
        let told = |session: &Session| match session.stands.get(&key) {
            Some(Stand::Crdt(sync)) => sync.is_told(),
            Some(Stand::Json(_)) | None => false,
        };
        if !self.sessions.get(&id).is_some_and(told) {
            return;
        }
        let message = match self.store(&key) {
            Ok(store) => SyncMessage::catch_up(&mut store.document, since),
            // What it missed cannot be said now, and nobody would ask for it again.
            Err(_) => None,
        };
        match message {
            Some(message) => self.tell_sync(id, &key, message),
            None => self.restart_sync(id),
        }
    }
}
