//! What server code asks of a workspace, and gets answered when it is durable.

use std::sync::Arc;

use super::edit::Making;
use super::effect::{Answer, Changes, Effect, Overview, Ticket};
use super::input::{Ask, Author, Edit, Write};
use super::rights::{Rights, Wanted};
use super::{Dialect, Origin, Ready, Refusal, StoreKey, Workspace};
use crate::document::Note;
use crate::ids::{Millis, Seq, StoreName};
use crate::json::merge::merge;
use crate::json::{Explicit, Json, JsonError, JsonLimits, Key, between};
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
            if behind || matches!(self.ready_for(&ask, &rights), Ready::Later) {
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
            Ask::Get { store } | Ask::Write(Write { store, .. }) => vec![store.clone()],
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
            Ask::Write(write) => self.write(&write, rights, now),
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
            Ok(version) => {
                let (then, now) = (view.of(&version.json()), view.of(&store.document.json()));
                let patch = between(&then, &now, &store.config.policy.identity);
                if !patch.ops.is_empty() {
                    changes.patches.insert(name.clone(), patch);
                }
            }
            Err(_) => changes.truncated.push(name.clone()),
        }
    }

    fn write(&mut self, write: &Write, rights: &Rights, now: Millis) -> Result<Told, Refusal> {
        let key = self.key(&write.store, None);
        let config = Arc::clone(&self.config);
        let limits = &config.limits.json;
        let store = self.store_for(rights, &key, Wanted::Write)?;
        let base = match &write.base {
            Some(cursor) => store.state_at(cursor).or(Err(Refusal::Stale))?,
            None => store.document.state(),
        };
        let before = store.document.json();
        let whole = base.json();
        let seen = rights.reading(&key.name).of(&whole);
        let (wanted, explicit) = next_state(&seen, &write.edit, limits)?;
        let next = self.authorize_edit(rights, &key, &whole, wanted)?;
        if next.encoded_len() > limits.document_bytes_max.max(before.encoded_len()) {
            return Err(JsonError::TooLarge.into());
        }
        let note = Note { time: now, message: None };
        let store = self.store(&key)?;
        let written = store.document.write(&base, &next, explicit.as_ref(), note);
        let Some((_, bytes)) = self.sound(&key, written)?.change else {
            let seq = self.store(&key)?.seq();
            return Ok((Some((key, seq)), Answer::Written { seq, changed: false }));
        };
        let (origin, depth) = origin_of(&write.author);
        let changes = vec![bytes];
        let mut spoken = match &write.edit {
            Edit::Patch(patch) => self.spoken(patch, &whole, write.base.is_none()),
            Edit::Set(_) | Edit::Merge(_) | Edit::Update(_) => Vec::new(),
        };
        spoken.retain(|place| rights.writing(&key.name).covers_place(place));
        let making = Making { before, changes, origin, spoken, depth, now };
        let seq = self.commit(&key, making, None)?.commit.seq;
        Ok((Some((key, seq)), Answer::Written { seq, changed: true }))
    }
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
        Edit::Patch(_) => {}
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
    };
    Ok((next, None))
}

fn origin_of(author: &Author) -> (Origin, Option<u32>) {
    let (user, dialect, depth) = match author {
        Author::Server { depth } => ("server", Dialect::Server, Some(*depth)),
        Author::Container => ("container", Dialect::Container, None),
        Author::User(user) => (user.as_str(), Dialect::Json, Some(0)),
    };
    (Origin { user: user.to_owned(), session: None, dialect, id: None }, depth)
}
