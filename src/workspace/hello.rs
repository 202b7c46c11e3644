//! Hello and what else brings a client up to date: snapshots, catch-up patches, presence.

use std::sync::Arc;

use automerge::ChangeHash;

use super::effect::{Delivery, Effect};
use super::input::{Cursor, Garbled, Hello};
use super::rights::Wanted;
use super::session::{JsonStand, Session, Stand};
use super::{Ready, Refusal, StoreKey, View, Workspace};
use crate::document::SyncSession;
use crate::ids::{Millis, Seq, SessionId, StoreName};
use crate::json::{Json, between};

impl Workspace {
    /// The stores that a hello is about: all, or those that it names, in the order of the stores.
    fn hello_keys(&self, id: SessionId, hello: &Hello) -> Vec<StoreKey> {
        let named = hello.seqs.keys().chain(hello.sync.keys()).chain(hello.cursors.keys());
        let rights = self.rights(id);
        let all = || {
            let listed = self.config.stores.iter().map(|store| store.name.clone());
            let known = listed.chain(self.shared_names()).filter(|name| rights.reads(name));
            known.chain(named.cloned()).collect()
        };
        let mut names: Vec<StoreName> = hello.stores.clone().unwrap_or_else(all);
        let place = |name: &StoreName| self.config.stores.iter().position(|s| s.name == *name);
        names.sort_by_key(|name| (place(name).unwrap_or(usize::MAX), name.clone()));
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names.iter().map(|name| self.key(name, Some(id))).collect()
    }

    /// Sees to it that all stores of a hello are loaded.
    pub(super) fn ready_for_hello(&mut self, id: SessionId, hello: &Hello) -> Ready {
        let rights = self.rights(id);
        let mut ready = Ready::Now;
        for key in self.hello_keys(id, hello) {
            if matches!(self.require_for(&rights, &key), Ready::Later) {
                ready = Ready::Later;
            }
        }
        ready
    }

    /// Answers a hello, store by store.
    pub(super) fn hello(&mut self, id: SessionId, hello: Hello, now: Millis) {
        let keys = self.hello_keys(id, &hello);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.greeted = true;
        session.caps = hello.caps;
        session.only = hello.stores.map(|stores| stores.into_iter().collect());
        let caps = session.caps;
        let rights = Arc::clone(&session.rights);
        let mut stands: Vec<(StoreName, Cursor)> = Vec::new();
        for key in &keys {
            let in_crdt = hello.sync.contains_key(&key.name);
            let wanted = if in_crdt { Wanted::Follow } else { Wanted::Read };
            if let Err(refusal) = self.store_for(&rights, key, wanted) {
                // It has asked for Automerge, and is told of the store in no other way.
                let is_there = matches!(refusal, Refusal::Unavailable(_) | Refusal::Forbidden);
                if is_there && in_crdt {
                    self.speak_crdt(id, key);
                }
                self.complain(id, Some(key.name.to_string()), refusal);
                continue;
            }
            if let Some(message) = hello.sync.get(&key.name) {
                self.greet_in_crdt(id, key, message, now);
            } else {
                let seq = hello.seqs.get(&key.name).copied();
                self.greet_in_json(id, key, seq, hello.cursors.get(&key.name));
            }
            if let Ok(store) = self.store(key) {
                stands.push((key.name.clone(), store.cursor()));
            }
        }
        if caps.presence {
            self.show_presence_of_others(id);
        }
        if caps.ready && self.sessions.contains_key(&id) {
            let seqs = stands.iter().map(|(name, cursor)| (name.clone(), cursor.seq)).collect();
            let cursors = caps.cursor.then_some(stands);
            self.deliver(id, None, Delivery::Ready { seqs, cursors });
        }
    }

    fn greet_in_crdt(&mut self, id: SessionId, key: &StoreKey, message: &[u8], now: Millis) {
        self.speak_crdt(id, key);
        self.sync(id, &key.name, message, now);
    }

    /// From now on the session hears of this store in Automerge, also if it cannot be read yet.
    fn speak_crdt(&mut self, id: SessionId, key: &StoreKey) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.owed.remove(key);
            session.stands.insert(key.clone(), Stand::Crdt(Box::new(SyncSession::new())));
        }
    }

    fn greet_in_json(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        seq: Option<i64>,
        cursor: Option<&Cursor>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // A legacy client with an unpaid snapshot has miscounted: its seq names another state.
        let miscounted = session.owed.remove(key);
        let with_cursor = session.caps.cursor;
        let view = session.rights.reading(&key.name);
        let Ok(store) = self.store(key) else {
            return;
        };
        let newest = store.cursor();
        let named = seq.and_then(|seq| u64::try_from(seq).ok()).map(Seq);
        let named = cursor.map_or(named, |cursor| Some(cursor.seq));
        #[cfg(planted)]
        let named =
            named.map(|seq| if crate::planted::is("seq-off-by-one") { seq.next() } else { seq });
        let held = match (cursor, named) {
            _ if miscounted => None,
            // Which part he was shown, a seq does not say: it may have been another one.
            _ if !view.is_whole() => None,
            (Some(cursor), _) => store.state_at(cursor).ok(),
            (None, Some(seq)) => store.state(seq).ok(),
            (None, None) => None,
        };
        let state = view.of(&store.document.json());
        let same = held.as_ref().is_some_and(|held| *held.heads() == newest.heads);
        let identity = &store.config.policy.identity;
        let patch = held.map(|held| between(&view.of(&held.json()), &state, identity));
        let seq = newest.seq;
        let cursor = with_cursor.then_some(newest);
        let store = key.name.clone();
        let delivery = match patch {
            Some(_) if same && named == Some(seq) => None,
            Some(patch) => Some(Delivery::Patch { store, seq, patch: Arc::new(patch), cursor }),
            None => Some(Delivery::Snapshot { store, seq, state, cursor }),
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            if let Some(Stand::Json(stand)) = session.stands.get_mut(key) {
                stand.greeted(seq);
            } else {
                let stand = Stand::Json(JsonStand::told(seq));
                session.stands.insert(key.clone(), stand);
            }
        }
        if let Some(delivery) = delivery {
            self.deliver(id, Some((key.clone(), seq)), delivery);
        }
    }

    /// Sends the snapshots that are owed: one for each session and store, however many edits of
    /// the turn called for it.
    pub(super) fn pay_snapshots(&mut self) {
        let owing: Vec<(SessionId, StoreKey)> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.greeted)
            .flat_map(|(id, session)| session.owed.iter().map(|key| (*id, key.clone())))
            .collect();
        for (id, key) in owing {
            let view = self.rights(id).reading(&key.name);
            if view == View::Nothing
                && let Some(session) = self.sessions.get_mut(&id)
            {
                session.owed.remove(&key);
                continue;
            }
            let Ok(store) = self.store(&key) else {
                continue;
            };
            let (cursor, state) = (store.cursor(), view.of(&store.document.json()));
            let seq = cursor.seq;
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.owed.remove(&key);
            let cursor = session.caps.cursor.then_some(cursor);
            if let Some(stand) = session.json_stand(&key) {
                stand.shown(seq);
            }
            let store = key.name.clone();
            self.deliver(id, Some((key, seq)), Delivery::Snapshot { store, seq, state, cursor });
        }
    }

    /// Tells a session all anew that was thrown away on its way: JSON stores by a snapshot,
    /// Automerge stores by what it missed.
    pub(super) fn resync(&mut self, id: SessionId, missed: &[(StoreName, Vec<ChangeHash>)]) {
        for (store, since) in missed {
            self.catch_up(id, store, since);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let json = |(_, stand): &(&StoreKey, &Stand)| matches!(stand, Stand::Json(_));
        session.owed.extend(session.stands.iter().filter(json).map(|(key, _)| key.clone()));
        let legacy = !session.caps.ack;
        for stand in session.stands.values_mut() {
            if let Stand::Json(stand) = stand
                && legacy
            {
                stand.miscounts_all();
            }
        }
        if session.caps.presence && session.greeted {
            self.show_presence_of_others(id);
        }
        self.resync_peer(id);
    }

    /// Sends a session its next message, when all that it tells of is durable.
    pub(super) fn deliver(
        &mut self,
        id: SessionId,
        about: Option<(StoreKey, Seq)>,
        delivery: Delivery,
    ) {
        if self.sessions.get(&id).is_some_and(|session| session.greeted) {
            self.outbox.when_saved(about, Effect::Deliver { to: vec![id], delivery });
        }
    }

    /// Tells a client that something other than an edit went wrong, if it can understand.
    pub(super) fn complain(&mut self, id: SessionId, store: Option<String>, refusal: Refusal) {
        let understands = |session: &Session| session.caps.any() || session.repo.is_some();
        if self.sessions.get(&id).is_some_and(understands) {
            self.deliver(id, None, Delivery::Error { store, refusal });
        }
    }

    /// Answers a message that could not be understood.
    pub(super) fn garbled(&mut self, id: SessionId, garbled: Garbled) {
        let Garbled { store, id: message, seq, refusal, patch } = garbled;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if patch && session.caps.ack {
            self.deliver(id, None, Delivery::Nack { store, id: message, refusal });
        } else if patch && !session.caps.any() {
            // A legacy client has counted its edit already: only a snapshot can correct it.
            let key =
                store.and_then(|store| store.parse().ok()).map(|name| self.key(&name, Some(id)));
            if let Some(key) = key {
                self.correct_refused(
                    id,
                    &key,
                    seq.and_then(|seq| u64::try_from(seq).ok()).map(Seq),
                );
            }
        } else {
            self.complain(id, store, refusal);
        }
    }

    pub(super) fn owe_snapshot(&mut self, id: SessionId, key: StoreKey) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.owed.insert(key);
        }
    }

    /// Keeps and shows what a session shows of itself.
    pub(super) fn presence(&mut self, id: SessionId, data: Json) {
        if data.encoded_len() > self.config.limits.presence_bytes_max {
            self.complain(id, None, Refusal::Json(crate::json::JsonError::TooLarge));
            return;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            // To show nothing is to have left, and that is said once.
            let data = Some(data).filter(|data| *data != Json::Null);
            let shown = std::mem::replace(&mut session.presence, data.clone());
            let user = session.user.clone();
            let rights = Arc::clone(&session.rights);
            if shown.is_some() || data.is_some() {
                self.tell_presence_to_peers(id, &rights, data.as_ref());
                let to = self.presence_seen(id).into_iter().map(|(other, _)| other).collect();
                self.tell_at_once(to, Delivery::Presence { session: id, user, data });
            }
        }
    }

    /// Who sees the presence of a session, and what of it.
    pub(super) fn presence_seen(&self, id: SessionId) -> Vec<(SessionId, Option<Json>)> {
        self.sessions.get(&id).map(|session| self.presence_seen_of(id, session)).unwrap_or_default()
    }

    fn presence_seen_of(&self, id: SessionId, shown: &Session) -> Vec<(SessionId, Option<Json>)> {
        let sees = |session: &Session| session.greeted && session.caps.presence;
        let others = self.sessions.iter().filter(|(other, session)| **other != id && sees(session));
        let seen = others.filter(|(_, session)| self.may_meet(shown, session));
        seen.map(|(other, session)| (*other, shown.presence_for(session))).collect()
    }

    /// Tells those who saw the presence of a session that has ended that it has left.
    pub(super) fn tell_departure(&mut self, id: SessionId, session: &Session) {
        let seen = self.presence_seen_of(id, session).into_iter();
        let to = seen.filter(|(_, data)| data.is_some()).map(|(other, _)| other).collect();
        let user = session.user.clone();
        self.tell_at_once(to, Delivery::Presence { session: id, user, data: None });
        if session.repo.is_none() {
            self.tell_presence_to_peers(id, &session.rights, None);
        }
    }

    /// Tells sessions something that no save has to go before.
    pub(super) fn tell_at_once(&mut self, to: Vec<SessionId>, delivery: Delivery) {
        if !to.is_empty() {
            self.outbox.at_once(Effect::Deliver { to, delivery });
        }
    }

    fn show_presence_of_others(&mut self, id: SessionId) {
        let Some(me) = self.sessions.get(&id) else {
            return;
        };
        let shown = |(other, session): (&SessionId, &Session)| {
            let meets = *other != id && session.presence.is_some() && self.may_meet(session, me);
            let data = meets.then(|| session.presence_for(me)).flatten()?;
            Some((*other, session.user.clone(), data))
        };
        let others: Vec<_> = self.sessions.iter().filter_map(shown).collect();
        for (session, user, data) in others {
            let delivery = Delivery::Presence { session, user, data: Some(data) };
            self.outbox.at_once(Effect::Deliver { to: vec![id], delivery });
        }
    }
}
