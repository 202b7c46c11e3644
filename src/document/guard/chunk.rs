//! Chunks: changes and whole documents, as Automerge stores and sends them.
//!
//! The layout is that of the Automerge binary format: magic bytes, the first four bytes of a
//! SHA-256, a type, a length, and the contents.

use automerge::legacy::ObjectId;
use automerge::{Automerge, Change, ExpandedChange};
use sha2::{Digest as _, Sha256};

use super::columns::{self, Counts};
use super::inflate::Inflater;
use super::input::{Input, leb};
use super::{
    Budget, Checked, DocumentError, GuardLimits, SAVED_OTHERWISE, contained, malformed, too_many,
};
use crate::limits;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHECKSUM_BYTES: usize = 4;
const DOCUMENT: u8 = 0;
const CHANGE: u8 = 1;
const DEFLATED_CHANGE: u8 = 2;

/// Opens the chunks that a blob consists of, and adds the changes in them.
pub(super) fn open_all(bytes: &[u8], budget: &mut Budget<'_>, to: &mut Vec<Change>) -> Checked<()> {
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        let whole = input.rest();
        if input.take(MAGIC.len())? != MAGIC {
            return Err(malformed("a chunk's first bytes"));
        }
        let checksum = input.take(CHECKSUM_BYTES)?;
        let kind = input.byte()?;
        let contents = input.prefixed()?;
        let size = whole.len().saturating_sub(input.rest().len());
        let chunk = whole.get(..size).unwrap_or_default();
        match kind {
            DOCUMENT => {
                verify(DOCUMENT, contents, checksum)?;
                check_document(contents, budget)?;
                open_document(chunk, to)?;
            }
            CHANGE => {
                verify(CHANGE, contents, checksum)?;
                budget.inflater.hold(contents.len())?;
                check_change(contents, budget)?;
                to.push(open_change(chunk)?);
            }
            DEFLATED_CHANGE => {
                let contents = budget.inflater.inflate(contents, budget.limits.change_bytes)?;
                verify(CHANGE, &contents, checksum)?;
                check_change(&contents, budget)?;
                // Inflated already, and nothing beside the change can hide in it any more.
                to.push(open_change(&frame(CHANGE, checksum, &contents))?);
            }
            _ => return Err(malformed("a kind of chunk that is not taken")),
        }
    }
    Ok(())
}

/// The checksum is over type, length and contents, of what is deflated as if it were not.
fn verify(kind: u8, contents: &[u8], checksum: &[u8]) -> Checked<()> {
    if digest(kind, contents).starts_with(checksum) { Ok(()) } else { Err(malformed("a checksum")) }
}

fn digest(kind: u8, contents: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update([kind]);
    hasher.update(leb(contents.len()));
    hasher.update(contents);
    hasher.finalize().into()
}

fn frame(kind: u8, checksum: &[u8], contents: &[u8]) -> Vec<u8> {
    [&MAGIC, checksum, &[kind], &leb(contents.len()), contents].concat()
}

/// A chunk with these contents and the checksum they need.
#[cfg(any(test, fuzzing))]
pub(crate) fn seal(kind: u8, contents: &[u8]) -> Vec<u8> {
    frame(kind, &digest(kind, contents)[..CHECKSUM_BYTES], contents)
}

/// Automerge keeps operations, not the bytes they came in. Bytes that it would write otherwise get
/// another hash when it does, and the document would not load again: so they are written anew here,
/// where a change that waits for others is looked at too.
fn open_change(chunk: &[u8]) -> Checked<Change> {
    contained(|| {
        let change = Change::try_from(chunk).map_err(|error| malformed(&error.to_string()))?;
        let expanded = change.decode();
        check_depth(&expanded)?;
        let again = Change::from(expanded);
        if again.hash() == change.hash() { Ok(change) } else { Err(malformed(SAVED_OTHERWISE)) }
    })
}

/// Holds against the limit how deep a change nests what it makes itself. Automerge tells the whole
/// path of everything that a change did: 20,000 maps, each in the one before, would take gigabytes.
fn check_depth(change: &ExpandedChange) -> Checked<()> {
    let start = change.start_op.get();
    let mut depths: Vec<usize> = Vec::new();
    for op in &change.operations {
        // A change names what it made itself by its own actor and a number from `start` on.
        let parent = match &op.obj {
            ObjectId::Id(id) if *id.actor() == change.actor_id => id.counter().checked_sub(start),
            _ => None,
        };
        let parent = parent.and_then(|index| usize::try_from(index).ok());
        let outer = parent.and_then(|index| depths.get(index)).copied().unwrap_or_default();
        if outer > limits::JSON_DEPTH_MAX {
            return Err(DocumentError::TooDeep);
        }
        depths.push(outer.saturating_add(1));
    }
    Ok(())
}

fn open_document(chunk: &[u8], to: &mut Vec<Change>) -> Checked<()> {
    contained(|| {
        let document = Automerge::load(chunk).map_err(|error| malformed(&error.to_string()))?;
        let changes = document.get_changes(&[]);
        drop(document);
        changes.iter().try_for_each(|change| check_depth(&change.decode()))?;
        to.extend(changes);
        Ok(())
    })
}

/// Holds the contents of a change against the limits.
fn check_change(contents: &[u8], budget: &mut Budget<'_>) -> Checked<()> {
    let limits = budget.limits;
    if contents.len() > limits.change_bytes {
        return Err(too_many("bytes in a change"));
    }
    let mut input = Input::new(contents);
    if input.hashes()?.len() > limits.hashes {
        return Err(too_many("dependencies of a change"));
    }
    actor(&mut input, limits)?;
    let (seq, start) = (input.number()?, input.number()?);
    input.signed()?;
    let message = input.prefixed()?;
    if message.len() > limits.note_bytes {
        return Err(too_many("bytes in a change's message"));
    }
    let others = actors(&mut input, limits, false)?;
    let listed = columns::list(&mut input, columns::CHANGE_OPS, false)?;
    let actors = others.saturating_add(1);
    let counts = listed.count(&mut input, actors, limits, &mut Inflater::new(0))?;
    counts.agree(columns::ACTION)?;
    let ops = counts.rows(columns::ACTION);
    if counts.sum(columns::PREDECESSORS) > limits.ops_max {
        return Err(too_many("predecessors of operations"));
    }
    // Automerge counts in 32 bits.
    let counter_max = u64::from(u32::MAX);
    let last = start.checked_add(ops).filter(|last| *last <= counter_max);
    if seq == 0 || seq > counter_max || start == 0 || last.is_none() {
        return Err(malformed("the number of a change or of its operations"));
    }
    if input.rest().len() > limits.note_bytes {
        return Err(too_many("bytes beside a change's operations"));
    }
    budget.spend_ops(ops, contents.len(), limits.ops_per_byte)
}

/// Holds the contents of a document against the limits.
fn check_document(contents: &[u8], budget: &mut Budget<'_>) -> Checked<()> {
    let limits = budget.limits;
    let mut input = Input::new(contents);
    let actors = actors(&mut input, limits, true)?;
    let heads = input.hashes()?.len();
    let changes = columns::list(&mut input, columns::DOCUMENT_CHANGES, true)?;
    let ops = columns::list(&mut input, columns::DOCUMENT_OPS, true)?;
    let before = budget.inflater.left();
    let changes = changes.count(&mut input, actors, limits, &mut budget.inflater)?;
    let ops = ops.count(&mut input, actors, limits, &mut budget.inflater)?;
    let inflated = before.saturating_sub(budget.inflater.left()).saturating_add(contents.len());
    changes.agree(columns::CHANGE_ACTOR)?;
    ops.agree(columns::ACTION)?;
    check_heads(&mut input, heads, &changes)?;
    if changes.sum(columns::DEPENDENCIES) > limits.ops_max {
        return Err(too_many("dependencies of changes"));
    }
    // Deletions are rows in a change, but in a document only successors of what they delete.
    let rows = ops.rows(columns::ACTION).saturating_add(ops.sum(columns::SUCCESSORS));
    budget.spend_changes(changes.rows(columns::CHANGE_ACTOR))?;
    budget.spend_ops(rows, inflated, limits.document_ops_per_byte)
}

/// The heads stand in a document by hash and again by place; old ones leave the places out.
fn check_heads(input: &mut Input<'_>, heads: usize, changes: &Counts) -> Checked<()> {
    if input.is_empty() {
        return Ok(());
    }
    for _ in 0..heads {
        if input.number()? >= changes.rows(columns::CHANGE_ACTOR) {
            return Err(malformed("a head that is no change"));
        }
    }
    if input.is_empty() { Ok(()) } else { Err(malformed("bytes after a document")) }
}

fn actor<'a>(input: &mut Input<'a>, limits: &GuardLimits) -> Checked<&'a [u8]> {
    let actor = input.prefixed()?;
    if actor.len() > limits.actor_bytes {
        return Err(too_many("bytes in an actor's name"));
    }
    Ok(actor)
}

/// How many actors there are. In a document they stand in order.
fn actors(input: &mut Input<'_>, limits: &GuardLimits, ordered: bool) -> Checked<u64> {
    let count = input.length()?;
    if count > limits.actors {
        return Err(too_many("actors"));
    }
    let mut last: Option<&[u8]> = None;
    for _ in 0..count {
        let next = actor(input, limits)?;
        if ordered && last.is_some_and(|last| last >= next) {
            return Err(malformed("the order of actors"));
        }
        last = Some(next);
    }
    u64::try_from(count).map_err(|_wide| malformed("a length"))
}
