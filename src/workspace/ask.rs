//! What server code asks of a workspace, and gets answered when it is durable.

use std::sync::Arc;

use super::edit::Making;
use super::effect::{Answer, Changes, Effect, Overview, Ticket};
use super::input::{Ask, Author, Cursor, Edit, Terms, Write};
use super::rights::{Rights, Wanted};
use super::store::MessageFate;
use super::{Commit, Dialect, MessageId, Origin, Ready, Refusal, StoreKey, Workspace};
use crate::document::Note;
use crate::ids::{Millis, Seq, StoreName};
use crate::json::merge::merge;
use crate::json::{
    Explicit, Json, JsonError, JsonLimits, JsonOp, JsonPatch, Key, Pointer, between,
};
use crate::limits;

impl Workspace {
    /// Takes a question.
    pub(super) fn ask(&mut self, ticket: Ticket, ask: Ask, rights: Arc<Rights>, now: Millis) {
        if self.asks.len() >= limits::PARKED_MESSAGES_MAX {
            let answer = Err(Refusal::TooMany("questions waiting for a store"));
            self.outbox.at_once(Effect::Answer { ticket, answer });
            return;
        }
        self.asks.push_back((ticket, rights, ask));
        self.answer_asks(now);
    }

    /// Answers questions in order, as far as the stores that they need are there.
    pub(super) fn answer_asks(&mut self, now: Millis) {
        let mut waiting = false;
        for _ in 0..self.asks.len() {
            let Some((ticket, rights, ask)) = self.asks.pop_front() else {
                return;
            };
            // What is flushed is all that was asked for before.
            let behind = waiting && ask == Ask::Flush;
            let later = matches!(self.ready_for(&ask, &rights), Ready::Later);
            if behind || later || self.must_ask_the_log(&ask, &rights) {
                waiting = true;
                self.asks.push_back((ticket, rights, ask));
                continue;
            }
            let (about, answer) = match self.answer(ask, &rights, now) {
                Ok((about, answer)) => (about, Ok(answer)),
                Err(refusal) => (None, Err(refusal)),
            };
            self.outbox.when_saved(about, Effect::Answer { ticket, answer });
        }
    }

    fn ready_for(&mut self, ask: &Ask, rights: &Rights) -> Ready {
        let names = match ask {
            Ask::Get { store }
            | Ask::Moments { store, .. }
            | Ask::Document { store }
            | Ask::Write(Write { store, .. }) => vec![store.clone()],
            Ask::Overview | Ask::States | Ask::ChangesSince { .. } => self.names_for(rights),
            Ask::Stores | Ask::Flush => Vec::new(),
        };
        let mut ready = Ready::Now;
        for name in names {
            let key = self.key(&name, None);
            if matches!(self.require_for(rights, &key), Ready::Later) {
                ready = Ready::Later;
            }
        }
        ready
    }

    fn answer(&mut self, ask: Ask, rights: &Rights, now: Millis) -> Result<Told, Refusal> {
        match ask {
            Ask::Get { store } => {
                let key = self.key(&store, None);
                let view = rights.reading(&key.name);
                let store = self.store_for(rights, &key, Wanted::Read)?;
                let (state, cursor) = (view.of(&store.document.json()), store.cursor());
                Ok((Some((key, cursor.seq)), Answer::State { state, cursor }))
            }
            Ask::Moments { store, from, more } => {
                let key = self.key(&store, None);
                let view = rights.reading(&key.name);
                let store = self.store_for(rights, &key, Wanted::Read)?;
                let moments = store.moments(&from, more, view).or(Err(Refusal::Stale))?;
                Ok((Some((key, moments.newest)), Answer::Moments(moments)))
            }
            Ask::Document { store } => {
                let key = self.key(&store, None);
                let store = self.store_for(rights, &key, Wanted::Follow)?;
                let (document, cursor) = (store.document.frozen(), store.cursor());
                Ok((Some((key, cursor.seq)), Answer::Document { document, cursor }))
            }
            Ask::Write(write) => self.write(write, rights, now),
            Ask::Stores => {
                let names = self.names_for(rights);
                let persistent = |name: StoreName| {
                    let persistent = self.config.store(&name).persistent;
                    (name, persistent)
                };
                Ok((None, Answer::Stores(names.into_iter().map(persistent).collect())))
            }
            Ask::Overview => Ok((None, self.overview(rights))),
            Ask::States => Ok((None, self.states(rights))),
            Ask::ChangesSince { since, otherwise } => {
                let mut changes = Changes::default();
                for name in self.names_for(rights) {
                    let since = since.get(&name).copied().unwrap_or(otherwise);
                    self.note_changes(&name, rights, since, &mut changes);
                }
                Ok((None, Answer::Changes(changes)))
            }
            Ask::Flush => Ok((None, Answer::Flushed)),
        }
    }

    /// The stores that everybody shares, as far as these rights show them.
    fn names_for(&self, rights: &Rights) -> Vec<StoreName> {
        let mut names = self.shared_names();
        names.retain(|name| rights.reads(name));
        names
    }

    fn overview(&mut self, rights: &Rights) -> Answer {
        let mut overview = Vec::new();
        for name in self.names_for(rights) {
            let key = self.key(&name, None);
            let view = rights.reading(&name);
            let stand = self.store(&key).ok();
            let bytes = |json: Json| view.of(&json).encoded_len();
            let stand = stand.map(|store| (store.cursor(), bytes(store.document.json())));
            let persistent = self.config.store(&name).persistent;
            overview.push(Overview { store: name, persistent, stand });
        }
        Answer::Overview(overview)
    }

    fn states(&mut self, rights: &Rights) -> Answer {
        let mut states = Vec::new();
        let mut unavailable = Vec::new();
        for name in self.names_for(rights) {
            let key = self.key(&name, None);
            let view = rights.reading(&name);
            match self.store(&key) {
                Ok(store) => states.push((name, view.of(&store.document.json()), store.cursor())),
                Err(_) => unavailable.push(name),
            }
        }
        Answer::States { states, unavailable }
    }

    /// A store that cannot be read is as one whose history does not reach back.
    fn note_changes(
        &mut self,
        name: &StoreName,
        rights: &Rights,
        since: Seq,
        changes: &mut Changes,
    ) {
        let key = self.key(name, None);
        let view = rights.reading(name);
        let Ok(store) = self.store(&key) else {
            changes.truncated.push(name.clone());
            return;
        };
        let seq = store.seq();
        changes.seqs.insert(name.clone(), seq);
        if seq == since {
            return;
        }
        match store.state(since) {
            Ok(moment) => {
                let (then, now) = (view.of(&moment.json()), view.of(&store.document.json()));
                let patch = between(&then, &now, &store.config.policy.identity);
                if !patch.ops.is_empty() {
                    changes.patches.insert(name.clone(), patch);
                }
            }
            Err(_) => changes.truncated.push(name.clone()),
        }
    }

    /// Whether only the log can say if a change was made before; it is asked then.
    fn must_ask_the_log(&mut self, ask: &Ask, rights: &Rights) -> bool {
        let Ask::Write(Write { store, terms: Terms { id: Some(id), .. }, .. }) = ask else {
            return false;
        };
        let key = self.key(store, None);
        let may = self.authorize(rights, &key, Wanted::Write).is_ok();
        let unknown = may && matches!(self.fate(&key, id), Ok(MessageFate::AskTheLog));
        if unknown {
            let (store, id) = (key.name, id.clone());
            if self.recalls.insert((store.clone(), id.clone()), None).is_none() {
                self.outbox.at_once(Effect::Recall { store, id });
            }
        }
        unknown
    }

    fn write(&mut self, write: Write, rights: &Rights, now: Millis) -> Result<Told, Refusal> {
        let Write { store, base, edit, author, terms } = write;
        let key = self.key(&store, None);
        self.store_for(rights, &key, Wanted::Write)?;
        if let Some(id) = &terms.id
            && let MessageFate::Committed(seq) = self.fate(&key, id)?
        {
            return self.written_before(key, seq);
        }
        let config = Arc::clone(&self.config);
        let limits = &config.limits.json;
        let store = self.store(&key)?;
        let heads = store.document.heads();
        let is_newest = base.as_ref().is_none_or(|base| base.heads == heads);
        let unmet = terms.newest && !is_newest
            || terms.written.is_some_and(|written| written != store.is_written())
            || terms.unlike.contains(&heads);
        if unmet {
            return Err(Refusal::Unmet);
        }
        let base = match &base {
            Some(cursor) => store.state_at(cursor).or(Err(Refusal::Stale))?,
            None => store.document.state(),
        };
        let before = store.document.json();
        let whole = base.json();
        let seen = rights.reading(&key.name).of(&whole);
        let (wanted, explicit) = next_state(&seen, &edit, limits)?;
        let next = self.authorize_edit(rights, &key, &whole, wanted)?;
        if next.encoded_len() > limits.document_bytes_max.max(before.encoded_len()) {
            return Err(JsonError::TooLarge.into());
        }
        let note = Note { time: now, message: None };
        let full = self.quota.is_full();
        let store = self.store(&key)?;
        store.document.fill(full && author != Author::Container);
        let written = if author == Author::Container {
            // What its owner has kept there is so, whatever the rules say.
            store.document.write(&base, &next, explicit.as_ref(), note)
        } else {
            store.write(&base, &next, explicit.as_ref(), note)
        };
        let view = rights.reading(&key.name);
        let written = self.sound(&key, written).map_err(|refusal| Self::veiled(refusal, &view));
        let change = written?.change;
        if change.is_none() && terms.id.is_none() {
            let Cursor { seq, heads } = self.store(&key)?.cursor();
            let answer = Answer::Written { seq, changed: false, heads: Some(heads) };
            return Ok((Some((key, seq)), answer));
        }
        let (origin, depth) = origin_of(author, terms.id);
        let changed = change.is_some();
        let changes = change.into_iter().map(|(_, bytes)| bytes).collect();
        let mut spoken = match &edit {
            Edit::Patch(patch) => self.spoken(patch, &whole, is_newest),
            Edit::Put { path, value } => self.spoken(&put(&whole, path, value), &whole, is_newest),
            Edit::Set(_) | Edit::Merge(_) | Edit::Update(_) => Vec::new(),
        };
        spoken.retain(|place| rights.writing(&key.name).covers_place(place));
        let making = Making { before, changes, origin, spoken, depth, now };
        let Commit { seq, heads, .. } = self.commit(&key, making, None)?.commit;
        Ok((Some((key, seq)), Answer::Written { seq, changed, heads: Some(heads) }))
    }

    /// The answer to a change that was made when it was asked for the first time.
    fn written_before(&mut self, key: StoreKey, seq: Seq) -> Result<Told, Refusal> {
        let store = self.store(&key)?;
        let heads = store.heads(seq).ok().map(<[_]>::to_vec);
        let before = store.heads(Seq(seq.0.saturating_sub(1))).ok();
        let changed = before.is_none() || before != heads.as_deref();
        Ok((Some((key, seq)), Answer::Written { seq, changed, heads }))
    }
}

/// A value that is put in one place of a base, as the patch that says so.
fn put(base: &Json, path: &Pointer, value: &Json) -> JsonPatch {
    let (path, value) = (path.clone(), value.clone());
    let is_there = base.get(&path).is_some();
    let op = if is_there { JsonOp::Replace { path, value } } else { JsonOp::Add { path, value } };
    JsonPatch { ops: vec![op] }
}

/// An answer, and the commit that it tells of.
type Told = (Option<(StoreKey, Seq)>, Answer);

/// What a base becomes by a change.
fn next_state(
    base: &Json,
    edit: &Edit,
    limits: &JsonLimits,
) -> Result<(Json, Option<Explicit>), Refusal> {
    match edit {
        Edit::Set(value) | Edit::Merge(value) | Edit::Update(value) => value.check(limits)?,
        Edit::Patch(_) | Edit::Put { .. } => {}
    }
    let next = match edit {
        Edit::Set(state) => state.clone(),
        Edit::Merge(patch) => merge(base, patch),
        Edit::Update(updates) => {
            let (Json::Object(members), Json::Object(updates)) = (base, updates) else {
                return Err(Refusal::NotAnObject);
            };
            let mut members = members.clone();
            for (key, value) in updates {
                members.insert(Key::clone(key), value.clone());
            }
            Json::Object(members)
        }
        Edit::Patch(patch) => {
            let applied = patch.apply(base, limits)?;
            return Ok((applied.json, applied.explicit));
        }
        Edit::Put { path, value } => {
            let applied = put(base, path, value).apply(base, limits)?;
            return Ok((applied.json, applied.explicit));
        }
    };
    Ok((next, None))
}

fn origin_of(author: Author, id: Option<MessageId>) -> (Origin, Option<u32>) {
    let (user, dialect, depth) = match author {
        Author::Server { depth } => ("server".to_owned(), Dialect::Server, Some(depth)),
        Author::Container => ("container".to_owned(), Dialect::Container, None),
        Author::User(user) => (user, Dialect::Json, Some(0)),
    };
    (Origin { user, session: None, dialect, id }, depth)
}
