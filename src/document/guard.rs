//! What foreign Automerge bytes must pass before they touch a document.
//!
//! Automerge trusts its peers: a sync message of 15 bytes whose Bloom filter asks for 4 billion
//! probes ends the process, and damaged changes can panic. So the framing is read here first, and
//! what Automerge does with it runs where a panic is contained.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::sync::Message;
use automerge::{Automerge, Change, ChangeHash};

use super::DocumentError;

/// Bits per entry and probes that a Bloom filter may ask for; Automerge itself writes 10 and 7.
const BLOOM_PARAMETER_MAX: u64 = 64;
/// Bytes of a change hash.
const HASH_BYTES: usize = 32;
/// The first four bytes of every Automerge chunk.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Bytes of a chunk before its length: magic, checksum and type.
const CHUNK_TYPE_AT: usize = 8;
/// Chunk types. Bundles (3) are not for strangers: 760 bytes of one can ask for 2 GiB.
const CHUNK_DOCUMENT: u8 = 0;
const CHUNK_CHANGE: u8 = 1;
const CHUNK_DEFLATED: u8 = 2;

/// Runs `step` so that a panic in it is an error of this document and nothing else.
pub(super) fn contained<T>(
    step: impl FnOnce() -> Result<T, DocumentError>,
) -> Result<T, DocumentError> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|_| Err(DocumentError::Refused("it panicked".to_owned())))
}

/// A sync message whose bytes are sound.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) heads: Vec<ChangeHash>,
    pub(super) need: Vec<ChangeHash>,
    /// What the sender says both sides had when they last spoke; of its first filter.
    pub(super) last_sync: Option<Vec<ChangeHash>>,
    pub(super) bloom_is_empty: bool,
    /// `None`: a sender that reads changes only.
    pub(super) flags: Option<Flags>,
    pub(super) changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) sync_reset: bool,
}

/// Decodes a sync message whose framing, Bloom filters and chunks are sound, and the changes in it.
pub(super) fn open_message(bytes: &[u8]) -> Result<Opened, DocumentError> {
    check_framing(bytes).ok_or_else(|| DocumentError::Malformed("its framing".to_owned()))?;
    contained(|| {
        let message = Message::decode(bytes).map_err(|error| malformed(&error))?;
        let mut changes = Vec::new();
        for chunks in message.changes.iter() {
            open_chunks(chunks, &mut changes)?;
        }
        let first = message.have.first();
        Ok(Opened {
            heads: message.heads,
            need: message.need,
            last_sync: first.map(|have| have.last_sync.clone()),
            bloom_is_empty: first.is_none_or(|have| have.bloom.to_bytes().is_empty()),
            flags: message.flags.map(|flags| Flags { sync_reset: flags.contains(1) }),
            changes,
        })
    })
}

/// Automerge passes over chunks that it cannot read; a client should know that its edit is lost.
fn open_chunks(bytes: &[u8], changes: &mut Vec<Change>) -> Result<(), DocumentError> {
    let mut input = Input(bytes);
    while !input.0.is_empty() {
        let (kind, chunk) = input.chunk().ok_or_else(|| malformed("a cut chunk"))?;
        match kind {
            CHUNK_DOCUMENT => {
                changes.extend(
                    Automerge::load(chunk).map_err(|error| malformed(&error))?.get_changes(&[]),
                );
            }
            CHUNK_CHANGE | CHUNK_DEFLATED => {
                changes
                    .push(Change::from_bytes(chunk.to_vec()).map_err(|error| malformed(&error))?);
            }
            _ => return Err(malformed("an unknown kind of chunk")),
        }
    }
    Ok(())
}

fn malformed<E: ToString + ?Sized>(error: &E) -> DocumentError {
    DocumentError::Malformed(error.to_string())
}

/// Reads a message as far as its Bloom filters go.
fn check_framing(bytes: &[u8]) -> Option<()> {
    let mut input = Input(bytes);
    input.take(1)?;
    input.hashes()?;
    input.hashes()?;
    for _ in 0..input.number()? {
        input.hashes()?;
        let length = input.length()?;
        check_bloom(input.take(length)?)?;
    }
    Some(())
}

fn check_bloom(bytes: &[u8]) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    let mut input = Input(bytes);
    let (entries, bits, probes) = (input.number()?, input.number()?, input.number()?);
    let sane = (1..=BLOOM_PARAMETER_MAX).contains(&bits)
        && (1..=BLOOM_PARAMETER_MAX).contains(&probes)
        && entries > 0;
    let wanted = entries.checked_mul(bits)?.div_ceil(8);
    (sane && usize::try_from(wanted).ok()? <= input.0.len()).then_some(())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// An unsigned LEB128 number.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// The next chunk, whole, and its type.
    fn chunk(&mut self) -> Option<(u8, &'a [u8])> {
        let start = self.0;
        self.take(CHUNK_TYPE_AT).filter(|header| header.starts_with(&MAGIC))?;
        let kind = *self.take(1)?.first()?;
        let length = self.length()?;
        self.take(length)?;
        let size = start.len().checked_sub(self.0.len())?;
        Some((kind, start.get(..size)?))
    }

    fn hashes(&mut self) -> Option<()> {
        let bytes = self.length()?.checked_mul(HASH_BYTES)?;
        self.take(bytes).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use automerge::sync::{State, SyncDoc as _};

    use super::*;

    #[test]
    fn what_automerge_writes_passes() {
        use automerge::transaction::Transactable as _;
        let mut doc = automerge::AutoCommit::new();
        for n in 0..100 {
            doc.put(automerge::ROOT, "n", n).unwrap();
            doc.commit();
        }
        let message = doc.sync().generate_sync_message(&mut State::new()).unwrap().encode();
        open_message(&message).unwrap();
    }

    #[test]
    fn a_bloom_filter_that_would_end_the_process_is_refused() {
        let hostile = |entries: &[u8], bits: u8, probes: &[u8]| {
            let bloom = [entries, &[bits], probes].concat();
            let length = u8::try_from(bloom.len()).unwrap();
            [&[0x42, 0, 0, 1, 0, length][..], &bloom, &[0]].concat()
        };
        let four_billion = [0xff, 0xff, 0xff, 0xff, 0x0f];
        for message in [
            hostile(&[1], 8, &four_billion),
            hostile(&[1], 0, &[7]),
            hostile(&four_billion, 10, &[7]),
            vec![],
            vec![0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(matches!(open_message(&message), Err(DocumentError::Malformed(_))));
        }
    }
}
