//! Changes from elsewhere: into the document and, step by step with it, into the JSON.
//!
//! There are three ways, each taken where it is the cheapest that will do: to make a change
//! [again](super::reenact), to receive it alone and follow what it does, and to receive many at
//! once and read the JSON anew. Whichever goes wrong, the document is put back as it was.

use automerge::{Automerge, Change, Patch as Delta, PatchLog, ReadDoc as _};

use super::reenact::{Reenacted, is_next, reenact};
use super::shield::Shield;
use super::sync::Received;
use super::{Document, DocumentError, Judge, LENIENT, guard, knows, projection, sharing};
use crate::json::{Json, JsonError, JsonLimits};
use crate::limits;

type Checked<T> = Result<T, DocumentError>;

impl Document {
    /// Receives changes made elsewhere, in causal order; those that are known are passed over. One
    /// that is refused takes only those with it that were made on top of it.
    pub fn receive(&mut self, changes: Vec<Change>) -> Result<Received, DocumentError> {
        let mut received = Received::default();
        let new = |change: &Change| !self.knows(&[change.hash()]);
        let changes: Vec<Change> = changes.into_iter().filter(new).collect();
        let mut again = self.is_cheaper_again(&changes);
        let mut refused = 0;
        // The halves that are still to be tried, the first on top.
        let mut parts = vec![changes];
        while let Some(mut part) = parts.pop() {
            let Some(first) = part.first() else { continue };
            // What was not made on the newest state has others behind it that were not.
            again = again && self.reenact(first)?;
            if again {
                parts.push(part.split_off(1));
                received.add(part);
                continue;
            }
            let tried = if self.is_cheaper_together(part.len()) {
                self.receive_together(&part)
            } else if let [change] = &*part {
                self.receive_one(change, LENIENT).map(|()| true)
            } else {
                Ok(false)
            };
            match tried {
                Ok(true) => received.add(part),
                Err(error) if error.poisons() => return Err(error),
                // An ancestor was refused before it; to find that out costs nothing.
                Err(error @ DocumentError::UnknownHeads) if part.len() == 1 => {
                    received.refused.get_or_insert(error);
                }
                Err(error) if part.len() == 1 => {
                    received.refused.get_or_insert(error);
                    refused += 1;
                    if refused == limits::CHANGES_REFUSED_MAX && !parts.is_empty() {
                        received.gave_up = true;
                        break;
                    }
                }
                Ok(false) | Err(_) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
            }
        }
        Ok(received)
    }

    /// About what it costs to receive a change, however many more come with it: measured with
    /// Automerge 0.12.0, as are the others here, in nanoseconds.
    fn received_ns(&self) -> u64 {
        self.doc.stats().num_changes.saturating_mul(50).saturating_add(25_000)
    }

    /// About what it costs to receive any number of changes at once, and to read the JSON anew.
    fn together_ns(&self) -> u64 {
        let bytes = count(self.root.encoded_len()).max(limits::READ_ANEW_BYTES_MIN);
        bytes.saturating_mul(10).saturating_add(self.received_ns())
    }

    /// Whether so many changes cost less together than one by one.
    fn is_cheaper_together(&self, changes: usize) -> bool {
        self.received_ns().saturating_mul(count(changes)) > self.together_ns()
    }

    /// Whether to make these changes again costs less than to receive them together.
    fn is_cheaper_again(&self, changes: &[Change]) -> bool {
        let ops = changes.iter().map(|change| count(change.len())).sum();
        let again_ns = limits::REENACTED_OP_NS.saturating_mul(ops);
        changes.len() == 1 || again_ns <= self.together_ns()
    }

    /// Receives a change and follows what it does, so that the JSON costs what the change costs.
    ///
    /// Only one: when several of a batch touch the same list element, Automerge can report a wrong
    /// index for what comes after it (see the tests).
    pub(super) fn receive_one(
        &mut self,
        change: &Change,
        judge: Judge<'_>,
    ) -> Result<(), DocumentError> {
        if !self.knows(change.deps()) {
            return Err(DocumentError::UnknownHeads);
        }
        let applied = change.clone();
        self.try_out(|doc, root, limits| {
            let mut log = PatchLog::active();
            let before = doc.get_heads();
            doc.apply_changes_log_patches([applied], &mut log)?;
            let deltas = doc.make_patches(&mut log);
            let after = followed(doc, root, &deltas, limits)?;
            guard::read_back(doc, &before)?;
            judge(&projection::strip_reserved(root), &projection::strip_reserved(&after))?;
            Ok(Some(after))
        })?;
        self.note_change(Some(change));
        Ok(())
    }

    /// Makes a change again if it was made on the newest state; returns whether that was done. It
    /// needs no reading back: a change with this name is what the document itself has written.
    fn reenact(&mut self, change: &Change) -> Result<bool, DocumentError> {
        if !is_next(&self.doc, change) {
            return Ok(false);
        }
        if self.pause > 0 {
            self.pause = self.pause.saturating_sub(1);
            return Ok(false);
        }
        let mut otherwise = false;
        let tried = self.try_out(|doc, root, limits| match reenact(doc, change) {
            Reenacted::Done(deltas) => followed(doc, root, &deltas, limits).map(Some),
            Reenacted::Left => Ok(None),
            Reenacted::Otherwise => {
                otherwise = true;
                Err(DocumentError::UnknownHeads)
            }
        });
        if otherwise {
            self.pause = limits::REENACTMENT_PAUSE_CHANGES;
        }
        match tried {
            Ok(true) => {
                self.note_change(Some(change));
                Ok(true)
            }
            Err(error) if error.poisons() => Err(error),
            // Whether it is refused is found out by receiving it.
            Ok(false) | Err(_) => Ok(false),
        }
    }

    /// Receives changes at once and reads the JSON anew; returns whether all of them were taken.
    fn receive_together(&mut self, changes: &[Change]) -> Result<bool, DocumentError> {
        let applied = changes.to_vec();
        self.try_out(|doc, root, limits| {
            let before = doc.get_heads();
            doc.apply_changes(applied)?;
            guard::read_back(doc, &before)?;
            let all = changes.iter().all(|change| knows(doc, &[change.hash()]));
            let after = projection::read(doc)?;
            check_anew(root, &after, limits)?;
            // Some wait for an ancestor that was refused.
            if all { Ok(Some(sharing(root, after))) } else { Err(DocumentError::UnknownHeads) }
        })?;
        self.shield = None;
        if let Some(saved) = &mut self.saved {
            saved.later = saved.later.saturating_add(changes.len());
        }
        Ok(true)
    }

    /// Lets changes into the document; where that goes wrong it is put back as it was. Returns
    /// whether there was something to let in: a step that returns nothing has done nothing.
    pub(super) fn try_out(
        &mut self,
        step: impl FnOnce(&mut Automerge, &Json, &JsonLimits) -> Checked<Option<Json>>,
    ) -> Checked<bool> {
        if self.shield.is_none() {
            self.shield = Some(Shield::new(&self.doc));
        }
        let Self { doc, root, limits, full, .. } = self;
        let full = *full;
        let heads_before = doc.get_heads().len();
        let tried = guard::contained(|| {
            let Some(next) = step(doc, root, limits)? else { return Ok(None) };
            let grows = next.encoded_len() > root.encoded_len();
            if grows && next.encoded_len() > limits.document_bytes_max {
                return Err(DocumentError::TooLarge);
            }
            if full && next.encoded_len() >= root.encoded_len() {
                return Err(DocumentError::Full);
            }
            let heads = doc.get_heads().len();
            if heads > limits::DOCUMENT_HEADS_MAX && heads > heads_before {
                return Err(DocumentError::TooMany("heads"));
            }
            Ok(Some(next))
        });
        match tried {
            Ok(None) => Ok(false),
            Ok(Some(next)) => {
                self.root = next;
                Ok(true)
            }
            Err(error) => self.put_back().and(Err(error)),
        }
    }

    fn put_back(&mut self) -> Result<(), DocumentError> {
        let shield = self.shield.as_ref().ok_or(DocumentError::Diverged)?;
        self.doc = shield.document()?;
        // The next that goes wrong does not do all of that again.
        self.shield = Some(Shield::new(&self.doc));
        Ok(())
    }

    /// Notes a change that the document has taken.
    pub(super) fn note_change(&mut self, change: Option<&Change>) {
        let Some(change) = change else { return };
        self.shield = self.shield.take().and_then(|shield| shield.with(change));
        if let Some(saved) = &mut self.saved {
            saved.later = saved.later.saturating_add(1);
        }
    }
}

/// The JSON of a document after a change that did this to it.
fn followed(
    doc: &Automerge,
    before: &Json,
    deltas: &[Delta],
    limits: &JsonLimits,
) -> Result<Json, DocumentError> {
    if let Some(after) = projection::apply(doc, before, deltas, limits)? {
        return Ok(after);
    }
    let after = projection::read(doc)?;
    check_anew(before, &after, limits)?;
    Ok(sharing(before, after))
}

/// Holds a document that was read anew against the limits; its size is the caller's business. One
/// that came to be under larger limits is held against the ceilings.
fn check_anew(before: &Json, after: &Json, limits: &JsonLimits) -> Result<(), JsonError> {
    // One more for the map around a root that is no object.
    let limits = JsonLimits {
        depth_max: limits.depth_max.saturating_add(1),
        document_bytes_max: usize::MAX,
        ..limits.clone()
    };
    let ceilings = || JsonLimits {
        depth_max: limits::JSON_DEPTH_MAX.saturating_add(1),
        key_bytes_max: limits::KEY_BYTES_CEILING,
        ..limits.clone()
    };
    after.check(&limits).or_else(|error| {
        if before.check(&limits).is_ok() { Err(error) } else { after.check(&ceilings()) }
    })
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
