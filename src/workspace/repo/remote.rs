//! What other places hold of the documents here, for those who want to know.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ChangeHash;

use super::{RemoteHeads, RepoDelivery, StorageId};
use crate::ids::{DocumentId, Millis, SessionId, StoreName};
use crate::limits;
use crate::workspace::effect::{Delivery, Effect};
use crate::workspace::rights::Wanted;
use crate::workspace::store::Committed;
use crate::workspace::{Refusal, StoreKey, Workspace};

/// The heads of other places, as far as they were heard of, and who wants to hear of them.
#[derive(Debug)]
pub(in crate::workspace) struct RemoteBook {
    /// This place.
    own: StorageId,
    heads: BTreeMap<(StoreName, StorageId), RemoteHeads>,
    /// How many hashes there are in `heads`.
    hashes: usize,
    subscribers: BTreeMap<StorageId, BTreeSet<SessionId>>,
    /// The time that was last named for what this place holds.
    told: Millis,
}

impl RemoteBook {
    pub(in crate::workspace) fn new(own: StorageId) -> Self {
        Self {
            own,
            heads: BTreeMap::new(),
            hashes: 0,
            subscribers: BTreeMap::new(),
            told: Millis(0),
        }
    }

    /// This place.
    pub(in crate::workspace) fn own(&self) -> &StorageId {
        &self.own
    }

    fn subscribe(&mut self, id: SessionId, storages: &BTreeSet<StorageId>) {
        for storage in storages {
            self.subscribers.entry(storage.clone()).or_default().insert(id);
        }
    }

    pub(super) fn unsubscribe(&mut self, id: SessionId, storages: &BTreeSet<StorageId>) {
        for storage in storages {
            if let Some(subscribers) = self.subscribers.get_mut(storage) {
                subscribers.remove(&id);
                if subscribers.is_empty() {
                    self.subscribers.remove(storage);
                }
            }
        }
    }

    /// Notes what a place holds, unless something newer is known.
    fn note(&mut self, store: &StoreName, storage: &StorageId, heads: &RemoteHeads) -> bool {
        let place = (store.clone(), storage.clone());
        let known = self.heads.get(&place);
        if *storage == self.own || known.is_some_and(|known| known.time >= heads.time) {
            return false;
        }
        let before = known.map_or(0, |known| known.heads.len());
        let after = self.hashes.saturating_sub(before).saturating_add(heads.heads.len());
        if after > limits::REMOTE_HEADS_KEPT_MAX {
            // It is hearsay: whoever holds something says so again with his next change.
            self.heads.clear();
            self.hashes = 0;
        }
        self.hashes = self.hashes.saturating_sub(before).saturating_add(heads.heads.len());
        self.heads.insert(place, heads.clone());
        true
    }
}

impl Workspace {
    /// Changes of whose heads a session wants to hear; what is known of the new ones it is told.
    pub(super) fn subscribe(&mut self, id: SessionId, add: &[StorageId], remove: &[StorageId]) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(peer) = &mut session.repo else {
            return;
        };
        let kept = peer.remotes.iter().filter(|storage| !remove.contains(storage));
        let wanted: BTreeSet<StorageId> = kept.chain(add).cloned().collect();
        if wanted.len() > limits::REMOTE_STORAGES_MAX {
            return self.complain(id, None, Refusal::TooMany("remote subscriptions"));
        }
        let before = std::mem::replace(&mut peer.remotes, wanted.clone());
        let open: Vec<StoreKey> = session.stands.keys().cloned().collect();
        self.remote.unsubscribe(id, &before);
        self.remote.subscribe(id, &wanted);
        for key in open {
            self.tell_known_heads(id, &key, add);
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

    /// A peer tells what it has heard of others. Nobody knows more than what is now.
    pub(super) fn hear_remote_heads(
        &mut self,
        id: SessionId,
        document: DocumentId,
        heads: Vec<(StorageId, RemoteHeads)>,
        now: Millis,
    ) {
        let Some(key) = self.document_key(document) else {
            return;
        };
        if self.authorize(&self.rights(id), &key, Wanted::Follow).is_err() {
            return;
        }
        let wanted = heads.into_iter().filter(|(id, _)| self.remote.subscribers.contains_key(id));
        let clamped = wanted.map(|(id, RemoteHeads { mut heads, time })| {
            heads.sort_unstable();
            heads.dedup();
            (id, RemoteHeads { heads, time: time.min(now) })
        });
        let heads = clamped.collect();
        self.pass_on(id, &key, heads);
    }

    fn pass_on(&mut self, from: SessionId, key: &StoreKey, heads: Vec<(StorageId, RemoteHeads)>) {
        for (storage, heads) in heads {
            if !self.remote.note(&key.name, &storage, &heads) {
                continue;
            }
            let opened = |id: &SessionId| {
                self.sessions.get(id).is_some_and(|session| session.stands.contains_key(key))
            };
            let subscribers = self.remote.subscribers.get(&storage).into_iter().flatten();
            let to: Vec<SessionId> =
                subscribers.filter(|id| **id != from && opened(id)).copied().collect();
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
        // Who hears of it takes only what is newer, and a turn may make many commits.
        self.remote.told = made.commit.time.max(Millis(self.remote.told.0.saturating_add(1)));
        let heads = RemoteHeads { heads: made.commit.heads.clone(), time: self.remote.told };
        let (document, heads) =
            (self.documents.id(&key.name), vec![(self.remote.own.clone(), heads)]);
        let delivery = Delivery::Repo(RepoDelivery::RemoteHeads { document, heads });
        self.outbox.publish(key, made.commit.seq, Effect::Deliver { to, delivery });
    }
}
