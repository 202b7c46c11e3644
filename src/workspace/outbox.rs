//! What a workspace has to say, held back until it can no longer be lost.
//!
//! Effects leave in the order in which they came to be. One that tells of commits waits for the
//! newest save that was asked for at that time; so nobody sees a state that a crash could undo,
//! and no session's messages overtake each other.

use std::collections::{BTreeMap, VecDeque};

use super::commit::Append;
use super::effect::{Answer, Delivery, Effect, SaveId};
use super::refusal::Refusal;
use super::trigger::Firing;
use super::webhook::Call;
use super::{Commit, StoreKey};
use crate::ids::{Seq, SessionId, StoreName};

/// Effects on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What goes out at the end of the turn, whatever the log does.
    now: Vec<Effect>,
    /// Commits of this turn.
    appends: BTreeMap<StoreName, Append>,
    /// Saves under way, with the stores in them and the seq that each stood at before.
    saves: BTreeMap<SaveId, Vec<(StoreName, Seq)>>,
    newest_save: SaveId,
    held: VecDeque<Held>,
    /// Firings of commits that could not be saved as far as the log knew: a write that fails may
    /// have happened all the same, and then the handlers must still hear of it.
    doubtful: BTreeMap<StoreKey, Vec<Firing>>,
}

#[derive(Debug)]
struct Held {
    after: SaveId,
    /// The commit that it tells of: if that is lost, so is this.
    about: Option<(StoreKey, Seq)>,
    /// Whether it tells of that one commit only, to whoever has the state before it.
    news: bool,
    effect: Effect,
}

impl Outbox {
    /// Lets an effect out at the end of the turn.
    pub(super) fn at_once(&mut self, effect: Effect) {
        self.now.push(effect);
    }

    /// Asks for a commit to be saved with this turn.
    pub(super) fn append(&mut self, store: &StoreName, after: Seq, commit: Commit) {
        let fresh =
            || Append { store: store.clone(), after, commits: Vec::new(), calls: Vec::new() };
        self.appends.entry(store.clone()).or_insert_with(fresh).commits.push(commit);
    }

    /// Asks for what is to be told of a commit of this turn to be saved with it.
    pub(super) fn call(&mut self, store: &StoreName, calls: impl Iterator<Item = Call>) {
        if let Some(append) = self.appends.get_mut(store) {
            append.calls.extend(calls);
        }
    }

    /// Lets an effect out when all that was committed so far is durable.
    pub(super) fn when_saved(&mut self, about: Option<(StoreKey, Seq)>, effect: Effect) {
        self.hold(about, false, effect);
    }

    /// Lets the news of a commit out when it is durable.
    pub(super) fn publish(&mut self, key: &StoreKey, seq: Seq, effect: Effect) {
        self.hold(Some((key.clone(), seq)), true, effect);
    }

    fn hold(&mut self, about: Option<(StoreKey, Seq)>, news: bool, effect: Effect) {
        let after = if self.appends.is_empty() { self.newest_save } else { self.next_save() };
        self.held.push_back(Held { after, about, news, effect });
    }

    fn next_save(&self) -> SaveId {
        SaveId(self.newest_save.0.saturating_add(1))
    }

    /// Ends a turn: one save for all its commits, and what may go out. `strict` holds back what
    /// is not durable yet.
    pub(super) fn end_turn(&mut self, strict: bool) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.now);
        if !self.appends.is_empty() {
            self.newest_save = self.next_save();
            let appends: Vec<Append> = std::mem::take(&mut self.appends).into_values().collect();
            let stores =
                appends.iter().map(|append| (append.store.clone(), append.after)).collect();
            self.saves.insert(self.newest_save, stores);
            effects.push(Effect::Save { save: self.newest_save, appends });
        }
        #[cfg(planted)]
        let strict = strict && !crate::planted::is("ack-before-save");
        let oldest_save = self.saves.keys().next().copied().filter(|_| strict);
        while let Some(held) = self.held.front() {
            if oldest_save.is_some_and(|save| save <= held.after) {
                break;
            }
            effects.extend(self.held.pop_front().map(|held| held.effect));
        }
        effects
    }

    /// A save ended: the stores that were in it, with the seq that each stood at before.
    pub(super) fn saved(&mut self, save: SaveId) -> Vec<(StoreName, Seq)> {
        self.saves.remove(&save).unwrap_or_default()
    }

    /// Whether commits of this store are on their way to the log.
    pub(super) fn is_saving(&self, store: &StoreName) -> bool {
        self.appends.contains_key(store)
            || self.saves.values().flatten().any(|(saving, _)| saving == store)
    }

    /// Whether nothing waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.saves.is_empty() && self.held.is_empty()
    }

    /// Takes back all that tells of lost commits of a store, and refuses those who wait for them.
    /// Returns the sessions that do not get a state which they were counted to have.
    pub(super) fn take_back(
        &mut self,
        store: &StoreName,
        durable: Seq,
        refusal: &Refusal,
    ) -> Vec<SessionId> {
        #[cfg(planted)]
        if crate::planted::is("not-taken-back") {
            return Vec::new();
        }
        self.appends.remove(store);
        let lost = |(key, seq): &(StoreKey, Seq)| key.name == *store && *seq > durable;
        let mut without_state = Vec::new();
        for held in std::mem::take(&mut self.held) {
            let flushed = matches!(held.effect, Effect::Answer { answer: Ok(Answer::Flushed), .. });
            if !flushed && !held.about.as_ref().is_some_and(lost) {
                self.held.push_back(held);
                continue;
            }
            if let Effect::Deliver { to, .. } = &held.effect
                && !held.news
            {
                without_state.extend(to);
            }
            match (held.effect, held.about) {
                (Effect::Fire(firing), Some((key, _))) => {
                    self.doubtful.entry(key).or_default().push(*firing);
                }
                (effect, _) => {
                    let effect = refused(effect, refusal);
                    self.held.extend(effect.map(|effect| Held { about: None, effect, ..held }));
                }
            }
        }
        without_state
    }

    /// Firings of a store's commits of which nobody knew whether they were saved; now the log was
    /// read.
    pub(super) fn take_doubtful(&mut self, key: &StoreKey) -> Vec<Firing> {
        #[cfg(planted)]
        if crate::planted::is("doubtful-firing-dropped") {
            self.doubtful.remove(key);
        }
        self.doubtful.remove(key).unwrap_or_default()
    }
}

/// What is left of the good news of a lost commit.
fn refused(effect: Effect, refusal: &Refusal) -> Option<Effect> {
    match effect {
        Effect::Answer { ticket, .. } => {
            Some(Effect::Answer { ticket, answer: Err(refusal.clone()) })
        }
        Effect::Deliver { to, delivery: Delivery::Ack { store, id, .. } } => {
            let id = id.map(|id| id.as_str().to_owned());
            let store = Some(store.to_string());
            Some(Effect::Deliver {
                to,
                delivery: Delivery::Nack { store, id, refusal: refusal.clone() },
            })
        }
        _ => None,
    }
}
