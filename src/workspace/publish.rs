//! The news of a commit: to every session that follows the store, each in its dialect.

use std::sync::Arc;

use super::effect::{Delivery, Effect};
use super::input::Cursor;
use super::session::{JsonStand, Stand};
use super::store::Committed;
use super::{StoreKey, View, Workspace};
use crate::document::SyncMessage;
use crate::ids::SessionId;
use crate::json::between;

/// Who is told what of a commit.
#[derive(Debug, Default)]
struct Audience {
    plain: Vec<SessionId>,
    with_cursor: Vec<SessionId>,
    /// JSON clients that see only a part of it, and whether with a cursor.
    partial: Vec<(View, bool, Vec<SessionId>)>,
    /// JSON clients to whom the store is new.
    new_to_it: Vec<SessionId>,
    crdt: Vec<SessionId>,
    /// The author, where he speaks Automerge: he has the changes, and waits for the heads.
    author: Vec<SessionId>,
    /// Peers that want to hear what this place holds.
    watching: Vec<SessionId>,
}

impl Audience {
    fn add_partial(&mut self, view: View, with_cursor: bool, id: SessionId) {
        let same = |(other, cursor, _): &&mut (View, bool, Vec<SessionId>)| {
            *other == view && *cursor == with_cursor
        };
        match self.partial.iter_mut().find(same) {
            Some((_, _, to)) => to.push(id),
            None => self.partial.push((view, with_cursor, vec![id])),
        }
    }
}

impl Workspace {
    /// Tells every session that follows the store.
    pub(super) fn publish(&mut self, key: &StoreKey, made: &Committed, sender: Option<SessionId>) {
        let audience = self.audience(key, made, sender);
        for id in audience.new_to_it {
            self.owe_snapshot(id, key.clone());
        }
        let (store, seq) = (&key.name, made.commit.seq);
        let patch = |to: Vec<SessionId>, cursor| {
            let (store, patch) = (store.clone(), Arc::clone(&made.patch));
            (to, Delivery::Patch { store, seq, patch, cursor })
        };
        let sync = |to: Vec<SessionId>, changes| {
            let (since, heads) = (made.heads_before.clone(), made.commit.heads.clone());
            let message = Arc::new(SyncMessage::news(since, heads, changes));
            (to, Delivery::Sync { store: store.clone(), message })
        };
        #[cfg(planted)]
        let audience = Audience {
            crdt: if crate::planted::is("news-not-told") && seq.0.is_multiple_of(5) {
                Vec::new()
            } else {
                audience.crdt
            },
            new_to_it: Vec::new(),
            ..audience
        };
        self.publish_parts(key, made, audience.partial);
        let cursor = Cursor { seq, heads: made.commit.heads.clone() };
        let news = [
            patch(audience.plain, None),
            patch(audience.with_cursor, Some(cursor)),
            sync(audience.crdt, made.changes.clone()),
            sync(audience.author, Vec::new()),
        ];
        for (to, delivery) in news {
            if !to.is_empty() {
                self.outbox.publish(key, seq, Effect::Deliver { to, delivery });
            }
        }
        self.tell_own_heads(audience.watching, key, made);
        self.serve_wanted(key);
    }

    /// Tells those who see only a part what has changed in it. They are told the seq, if nothing
    /// has.
    fn publish_parts(
        &mut self,
        key: &StoreKey,
        made: &Committed,
        partial: Vec<(View, bool, Vec<SessionId>)>,
    ) {
        let (store, seq) = (&key.name, made.commit.seq);
        let identity = self.config.store(store).policy.identity;
        for (view, with_cursor, to) in partial {
            let patch = between(&view.of(&made.before), &view.of(&made.after), &identity);
            let cursor = Cursor { seq, heads: made.commit.heads.clone() };
            let delivery = Delivery::Patch {
                store: store.clone(),
                seq,
                patch: Arc::new(patch),
                cursor: with_cursor.then_some(cursor),
            };
            self.outbox.publish(key, seq, Effect::Deliver { to, delivery });
        }
    }

    fn audience(
        &mut self,
        key: &StoreKey,
        made: &Committed,
        sender: Option<SessionId>,
    ) -> Audience {
        let mut audience = Audience::default();
        for (id, session) in &mut self.sessions {
            let is_mine = key.owner.is_none_or(|owner| owner == *id);
            if !(is_mine && session.follows(&key.name)) {
                continue;
            }
            let is_sender = sender == Some(*id);
            if let Some(peer) = &session.repo
                && peer.remotes.contains(self.remote.own())
                && session.stands.contains_key(key)
            {
                audience.watching.push(*id);
            }
            match session.stands.get_mut(key) {
                Some(Stand::Crdt(sync)) if !sync.is_told() => {}
                Some(Stand::Crdt(_)) if is_sender => audience.author.push(*id),
                Some(Stand::Crdt(_)) => audience.crdt.push(*id),
                _ if session.repo.is_some() => {}
                _ if is_sender || session.owed.contains(key) => {}
                Some(Stand::Json(JsonStand { told: told @ Some(_), .. })) => {
                    *told = Some(made.commit.seq);
                    let with_cursor = session.caps.cursor;
                    let view = session.rights.reading(&key.name);
                    if !view.is_whole() {
                        audience.add_partial(view, with_cursor, *id);
                        continue;
                    }
                    if with_cursor { &mut audience.with_cursor } else { &mut audience.plain }
                        .push(*id);
                }
                // It came into being after the session's hello.
                _ => audience.new_to_it.push(*id),
            }
        }
        audience
    }
}
