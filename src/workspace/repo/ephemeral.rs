//! What is of this moment: messages between peers, and presence across the dialects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Ephemeral, PresenceWord, RepoDelivery, SenderId};
use crate::ids::{DocumentId, SessionId, StoreName};
use crate::json::{Json, JsonError, Object};
use crate::limits;
use crate::workspace::effect::Delivery;
use crate::workspace::session::Session;
use crate::workspace::{Refusal, Rights, StoreKey, Workspace};

/// What was heard of every run of a peer's program. Peers pass on what they hear, so the same
/// message comes back by many ways.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Heard {
    /// By what the sender said itself, and by what others said in his name: those cannot take the
    /// word from him.
    counts: BTreeMap<(SenderId, Arc<str>, bool), u64>,
    /// Words of presence that were said in the name of sessions of other dialects.
    words: u64,
}

impl Heard {
    /// Whether a message is new. Counts rise, and what comes late is as good as known.
    fn is_new(&mut self, ephemeral: &Ephemeral, own: bool) -> bool {
        let source = |own| (ephemeral.sender.clone(), Arc::clone(&ephemeral.session), own);
        let heard = |own| self.counts.get(&source(own)).copied().unwrap_or_default();
        let newest = if own { heard(true) } else { heard(true).max(heard(false)) };
        let known = newest >= ephemeral.count;
        if !known {
            if self.counts.len() >= limits::EPHEMERAL_SOURCES_MAX {
                // At worst, something of a moment ago is passed on once more.
                self.counts.clear();
            }
            let source = source(own);
            self.counts.insert(source, ephemeral.count);
        }
        !known
    }

    fn next_word(&mut self) -> u64 {
        self.words = self.words.saturating_add(1);
        self.words
    }
}

impl Workspace {
    /// Passes a message on to all others who have the document open.
    pub(super) fn ephemeral(&mut self, id: SessionId, ephemeral: &Arc<Ephemeral>) {
        let Some(peer) = self.peer(id) else {
            return;
        };
        if ephemeral.data.len() > limits::EPHEMERAL_BYTES_MAX {
            let document = Some(ephemeral.document.to_string());
            return self.complain(id, document, Refusal::Json(JsonError::TooLarge));
        }
        // Nobody speaks for a peer that is here itself.
        let own = peer.name == ephemeral.sender;
        if !own && self.names.contains_key(&ephemeral.sender) {
            return;
        }
        if !self.heard.is_new(ephemeral, own) {
            return;
        }
        let key = self.document_key(ephemeral.document);
        let opened = |session: &Session| {
            session.repo.is_some()
                && key.as_ref().is_some_and(|key| session.stands.contains_key(key))
        };
        let open = self.sessions.iter().filter(|(_, session)| opened(session)).map(|(id, _)| *id);
        if !self.may_hear(id, ephemeral.document) {
            return;
        }
        // Who waited for the document may have it open by now: each is told once.
        let to: BTreeSet<SessionId> = open
            .chain(self.documents.wanting(ephemeral.document))
            .filter(|other| *other != id && self.may_hear(*other, ephemeral.document))
            .collect();
        let to = to.into_iter().collect();
        self.tell_at_once(to, Delivery::Repo(RepoDelivery::Ephemeral(Arc::clone(ephemeral))));
        if let (Some(key), Some(word), true) = (key, &ephemeral.presence, own) {
            self.hear_presence(id, &key, word);
        }
    }

    /// A peer shows something of itself in a document: the sessions of other dialects see it, and
    /// it sees them.
    fn hear_presence(&mut self, id: SessionId, key: &StoreKey, word: &PresenceWord) {
        let bytes_max = self.config.limits.presence_bytes_max;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(peer) = session.repo.as_mut().filter(|_| session.stands.contains_key(key)) else {
            return;
        };
        let mut shows = peer.shows.clone();
        let is_new = !shows.contains_key(&key.name);
        match word {
            PresenceWord::Goodbye => drop(shows.remove(&key.name)),
            word => shown(shows.entry(key.name.clone()).or_default(), word),
        }
        let together = all_shown(&shows.values().collect::<Vec<_>>());
        let large = together.as_ref().is_some_and(|together| together.encoded_len() > bytes_max);
        if large || shows.len() > limits::PRESENCE_STORES_MAX {
            let refusal = JsonError::TooLarge.into();
            return self.complain(id, Some(key.name.to_string()), refusal);
        }
        self.show(id, shows);
        if *word != PresenceWord::Goodbye {
            self.show_others(id, &key.name, is_new);
        }
    }

    /// A peer shows this of itself from now on: whoever sees another presence is told.
    fn show(&mut self, id: SessionId, shows: BTreeMap<StoreName, Object>) {
        let before: BTreeMap<_, _> = self.presence_seen(id).into_iter().collect();
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.presence = all_shown(&shows.values().collect::<Vec<_>>());
        if let Some(peer) = &mut session.repo {
            peer.shows = shows;
        }
        let user = session.user.clone();
        let mut news: Vec<(Option<Json>, Vec<SessionId>)> = Vec::new();
        for (other, data) in self.presence_seen(id) {
            if before.get(&other) == Some(&data) {
                continue;
            }
            match news.iter_mut().find(|(said, _)| *said == data) {
                Some((_, to)) => to.push(other),
                None => news.push((data, vec![other])),
            }
        }
        for (data, to) in news {
            self.tell_at_once(to, Delivery::Presence { session: id, user: user.clone(), data });
        }
    }

    /// Takes back what a session shows in stores that it may not read any more.
    pub(in crate::workspace) fn hide_presence(&mut self, id: SessionId, rights: &Rights) {
        let Some(peer) = self.peer(id) else {
            return;
        };
        let mut shows = peer.shows.clone();
        shows.retain(|store, _| rights.reads(store));
        if shows != peer.shows {
            self.show(id, shows);
        }
    }

    /// Whether a session may hear what is said about a document, and say something. Of one that
    /// is not there, only who may read everything knows which store it could be, unless it is
    /// named by its own id.
    fn may_hear(&self, id: SessionId, document: DocumentId) -> bool {
        let rights = self.rights(id);
        if let Some(key) = self.document_key(document) {
            return rights.reading(&key.name).is_whole();
        }
        let name = document.to_string().parse().ok().filter(|_| !document.is_derived());
        rights.is_all() || name.is_some_and(|name| rights.reading(&name).is_whole())
    }

    /// Shows a peer the sessions of other dialects: all of them when it is new, and later that
    /// they are still there, as often as it says so itself.
    pub(super) fn show_others(&mut self, id: SessionId, store: &StoreName, is_new: bool) {
        let others = self.sessions.iter().filter(|(_, session)| session.repo.is_none());
        let shown = others.filter_map(|(other, session)| {
            Some((*other, session.presence.clone().filter(|_| session.follows(store))?))
        });
        for (other, state) in shown.collect::<Vec<_>>() {
            let word = if is_new {
                PresenceWord::Snapshot { state: as_state(state) }
            } else {
                PresenceWord::Heartbeat
            };
            self.say_word(vec![id], store, other, word);
        }
    }

    /// Shows what a session of another dialect shows to the peers that show themselves.
    pub(in crate::workspace) fn tell_presence_to_peers(
        &mut self,
        id: SessionId,
        rights: &Rights,
        data: Option<&Json>,
    ) {
        let mut by_store: BTreeMap<StoreName, Vec<SessionId>> = BTreeMap::new();
        for (other, session) in &self.sessions {
            let shows = session.repo.iter().flat_map(|peer| peer.shows.keys());
            for store in shows.filter(|store| rights.reads(store)) {
                by_store.entry(store.clone()).or_default().push(*other);
            }
        }
        for (store, to) in by_store {
            let word = match data {
                Some(data) => PresenceWord::Snapshot { state: as_state(data.clone()) },
                None => PresenceWord::Goodbye,
            };
            self.say_word(to, &store, id, word);
        }
    }

    fn say_word(
        &mut self,
        to: Vec<SessionId>,
        store: &StoreName,
        session: SessionId,
        word: PresenceWord,
    ) {
        let (document, count) = (self.documents.id(store), self.heard.next_word());
        let said = RepoDelivery::Presence { document, session, word, count };
        self.tell_at_once(to, Delivery::Repo(said));
    }
}

/// What a peer shows in one document, after a word.
fn shown(channels: &mut Object, word: &PresenceWord) {
    match word {
        PresenceWord::Heartbeat | PresenceWord::Goodbye => {}
        PresenceWord::Update { channel, value } => {
            channels.insert(channel.as_str().into(), value.clone());
        }
        PresenceWord::Snapshot { state } => {
            for (channel, value) in state.as_object().into_iter().flat_map(Object::iter) {
                channels.insert(Arc::clone(channel), value.clone());
            }
        }
    }
}

/// The channels of all documents as one object: in other dialects a session shows one thing.
pub(super) fn all_shown(shows: &[&Object]) -> Option<Json> {
    let channels = shows.iter().flat_map(|channels| channels.iter());
    let together = channels.map(|(channel, value)| (Arc::clone(channel), value.clone())).collect();
    (!shows.is_empty()).then_some(Json::Object(together))
}

/// Stock clients keep an object of channels; anything else is the only channel, `data`.
fn as_state(data: Json) -> Json {
    match data {
        Json::Object(_) => data,
        other => Json::Object(std::iter::once(("data".into(), other)).collect()),
    }
}
