//! What foreign Automerge bytes must pass before they touch a document.
//!
//! Automerge trusts its peers: a sync message of 15 bytes can end the process, one of 104 bytes can
//! hold a million operations, one of half a megabyte inflates to half a gigabyte, and damaged
//! changes can panic, or be taken in and never load again. So a message is read here first, all of
//! it, with reading and counting that ask for no more memory than there are bytes; Automerge is
//! handed what is left, where a panic is contained; and what it made of it is [read
//! back](read_back).
//!
//! # How many operations a message may hold
//!
//! Measured with Automerge 0.12.0, in bytes of memory an operation:
//!
//! | | peak | stays |
//! |---|---|---|
//! | a change of text or list items is received | 505 to 589 | 157 to 244 |
//! | a change of map keys is received, with patches | 512 to 738 | 165 to 364 |
//! | a document is loaded and its changes are asked for | 105 (text) to 403 (maps) | |
//!
//! The count is in no proportion to the bytes: a run of equal rows is two numbers. So there is a
//! base that costs some 64 MiB, [`limits::MESSAGE_OPS_BASE`], and beyond it operations must be paid
//! for with bytes really sent. Text deflates to a third or a half, so 4 operations for a byte let
//! honest text through, and 16 in a document, where every operation costs less. One thing that is
//! honest fits neither: much text pasted at once that repeats itself, and is nothing on the wire.
//! For it [`limits::TEXT_OPS_MAX`] holds, if each operation has a byte of its own once inflated;
//! it costs up to 120 MiB, for as long as the change is being applied.

mod chunk;
mod columns;
mod inflate;
mod input;
mod message;
#[cfg(any(test, fuzzing))]
pub(super) mod probe;

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::OpType;
use automerge::{Automerge, Change, ChangeHash};

use self::inflate::Inflater;
use self::input::Input;
pub(super) use self::input::leb;
use super::DocumentError;
use crate::limits;

const SAVED_OTHERWISE: &str = "a change that would be saved otherwise";

type Checked<T> = Result<T, DocumentError>;

/// What one message may hold. The units are those of the constants in [`limits`] that fill it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuardLimits {
    /// Hashes in one list of a message, and dependencies of a change.
    pub hashes: usize,
    /// Descriptions of what the sender has.
    pub haves: usize,
    /// A key or a mark's name, in bytes.
    pub key_bytes: usize,
    /// A change's message, and what stands beside its operations, in bytes.
    pub note_bytes: usize,
    /// An actor's name, in bytes.
    pub actor_bytes: usize,
    /// Actors in one change or document.
    pub actors: usize,
    /// One change, inflated, in bytes.
    pub change_bytes: usize,
    /// All of one message, inflated, in bytes: however small it is.
    pub inflated_base: usize,
    /// The same, more for each of its bytes.
    pub inflated_per_byte: usize,
    /// The same, however large it is.
    pub inflated_max: usize,
    /// Operations in one message, however small it is.
    pub ops_base: u64,
    /// The same, more for each of its bytes, in changes.
    pub ops_per_byte: u64,
    /// The same, in documents.
    pub document_ops_per_byte: u64,
    /// Operations in one message, where each has a byte of its own once inflated.
    pub text_ops: u64,
    /// Operations in one message, however large it is; also rows of one column.
    pub ops_max: u64,
    /// Changes in documents, however small the message is.
    pub changes_base: u64,
    /// The same, more for each byte of the message.
    pub changes_per_byte: u64,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            hashes: limits::SYNC_HASHES_MAX,
            haves: limits::SYNC_HAVES_MAX,
            // What is configured is held against each change; a document may hold older ones.
            key_bytes: limits::KEY_BYTES_CEILING,
            note_bytes: limits::CHANGE_NOTE_BYTES_MAX,
            actor_bytes: limits::ACTOR_BYTES_MAX,
            actors: limits::MESSAGE_ACTORS_MAX,
            change_bytes: limits::CHANGE_INFLATED_BYTES_MAX,
            inflated_base: limits::MESSAGE_INFLATED_BYTES_BASE,
            inflated_per_byte: limits::MESSAGE_INFLATED_BYTES_PER_BYTE,
            inflated_max: limits::MESSAGE_INFLATED_BYTES_MAX,
            ops_base: limits::MESSAGE_OPS_BASE,
            ops_per_byte: limits::CHANGE_OPS_PER_BYTE,
            document_ops_per_byte: limits::DOCUMENT_OPS_PER_BYTE,
            text_ops: limits::TEXT_OPS_MAX,
            ops_max: limits::MESSAGE_OPS_MAX,
            changes_base: limits::MESSAGE_CHANGES_BASE,
            changes_per_byte: limits::MESSAGE_CHANGES_PER_BYTE,
        }
    }
}

/// A sync message, of which everything was looked at and found to be within the limits.
#[derive(Debug)]
pub(super) struct Opened {
    /// The heads of the sender.
    pub heads: Vec<ChangeHash>,
    /// Changes that the sender asks for.
    pub need: Vec<ChangeHash>,
    /// The heads that the sender says both sides had in common; none if it does not describe what
    /// it has. Only the first description counts: peers send one.
    pub last_sync: Option<Vec<ChangeHash>>,
    /// Whether it describes nothing beyond `last_sync`.
    pub bloom_is_empty: bool,
    /// None: an old peer, which understands messages of version 1 only.
    pub flags: Option<Flags>,
    /// The changes in it, in the order in which they came; or why none of them is let in. What the
    /// message asks for can be answered all the same.
    pub changes: Checked<Vec<Change>>,
}

/// What a newer peer says about itself. Flags that are not known are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    /// The sender wants to be sent everything anew.
    pub sync_reset: bool,
    /// The sender takes no changes.
    pub read_only: bool,
}

/// What is left of the limits while a message is read.
struct Budget<'a> {
    limits: &'a GuardLimits,
    /// Bytes of the message.
    wire: u64,
    inflater: Inflater,
    ops: u64,
    changes: u64,
    /// Bytes of the things that hold the operations, inflated.
    inflated: u64,
}

impl<'a> Budget<'a> {
    fn new(wire: usize, limits: &'a GuardLimits) -> Self {
        let inflated = wire.saturating_mul(limits.inflated_per_byte);
        let inflated = inflated.saturating_add(limits.inflated_base).min(limits.inflated_max);
        Self {
            limits,
            wire: wire as u64,
            inflater: Inflater::new(inflated),
            ops: 0,
            changes: 0,
            inflated: 0,
        }
    }

    fn hashes(&self, input: &mut Input<'_>) -> Checked<Vec<ChangeHash>> {
        let hashes = input.hashes()?;
        if hashes.len() > self.limits.hashes { Err(too_many("hashes")) } else { Ok(hashes) }
    }

    /// Counts operations that stand in so many inflated bytes, `per_byte` of them for each byte of
    /// the message.
    fn spend_ops(&mut self, ops: u64, inflated: usize, per_byte: u64) -> Checked<()> {
        self.ops = self.ops.saturating_add(ops);
        self.inflated = self.inflated.saturating_add(inflated as u64);
        let paid = self.wire.saturating_mul(per_byte).saturating_add(self.limits.ops_base);
        let allowed = paid.max(self.inflated.min(self.limits.text_ops)).min(self.limits.ops_max);
        if self.ops > allowed { Err(too_many("operations in a message")) } else { Ok(()) }
    }

    fn spend_changes(&mut self, changes: u64) -> Checked<()> {
        self.changes = self.changes.saturating_add(changes);
        let paid = self.wire.saturating_mul(self.limits.changes_per_byte);
        let allowed = paid.saturating_add(self.limits.changes_base);
        if self.changes > allowed { Err(too_many("changes in a message")) } else { Ok(()) }
    }
}

/// Runs `step` so that a panic in it is an error of this document and nothing else.
pub(super) fn contained<T>(step: impl FnOnce() -> Checked<T>) -> Checked<T> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|_| Err(DocumentError::Refused("it panicked".to_owned())))
}

/// Reads a sync message, all of it, and opens the changes in it.
///
/// Errors: [`DocumentError::Malformed`] if it is not what Automerge writes,
/// [`DocumentError::TooMany`] if it claims more than the limits allow.
pub(super) fn open_message(bytes: &[u8], limits: &GuardLimits) -> Checked<Opened> {
    message::open(bytes, &mut Budget::new(bytes.len(), limits))
}

/// Reads documents and changes that stand one after the other, all of them, and opens them. The
/// errors are those of [`open_message`].
pub(super) fn open_chunks(bytes: &[u8], limits: &GuardLimits) -> Checked<Vec<Change>> {
    let mut changes = Vec::new();
    chunk::open_all(bytes, &mut Budget::new(bytes.len(), limits), &mut changes)?;
    Ok(changes)
}

/// The changes that a document has beyond `before`, as it would save them; refused if they are not
/// what was received, because then the document would not load again.
///
/// Automerge keeps operations, not the bytes they came in, and writes changes anew from them. Bytes
/// that it understands but would write otherwise get another hash by that.
pub(super) fn read_back(doc: &Automerge, before: &[ChangeHash]) -> Checked<Vec<Change>> {
    let changes = doc.get_changes(before);
    for change in &changes {
        let known = doc.get_change_meta_by_hash(&change.hash());
        let known = known.ok_or_else(|| malformed(SAVED_OTHERWISE))?;
        // Automerge numbers operations on from what a change depends on.
        let mut last = 0;
        for dep in &known.deps {
            last = last.max(doc.get_change_meta_by_hash(dep).map_or(0, |dep| dep.max_op));
        }
        let gap = change.start_op().get().checked_sub(last);
        // Numbers that are left out before nothing are operations that it misses when it loads.
        let gap_max = if change.is_empty() { 1 } else { limits::OP_GAP_MAX };
        if gap.is_none_or(|gap| gap == 0 || gap > gap_max) {
            return Err(malformed("the number of an operation"));
        }
    }
    // Automerge loads no document in which a mark ends before it begins, but receives one. Where
    // its ends stand only the document knows, so for changes that mark it is loaded: 7 ms where it
    // has 1,000 changes, 40 ms at 10,000, 0.3 s at 100,000.
    if changes.iter().any(ends_mark) {
        Automerge::load(&doc.save())?;
    }
    Ok(changes)
}

fn ends_mark(change: &Change) -> bool {
    change.decode().operations.iter().any(|op| matches!(op.action, OpType::MarkEnd(_)))
}

fn malformed(what: &str) -> DocumentError {
    DocumentError::Malformed(what.to_owned())
}

fn too_many(what: &'static str) -> DocumentError {
    DocumentError::TooMany(what)
}

#[cfg(test)]
mod tests;
