//! The steps of a change: a base is found, the document takes it, it becomes the next commit.

use super::effect::{Delivery, Effect};
use super::input::Cursor;
use super::rights::Wanted;
use super::store::{Committed, MessageFate};
use super::trigger::{self, Changed, Context, Firing};
use super::webhook::Call;
use super::{Dialect, MessageId, Origin, Refusal, StoreKey, Workspace};
use crate::document::{DocumentError, Note, State};
use crate::ids::{Millis, Seq, SessionId, StoreName};
use crate::json::{Applied, Json, JsonOp, JsonPatch, Pointer, between};
use crate::limits;

/// An edit of a JSON client.
#[derive(Debug)]
pub(super) struct JsonEdit {
    pub(super) store: StoreName,
    pub(super) seq: i64,
    pub(super) id: Option<MessageId>,
    pub(super) patch: JsonPatch,
}

/// What is known of a commit beside its changes.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) before: Json,
    pub(super) changes: Vec<Vec<u8>>,
    pub(super) origin: Origin,
    /// Paths that the edit itself named.
    pub(super) spoken: Vec<Pointer>,
    /// Firings of triggers behind it; `None`: it fires none.
    pub(super) depth: Option<u32>,
    pub(super) now: Millis,
}

impl Workspace {
    /// Takes an edit of a JSON client; gives it back if the log has to be asked first whether it
    /// was sent before.
    pub(super) fn patch(&mut self, id: SessionId, edit: JsonEdit, now: Millis) -> Option<JsonEdit> {
        let key = self.key(&edit.store, Some(id));
        if let Err(refusal) = self.store_for(&self.rights(id), &key, Wanted::Read) {
            self.refuse_edit(id, &key, edit, refusal);
            return None;
        }
        if let Some(message) = &edit.id {
            match self.fate(&key, message) {
                Ok(MessageFate::New) => {}
                Ok(MessageFate::Committed(seq)) => {
                    self.acknowledge_again(id, &key, &edit, seq);
                    return None;
                }
                Ok(MessageFate::AskTheLog) => {
                    let (store, id) = (key.name, message.clone());
                    let asked = self.recalls.insert((store.clone(), id.clone()), None);
                    if asked.is_none() {
                        self.outbox.at_once(Effect::Recall { store, id });
                    }
                    return Some(edit);
                }
                Err(refusal) => {
                    self.refuse_edit(id, &key, edit, refusal);
                    return None;
                }
            }
        }
        if let Err(refusal) = self.apply_edit(id, &key, &edit, now) {
            self.refuse_edit(id, &key, edit, refusal);
        }
        None
    }

    /// Whether a message was committed before, as far as this workspace or the log can say.
    pub(super) fn fate(
        &mut self,
        key: &StoreKey,
        message: &MessageId,
    ) -> Result<MessageFate, Refusal> {
        match self.recalls.get(&(key.name.clone(), message.clone())) {
            Some(Some(Ok(Some(seq)))) => Ok(MessageFate::Committed(*seq)),
            // Another session may have committed it while the log was asked.
            Some(Some(Ok(None))) => Ok(match self.store(key)?.message(message) {
                MessageFate::Committed(seq) => MessageFate::Committed(seq),
                MessageFate::New | MessageFate::AskTheLog => MessageFate::New,
            }),
            Some(Some(Err(why))) => Err(Refusal::Unavailable(why.clone())),
            Some(None) | None => Ok(self.store(key)?.message(message)),
        }
    }

    fn apply_edit(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        edit: &JsonEdit,
        now: Millis,
    ) -> Result<(), Refusal> {
        let seq = u64::try_from(edit.seq).map(Seq).or(Err(Refusal::Stale))?;
        let miscounted = self.counts(id, key, Some(seq));
        let rights = self.rights(id);
        self.authorize(&rights, key, Wanted::Write)?;
        let base = self.base(id, key, seq, None)?;
        let whole = base.json();
        let view = rights.reading(&key.name);
        let Applied { json: wanted, explicit } =
            edit.patch.apply(&view.of(&whole), &self.config.limits.json)?;
        let result = self.authorize_edit(&rights, key, &whole, wanted.clone())?;
        let Some(session) = self.sessions.get(&id) else {
            return Ok(());
        };
        let origin = Origin {
            user: session.user.clone(),
            session: Some(id),
            dialect: Dialect::Json,
            id: edit.id.clone(),
        };
        let full = self.quota.is_full();
        let store = self.store(key)?;
        store.document.fill(full);
        let is_current = seq == store.seq();
        let before = store.document.json();
        let note = Note { time: now, message: None };
        let written = store.write(&base, &result, explicit.as_ref(), note);
        let written = self.sound(key, written).map_err(|refusal| Self::veiled(refusal, &view))?;
        let mut spoken = self.spoken(&edit.patch, &whole, is_current);
        spoken.retain(|place| rights.writing(&key.name).covers_place(place));
        let change = written.change.as_ref().map(|(hash, _)| *hash);
        let changes = written.change.into_iter().map(|(_, bytes)| bytes).collect();
        let making = Making { before, changes, origin, spoken, depth: Some(0), now };
        let made = self.commit(key, making, Some(id))?;
        let acks = self.sessions.get(&id).is_some_and(|session| session.caps.ack);
        let rebase = if acks {
            self.rebase(key, &wanted, &view.of(&made.after))?
        } else {
            JsonPatch::default()
        };
        let cursor = Cursor { seq: made.commit.seq, heads: made.commit.heads };
        let counted = is_current && !miscounted;
        self.answer_edit(id, key, edit.id.clone(), counted, rebase, cursor.clone());
        if let Some(stand) = self.sessions.get_mut(&id).and_then(|s| s.json_stand(key)) {
            stand.note_own(seq, cursor.seq, change, written.state);
            stand.told = Some(cursor.seq);
        }
        Ok(())
    }

    /// The state that an edit was made on; `upto` names the commit that it became, if it did.
    fn base(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        seq: Seq,
        upto: Option<Seq>,
    ) -> Result<State, Refusal> {
        let (Some(session), Some(super::Slot::Loaded(store))) =
            (self.sessions.get_mut(&id), self.stores.get_mut(key))
        else {
            return Err(Refusal::NoStore);
        };
        let state = match session.json_stand(key) {
            Some(stand) => stand.base(seq, upto, store),
            None => store.state(seq),
        };
        state.or(Err(Refusal::Stale))
    }

    /// What turns (the sender's base + its edit) into the state that came of it.
    fn rebase(&mut self, key: &StoreKey, sent: &Json, now: &Json) -> Result<JsonPatch, Refusal> {
        Ok(between(sent, now, &self.store(key)?.config.policy.identity))
    }

    /// An accepted edit: an ack, or nothing for a legacy client whose count is right, or a
    /// snapshot that corrects it.
    fn answer_edit(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        message: Option<MessageId>,
        counted: bool,
        patch: JsonPatch,
        cursor: Cursor,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.caps.ack {
            let seq = cursor.seq;
            let cursor = session.caps.cursor.then_some(cursor);
            let store = key.name.clone();
            let delivery = Delivery::Ack { store, id: message, seq, patch, cursor };
            self.deliver(id, Some((key.clone(), seq)), delivery);
        } else if !counted {
            self.owe_snapshot(id, key.clone());
        }
    }

    /// An edit that was committed in an earlier life of the client, or of the server.
    fn acknowledge_again(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        edit: &JsonEdit,
        committed: Seq,
    ) {
        let (cursor, patch) = self.rebase_again(id, key, edit, committed);
        self.answer_edit(id, key, edit.id.clone(), false, patch, cursor);
        let Ok(store) = self.store(key) else {
            return;
        };
        let heads_before = store.heads(Seq(committed.0.saturating_sub(1))).map(<[_]>::to_vec);
        let heads = store.heads(committed).map(<[_]>::to_vec);
        if let (Some(stand), Ok(before), Ok(heads)) =
            (self.sessions.get_mut(&id).and_then(|s| s.json_stand(key)), heads_before, heads)
        {
            stand.note_resent(committed, &before, &heads);
        }
    }

    /// The ack of a resent edit. Where the base is not known any more, its patch replaces the
    /// whole; where the state after it is not known any more, it is that of the newest state,
    /// which contains the edit, too.
    fn rebase_again(
        &mut self,
        id: SessionId,
        key: &StoreKey,
        edit: &JsonEdit,
        committed: Seq,
    ) -> (Cursor, JsonPatch) {
        let seq = u64::try_from(edit.seq).map(Seq).unwrap_or_default();
        let sent = self.base(id, key, seq, Some(committed)).ok().filter(|_| seq < committed);
        let limits = &self.config.limits.json;
        let view = self.rights(id).reading(&key.name);
        let sent = sent.and_then(|base| edit.patch.apply(&view.of(&base.json()), limits).ok());
        let Ok(store) = self.store(key) else {
            return (Cursor { seq: committed, heads: Vec::new() }, JsonPatch::default());
        };
        let then = store.state(committed).map(|state| view.of(&state.json()));
        let heads = store.heads(committed).map(<[_]>::to_vec);
        let (cursor, then, sent) = match (then, heads) {
            (Ok(then), Ok(heads)) => (Cursor { seq: committed, heads }, then, sent),
            _ => (store.cursor(), view.of(&store.document.json()), None),
        };
        let patch = match sent {
            Some(sent) => between(&sent.json, &then, &store.config.policy.identity),
            None => JsonPatch { ops: vec![JsonOp::Replace { path: Pointer::root(), value: then }] },
        };
        (cursor, patch)
    }

    /// A refused edit: a nack, or the snapshot that corrects a legacy client's count.
    fn refuse_edit(&mut self, id: SessionId, key: &StoreKey, edit: JsonEdit, refusal: Refusal) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.caps.ack {
            let message = edit.id.map(|message| message.as_str().to_owned());
            let store = Some(key.name.to_string());
            self.deliver(id, None, Delivery::Nack { store, id: message, refusal });
        } else if self.store_for(&self.rights(id), key, Wanted::Read).is_ok() {
            self.correct_count(id, key);
        } else {
            self.complain(id, Some(key.name.to_string()), refusal);
            self.correct_refused(id, key, u64::try_from(edit.seq).ok().map(Seq));
        }
    }

    /// Puts a client right whose edit on a seq was refused, if there is such a store; if it cannot
    /// be read now, as soon as it can.
    pub(super) fn correct_refused(&mut self, id: SessionId, key: &StoreKey, seq: Option<Seq>) {
        let may_see = self.authorize(&self.rights(id), key, Wanted::Read).is_ok();
        if may_see && self.stores.contains_key(key) {
            self.counts(id, key, seq);
            self.correct_count(id, key);
        }
    }

    /// Notes an edit on a seq, whatever becomes of it; tells whether its author may have meant
    /// another state.
    pub(super) fn counts(&mut self, id: SessionId, key: &StoreKey, seq: Option<Seq>) -> bool {
        let stand = self.sessions.get_mut(&id).and_then(|session| session.json_stand(key));
        let (Some(stand), Some(seq)) = (stand, seq) else {
            return false;
        };
        let miscounted = stand.may_miscount(seq);
        stand.counts(seq);
        miscounted
    }

    /// A legacy client has counted an edit that was refused.
    pub(super) fn correct_count(&mut self, id: SessionId, key: &StoreKey) {
        if let Some(stand) = self.sessions.get_mut(&id).and_then(|s| s.json_stand(key)) {
            stand.miscounts();
            self.owe_snapshot(id, key.clone());
        }
    }

    /// What a document said, as a refusal; a document that cannot be trusted is loaded anew.
    pub(super) fn sound<T>(
        &mut self,
        key: &StoreKey,
        result: Result<T, DocumentError>,
    ) -> Result<T, Refusal> {
        result.map_err(|error| {
            if error.poisons() {
                self.mark_broken(key, false);
            }
            match error {
                DocumentError::NoProgress => Refusal::NoProgress,
                error => Refusal::Document(error),
            }
        })
    }

    /// Makes what the document has taken the next commit, and sees that it is saved, shown to all
    /// who follow the store, and fired.
    pub(super) fn commit(
        &mut self,
        key: &StoreKey,
        making: Making,
        sender: Option<SessionId>,
    ) -> Result<Committed, Refusal> {
        let Making { before, changes, origin, spoken, depth, now } = making;
        let store = self.store(key)?;
        let after = store.seq();
        let made = store.commit(before, changes, origin, now);
        if store.config.persistent {
            let wants_checkpoint = store.wants_checkpoint();
            self.outbox.append(&key.name, after, made.commit.clone());
            if wants_checkpoint {
                let store = key.name.clone();
                self.outbox.when_saved(None, Effect::Checkpoint { store });
            }
        }
        self.weigh(key);
        self.publish(key, &made, sender);
        if let Some(depth) = depth {
            self.fire(key, &made, &spoken, depth);
        }
        Ok(made)
    }

    /// The paths that an edit names, where any trigger would ask for them.
    pub(super) fn spoken(&self, patch: &JsonPatch, base: &Json, is_current: bool) -> Vec<Pointer> {
        if self.triggers.is_empty() && self.config.webhooks.is_empty() {
            return Vec::new();
        }
        trigger::spoken_paths(patch, base, is_current)
    }

    fn fire(&mut self, key: &StoreKey, made: &Committed, spoken: &[Pointer], depth: u32) {
        if self.triggers.is_empty() && self.config.webhooks.is_empty() {
            return;
        }
        let commit = &made.commit;
        let changes = trigger::Changes::new(&made.before, &made.after, &made.patch, spoken);
        let path = |changed: &Changed| format!("/{}{}", key.name, changed.path);
        for webhook in &self.config.webhooks {
            let changed = changes.of(&key.name, &webhook.pattern);
            if changed.len() > limits::CALLS_OF_COMMIT_MAX {
                let call = Call::of_many(&webhook.name, commit, &format!("/{}", key.name));
                self.outbox.call(&key.name, std::iter::once(call));
                continue;
            }
            let call = |changed| Call::new(&webhook.name, commit, &path(&changed), changed);
            self.outbox.call(&key.name, changed.into_iter().map(call));
        }
        for (trigger, changed) in changes.matches(&key.name, &self.triggers) {
            let context = Context {
                store: key.name.clone(),
                path: path(&changed),
                seq: commit.seq,
                user_id: self.config.user_id.clone(),
                session_id: self.config.session_id.clone(),
                origin: commit.origin.clone(),
                heads: commit.heads.clone(),
                time: commit.time,
                depth,
            };
            let firing = Firing { trigger, old: changed.old, new: changed.new, context };
            self.outbox.publish(key, commit.seq, Effect::Fire(Box::new(firing)));
        }
    }
}
