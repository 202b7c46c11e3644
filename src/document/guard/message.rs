//! The framing of a sync message.
//!
//! Automerge has two versions of it. The first byte tells them apart, and what follows is the same:
//! heads, hashes asked for, what the sender has, blobs of chunks, and in newer peers flags. The
//! sender describes what it has by a Bloom filter, which may ask for billions of probes or divide
//! by zero when it is evaluated: here it is passed over.

use super::input::Input;
use super::{Budget, Checked, Flags, Opened, chunk, malformed, too_many};

const VERSION_1: u8 = 0x42;
const VERSION_2: u8 = 0x43;
/// A byte of flags; without this bit it is a single flag of an older peer, and says no more than
/// that there are flags at all.
const FLAGS: u8 = 0x80;
const SYNC_RESET: u8 = 1;
const READ_ONLY: u8 = 1 << 1;

pub(super) fn open(bytes: &[u8], budget: &mut Budget<'_>) -> Checked<Opened> {
    let mut input = Input::new(bytes);
    if !matches!(input.byte()?, VERSION_1 | VERSION_2) {
        return Err(malformed("its first byte"));
    }
    let mut opened = Opened {
        heads: budget.hashes(&mut input)?,
        need: budget.hashes(&mut input)?,
        last_sync: None,
        bloom_is_empty: true,
        flags: None,
        changes: Ok(Vec::new()),
    };
    let haves = input.length()?;
    if haves > budget.limits.haves {
        return Err(too_many("descriptions of what the sender has"));
    }
    for _ in 0..haves {
        let last_sync = budget.hashes(&mut input)?;
        let bloom = input.prefixed()?;
        if opened.last_sync.is_none() {
            opened.last_sync = Some(last_sync);
            opened.bloom_is_empty = bloom.is_empty();
        }
    }
    let blobs = input.length()?;
    let mut changes = Vec::new();
    let mut sound = Ok(());
    for _ in 0..blobs {
        let blob = input.prefixed()?;
        // One blob that is not sound is enough; the rest is only stepped over.
        sound = sound.and_then(|()| chunk::open_all(blob, budget, &mut changes));
    }
    opened.changes = sound.map(|()| changes);
    if !input.is_empty() {
        opened.flags = Some(flags(input.prefixed()?));
    }
    Ok(opened)
}

fn flags(bytes: &[u8]) -> Flags {
    let set = bytes.iter().filter(|byte| **byte & FLAGS != 0).fold(0, |set, byte| set | byte);
    Flags { sync_reset: set & SYNC_RESET != 0, read_only: set & READ_ONLY != 0 }
}
