//! The book of seqs and heads of one store: answers "patches or snapshot?".

use std::collections::VecDeque;
use std::sync::Arc;

use automerge::ChangeHash;

use crate::document::{Document, State};
use crate::ids::{Millis, Seq};
use crate::workspace::commit::{Commit, Dialect};
use crate::workspace::config::Past;
use crate::workspace::effect::Moment;

/// The states of a store at its recent seqs, gapless; never empty.
#[derive(Debug)]
pub(super) struct History {
    past: Past,
    /// The seq of the first entry.
    first: Seq,
    entries: VecDeque<Entry>,
    /// The last state that had to be read from the document, for clients that stay behind.
    recalled: Option<(Seq, State)>,
}

#[derive(Debug)]
struct Entry {
    heads: Vec<ChangeHash>,
    time: Millis,
    /// Who made the commit, unless it is the state that the history begins with.
    author: Option<(Arc<str>, Dialect)>,
    /// Kept for the newest entries: they share most of their structure.
    state: Option<State>,
}

impl History {
    /// A history that knows one state.
    pub(super) fn new(past: Past, seq: Seq, heads: Vec<ChangeHash>, time: Millis) -> Self {
        let entries = VecDeque::from([Entry { heads, time, author: None, state: None }]);
        Self { past, first: seq, entries, recalled: None }
    }

    /// Notes the commit after the newest one, and the state that it made.
    pub(super) fn push(&mut self, commit: &Commit, state: Option<State>) {
        let (time, user) = (commit.time, commit.origin.user.as_str());
        // Most commits in a row are by few users: one text for all of them.
        let last = self.entries.back().and_then(|entry| entry.author.as_ref());
        let same = last.filter(|(last, _)| **last == *user).map(|(last, _)| Arc::clone(last));
        let author = Some((same.unwrap_or_else(|| user.into()), commit.origin.dialect));
        self.entries.push_back(Entry { heads: commit.heads.clone(), time, author, state });
        let shared = self.entries.len().checked_sub(self.past.trees_max.saturating_add(1));
        if let Some(entry) = shared.and_then(|index| self.entries.get_mut(index)) {
            entry.state = None;
        }
        while self.has_expired(time) {
            self.entries.pop_front();
            self.first = self.first.next();
        }
    }

    /// Keeps the newest state.
    pub(super) fn keep_newest(&mut self, state: State) {
        if let Some(entry) = self.entries.back_mut() {
            entry.state = Some(state);
        }
    }

    fn has_expired(&self, now: Millis) -> bool {
        let old = |entry: &Entry| now.0.saturating_sub(entry.time.0) > self.past.age_ms_min;
        let surplus = self.entries.len() > self.past.commits_min.saturating_add(1);
        let full = self.entries.len() > self.past.commits_max.saturating_add(1);
        full || (surplus && self.entries.front().is_some_and(old))
    }

    /// The heads at a seq.
    pub(super) fn heads(&self, seq: Seq) -> Option<&[ChangeHash]> {
        Some(&self.entry(seq)?.heads)
    }

    /// The state at a seq, if it is known.
    pub(super) fn state(&mut self, seq: Seq, document: &Document) -> Option<State> {
        let entry = self.entry(seq)?;
        if let Some(state) = &entry.state {
            return Some(state.clone());
        }
        if let Some((_, state)) = self.recalled.as_ref().filter(|(recalled, _)| *recalled == seq) {
            return Some(state.clone());
        }
        let state = document.state_at(&entry.heads).ok()?;
        self.recalled = Some((seq, state.clone()));
        Some(state)
    }

    /// The state at a seq, and up to so many after it; none if the seq is not known.
    pub(super) fn moments(&self, from: Seq, more: usize) -> Vec<Moment> {
        let index = from.0.checked_sub(self.first.0).and_then(|index| usize::try_from(index).ok());
        let Some(index) = index else { return Vec::new() };
        let moment = |(seq, entry): (u64, &Entry)| {
            let state = entry.state.as_ref().map(State::json);
            let (heads, author) = (entry.heads.clone(), entry.author.clone());
            Moment::new(Some(Seq(seq)), heads, entry.time, author, state)
        };
        let entries = self.entries.iter().skip(index).take(more.saturating_add(1));
        (from.0..).zip(entries).map(moment).collect()
    }

    /// The newest seq with these heads, which must be sorted.
    pub(super) fn seq_of(&self, heads: &[ChangeHash]) -> Option<Seq> {
        let back = self.entries.iter().rev().position(|entry| entry.heads == heads)?;
        let ahead = self.entries.len().checked_sub(back)?.checked_sub(1)?;
        Some(Seq(self.first.0.saturating_add(u64::try_from(ahead).ok()?)))
    }

    fn entry(&self, seq: Seq) -> Option<&Entry> {
        let index = seq.0.checked_sub(self.first.0)?;
        self.entries.get(usize::try_from(index).ok()?)
    }
}
