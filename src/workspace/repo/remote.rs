//! What other places hold of the documents here, for those who want to know.

use std::collections::BTreeMap;

use automerge::ChangeHash;

use super::{RemoteHeads, RepoDelivery, StorageId};
use crate::ids::{DocumentId, Millis, SessionId, StoreName};
use crate::limits;
use crate::workspace::effect::{Delivery, Effect};
use crate::workspace::store::Committed;
use crate::workspace::{Refusal, StoreKey, Workspace};

/// The heads of other places, as far as they were heard of.
#[derive(Debug)]
pub(in crate::workspace) struct RemoteBook {
    /// This place.
    own: StorageId,
    heads: BTreeMap<(StoreName, StorageId), RemoteHeads>,
}

impl RemoteBook {
    pub(in crate::workspace) fn new(own: StorageId) -> Self {
        Self { own, heads: BTreeMap::new() }
    }

    /// This place.
    pub(in crate::workspace) fn own(&self) -> &StorageId {
        &self.own
    }

    /// Notes what a place holds, unless something newer is known.
    fn note(&mut self, store: &StoreName, storage: &StorageId, heads: &RemoteHeads) -> bool {
        let place = (store.clone(), storage.clone());
        let known = self.heads.get(&place);
        if *storage == self.own || known.is_some_and(|known| known.time >= heads.time) {
            return false;
        }
        if self.heads.len() >= limits::REMOTE_HEADS_KEPT_MAX {
            // It is hearsay: whoever holds something says so again with his next change.
            self.heads.clear();
        }
        self.heads.insert(place, heads.clone());
        true
    }
}

impl Workspace {
    /// Changes of whose heads a session wants to hear; what is known of the new ones it is told.
    pub(super) fn subscribe(&mut self, id: SessionId, add: Vec<StorageId>, remove: &[StorageId]) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(peer) = &mut session.repo else {
            return;
        };
        peer.remotes.retain(|storage| !remove.contains(storage));
        if peer.remotes.len().saturating_add(add.len()) > limits::REMOTE_STORAGES_MAX {
            return self.complain(id, None, Refusal::TooMany("remote subscriptions"));
        }
        peer.remotes.extend(add.iter().cloned());
        let open: Vec<StoreKey> = session.stands.keys().cloned().collect();
        for key in open {
            self.tell_known_heads(id, &key, &add);
        }
    }

    /// Tells a session what is known of these places.
    pub(super) fn tell_known_heads(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        storages: &[StorageId],
    ) {
        let known = |storage: &StorageId| {
            let heads = self.remote.heads.get(&(key.name.clone(), storage.clone()))?;
            Some((storage.clone(), heads.clone()))
        };
        let heads: Vec<_> = storages.iter().filter_map(known).collect();
        if !heads.is_empty() {
            self.tell_heads(vec![id], key, heads);
        }
    }

    /// A peer has these heads now.
    pub(super) fn note_heads_of_peer(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        heads: Vec<ChangeHash>,
        now: Millis,
    ) {
        let Some(storage) = self.peer(id).and_then(|peer| peer.storage.clone()) else {
            return;
        };
        // What the peer says itself is newer than all that was known, whatever the clock says.
        let known = self.remote.heads.get(&(key.name.clone(), storage.clone()));
        if known.is_some_and(|known| known.heads == heads) {
            return;
        }
        let time = known.map_or(now, |known| now.max(Millis(known.time.0.saturating_add(1))));
        self.pass_on(id, key, vec![(storage, RemoteHeads { heads, time })]);
    }

    /// A peer tells what it has heard of others.
    pub(super) fn hear_remote_heads(
        &mut self,
        id: SessionId,
        document: DocumentId,
        heads: Vec<(StorageId, RemoteHeads)>,
    ) {
        let Some(key) = self.document_key(document) else {
            return;
        };
        let wanted = |storage: &StorageId| {
            let mut peers = self.sessions.values().filter_map(|session| session.repo.as_ref());
            peers.any(|peer| peer.remotes.contains(storage))
        };
        let heads = heads.into_iter().filter(|(storage, _)| wanted(storage)).collect();
        self.pass_on(id, &key, heads);
    }

    fn pass_on(&mut self, from: SessionId, key: &StoreKey, heads: Vec<(StorageId, RemoteHeads)>) {
        for (storage, heads) in heads {
            if !self.remote.note(&key.name, &storage, &heads) {
                continue;
            }
            let wants = |(other, session): &(&SessionId, &crate::workspace::Session)| {
                let subscribed =
                    session.repo.as_ref().is_some_and(|peer| peer.remotes.contains(&storage));
                **other != from && subscribed && session.stands.contains_key(key)
            };
            let to: Vec<SessionId> =
                self.sessions.iter().filter(wants).map(|(other, _)| *other).collect();
            self.tell_heads(to, key, vec![(storage, heads)]);
        }
    }

    /// Heads may name commits that are not durable yet: they wait for those.
    fn tell_heads(
        &mut self,
        to: Vec<SessionId>,
        key: &StoreKey,
        heads: Vec<(StorageId, RemoteHeads)>,
    ) {
        if to.is_empty() {
            return;
        }
        let document = self.documents.id(&key.name);
        let delivery = Delivery::Repo(RepoDelivery::RemoteHeads { document, heads });
        self.outbox.when_saved(None, Effect::Deliver { to, delivery });
    }

    /// Tells those who want to know what this place itself holds after a commit.
    pub(in crate::workspace) fn tell_own_heads(
        &mut self,
        to: Vec<SessionId>,
        key: &StoreKey,
        made: &Committed,
    ) {
        if to.is_empty() {
            return;
        }
        let heads = RemoteHeads { heads: made.commit.heads.clone(), time: made.commit.time };
        let (document, heads) =
            (self.documents.id(&key.name), vec![(self.remote.own.clone(), heads)]);
        let delivery = Delivery::Repo(RepoDelivery::RemoteHeads { document, heads });
        self.outbox.publish(key, made.commit.seq, Effect::Deliver { to, delivery });
    }
}
