//! What a store's rules do about a change that could not be refused: a commit of the server puts
//! back what the change broke, and no more.
//!
//! It is a commit like any other: an edit from the broken state back towards the one before, made
//! on the newest heads, so that all that others do at the same time stands. Only the places are put
//! back at which a rule is newly broken; where that is not enough, what holds them, and at the end
//! all that the change did.
//!
//! It answers a client's change, never another commit of the server. Two servers that mend the same
//! change come to the same state. Where they do not, because their rules differ, each answers the
//! other; so whoever has to be mended again and again is shut out
//! ([`limits::MENDED_MAX`]) and has to connect anew.

use super::edit::Making;
use super::effect::Effect;
use super::gate::{Gate, new_breaches};
use super::store::Committed;
use super::{Dialect, Origin, Refusal, StoreKey, Workspace};
use crate::document::{Breach, DocumentError, Note};
use crate::ids::{Millis, SessionId};
use crate::json::{Array, Difference, Entry, Identity, Json, Key, Object, Step, difference};
use crate::limits;

impl Workspace {
    /// Puts back what a client's commit has broken, and tells the client why.
    pub(super) fn mend(&mut self, id: SessionId, key: &StoreKey, made: &Committed, now: Millis) {
        let Ok(store) = self.store(key) else {
            return;
        };
        let Some(gate) = store.config.gate.clone() else {
            return;
        };
        let broken = new_breaches(&*gate, &made.before, &made.after);
        let identity = store.config.policy.identity.clone();
        let Some(first) = broken.first().cloned() else {
            return;
        };
        let next = mended(&*gate, &made.before, &made.after, broken, &identity);
        if let Err(refusal) = self.put_back(key, &next, &first, now) {
            self.complain(id, Some(key.name.to_string()), refusal);
        }
        let refusal = Refusal::Document(DocumentError::Unfit(Box::new(first)));
        self.complain(id, Some(key.name.to_string()), refusal.clone());
        self.count_mended(id, refusal, now);
    }

    /// Commits the state that the rules allow.
    fn put_back(
        &mut self,
        key: &StoreKey,
        next: &Json,
        first: &Breach,
        now: Millis,
    ) -> Result<(), Refusal> {
        let store = self.store(key)?;
        // What was there has its place, however full the workspace is.
        store.document.fill(false);
        let (base, before) = (store.document.state(), store.document.json());
        let message = format!("put back: {first}");
        let note = Note { time: now, message: Some(&message) };
        let written = store.document.write(&base, next, None, note);
        let Some((_, change)) = self.sound(key, written)?.change else {
            return Ok(());
        };
        let user = "server".to_owned();
        let origin = Origin { user, session: None, dialect: Dialect::Server, id: None };
        let (changes, spoken, depth) = (vec![change], Vec::new(), Some(0));
        let making = Making { before, changes, origin, spoken, depth, now };
        let made = self.commit(key, making, None)?;
        let mended = Effect::Mended { store: key.name.clone(), breach: Box::new(first.clone()) };
        self.outbox.when_saved(Some((key.clone(), made.commit.seq)), mended);
        Ok(())
    }

    /// Counts how often a session had to be mended in some time. What it does right in between does
    /// not count: that is no sign that it will stop.
    fn count_mended(&mut self, id: SessionId, refusal: Refusal, now: Millis) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (since, times) = &mut session.mended;
        if now.0.saturating_sub(since.0) >= limits::MENDED_WITHIN_MS {
            (*since, *times) = (now, 0);
        }
        *times = times.saturating_add(1);
        if *times >= limits::MENDED_MAX {
            self.close(id, refusal);
        }
    }
}

/// The state that comes nearest to `after` and breaks no rule that `before` did not break.
fn mended(
    gate: &dyn Gate,
    before: &Json,
    after: &Json,
    mut broken: Vec<Breach>,
    identity: &Identity,
) -> Json {
    // So much is not looked for place by place.
    if broken.len() > limits::MEND_PARTS_MAX {
        return before.clone();
    }
    let mut state = after.clone();
    // How far above the places that are at fault it is tried.
    let mut lifted = 0_usize;
    for _ in 0..limits::MEND_ROUNDS_MAX {
        let parts: Vec<Vec<Key>> = broken.iter().map(|breach| lift(breach, lifted)).collect();
        let parts: Vec<&[Key]> = parts.iter().map(Vec::as_slice).collect();
        let back = difference(&state, before, identity, None);
        let next = taken_back(&state, &back, &parts);
        if next == state {
            lifted = lifted.saturating_add(1);
            continue;
        }
        state = next;
        broken = new_breaches(gate, before, &state);
        if broken.is_empty() {
            return state;
        }
    }
    before.clone()
}

/// The part that is put back for a breach, so many steps further up.
fn lift(breach: &Breach, steps: usize) -> Vec<Key> {
    let mut part = breach.part().segments().to_vec();
    part.truncate(part.len().saturating_sub(steps));
    part
}

/// A state with some of its parts as they were; `back` is what turns all of it into what was. A
/// part that was not there goes; so does what holds it, if that was not there either.
fn taken_back(state: &Json, back: &Difference, parts: &[&[Key]]) -> Json {
    let all = parts.iter().any(|part| part.is_empty());
    if parts.is_empty() {
        return state.clone();
    }
    match (state, back) {
        (_, Difference::Replace(value)) => value.clone(),
        (Json::Object(members), Difference::Object(entries)) => {
            let mut members = members.clone();
            for (key, entry) in entries {
                let below = below(parts, key, all);
                if !below.is_empty() {
                    take_back_member(&mut members, key, entry, &below);
                }
            }
            Json::Object(members)
        }
        (Json::Array(elements), Difference::Array(steps)) => {
            Json::Array(elements_back(elements, steps, parts, all))
        }
        (state, _) => state.clone(),
    }
}

fn take_back_member(members: &mut Object, key: &Key, entry: &Entry, parts: &[&[Key]]) {
    match entry {
        Entry::Add(value) => {
            members.insert(Key::clone(key), value.clone());
        }
        Entry::Remove => {
            members.remove(key);
        }
        Entry::Change(back) => {
            members.update(key, |member| *member = taken_back(member, back, parts));
        }
    }
}

/// An element that was taken out comes back only with the whole array.
fn elements_back(elements: &Array, steps: &[Step], parts: &[&[Key]], all: bool) -> Array {
    let mut out = Vec::with_capacity(elements.len());
    let mut rest = elements.iter().enumerate();
    for step in steps {
        match step {
            Step::Keep(count) => out.extend(rest.by_ref().take(*count).map(|(_, e)| e.clone())),
            Step::Change(back) => out.extend(rest.next().map(|(index, element)| {
                let below = below(parts, &index.to_string(), all);
                taken_back(element, back, &below)
            })),
            Step::Delete(count) => {
                let stays =
                    |(index, _): &(usize, &Json)| below(parts, &index.to_string(), all).is_empty();
                out.extend(rest.by_ref().take(*count).filter(stays).map(|(_, e)| e.clone()));
            }
            Step::Insert(values) if all => out.extend(values.iter().cloned()),
            Step::Insert(_) => {}
        }
    }
    out.extend(rest.map(|(_, element)| element.clone()));
    Array::from(out)
}

/// The parts that lie in this member, as they are called there; the member itself, if all of what
/// holds it is meant.
fn below<'a>(parts: &[&'a [Key]], member: &str, all: bool) -> Vec<&'a [Key]> {
    if all {
        return vec![&[]];
    }
    let inside = |part: &&'a [Key]| {
        let (first, rest) = part.split_first()?;
        (**first == *member).then_some(rest)
    };
    parts.iter().filter_map(inside).collect()
}

#[cfg(test)]
mod tests;
