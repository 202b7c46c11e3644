//! Whose change this is, read from its first bytes.
//!
//! A change begins with what it depends on and the actor that made it. Decoding it whole would
//! cost as much again as loading it. The format is that of
//! <https://automerge.org/automerge-binary-format-spec/>.

use std::io::{self, Read};

use automerge::ActorId;
use flate2::read::DeflateDecoder;

/// Bytes before the type of a chunk: the magic number and a checksum.
const PREFIX_BYTES: usize = 8;
/// The types of chunk that are one change, as it is and deflated.
const CHANGE: u8 = 1;
const DEFLATED: u8 = 2;
/// Bytes of a change hash.
const HASH_BYTES: u64 = 32;

/// The actor that made an encoded change; `None` if the bytes are not a change.
///
/// Only as much is read, and inflated, as comes before the end of the actor.
pub fn author(change: &[u8]) -> Option<ActorId> {
    let (_, mut rest) = change.split_at_checked(PREFIX_BYTES)?;
    let [kind] = bytes(&mut rest)?;
    number(&mut rest)?;
    match kind {
        CHANGE => read(&mut rest),
        DEFLATED => read(&mut DeflateDecoder::new(rest)),
        _ => None,
    }
}

fn read(change: &mut impl Read) -> Option<ActorId> {
    let deps = number(change)?.checked_mul(HASH_BYTES)?;
    let skipped = io::copy(&mut change.take(deps), &mut io::sink()).ok()?;
    let length = number(change)?;
    let mut actor = Vec::new();
    let read = change.take(length).read_to_end(&mut actor).ok()?;
    let whole = skipped == deps && u64::try_from(read).ok()? == length;
    whole.then(|| ActorId::from(actor))
}

/// An unsigned LEB128 number.
fn number(input: &mut impl Read) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let [byte] = bytes(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn bytes<const N: usize>(input: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use automerge::transaction::{CommitOptions, Transactable as _};
    use automerge::{Automerge, ROOT};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the actor, the number of dependencies and the size of the change.
        #[test]
        fn it_is_the_actor_of_the_change(
            actors in vec(vec(any::<u8>(), 1..40), 1..5),
            text in prop_oneof![Just(String::new()), "[a-z]{400,600}"],
        ) {
            let mut doc = Automerge::new();
            for (n, actor) in actors.iter().enumerate() {
                // Each on its own beginning, so that the last depends on all.
                let mut other = Automerge::new();
                other.set_actor(ActorId::from([&[u8::try_from(n).unwrap()], &**actor].concat()));
                let mut tx = other.transaction();
                tx.put(ROOT, "key", &*text).unwrap();
                tx.commit_with(CommitOptions::default());
                doc.merge(&mut other).unwrap();
            }
            let mut tx = doc.transaction();
            tx.put(ROOT, "key", text).unwrap();
            tx.commit();
            for mut change in doc.get_changes(&[]) {
                prop_assert_eq!(&author(change.raw_bytes()).unwrap(), change.actor_id());
                prop_assert_eq!(&author(&change.bytes()).unwrap(), change.actor_id());
            }
        }

        #[test]
        fn other_bytes_have_none_and_do_no_harm(
            bytes in vec(any::<u8>(), 0..200),
            cut in 0..60_usize,
        ) {
            let mut doc = Automerge::new();
            let mut tx = doc.transaction();
            tx.put(ROOT, "key", 1).unwrap();
            tx.commit();
            let change = doc.get_changes(&[]).remove(0);
            let actor_ends = 8 + 1 + 1 + 1 + 1 + 16;
            let cut = change.raw_bytes().get(..cut.min(actor_ends - 1)).unwrap();
            prop_assert_eq!(author(cut), None);
            drop(author(&bytes));
            let (head, _) = change.raw_bytes().split_at(9);
            for kind in [CHANGE, DEFLATED] {
                let mut changed = [head, &bytes].concat();
                changed[PREFIX_BYTES] = kind;
                drop(author(&changed));
            }
        }
    }
}
