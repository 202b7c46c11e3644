//! Honest bytes, and how they are damaged.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a check that fails panics, as tests do"
)]

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, Transactable as _};
use automerge::{ActorId, AutoCommit, ObjType, ROOT, ReadDoc as _, ScalarValue};

pub(crate) use super::chunk::seal;
use super::input::{Input, leb};

/// A sync message of version 1 with these chunks and nothing else.
pub(crate) fn message(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![0x42, 0, 0, 0];
    message.extend(leb(chunks.len()));
    for chunk in chunks {
        message.extend(leb(chunk.len()));
        message.extend(chunk);
    }
    message
}

fn actor(byte: u8) -> ActorId {
    ActorId::from(vec![byte; 16])
}

/// A document in which everything occurs that Automerge has: by three actors, some of whose changes
/// are concurrent.
pub(crate) fn everything() -> AutoCommit {
    let mut doc = AutoCommit::new().with_actor(actor(2));
    let text = doc.put_object(ROOT, "text", ObjType::Text).unwrap();
    doc.splice_text(&text, 0, 0, "hello, world: \u{e9}\u{1f30d} and more of it").unwrap();
    let list = doc.put_object(ROOT, "list", ObjType::List).unwrap();
    for n in 0..20 {
        doc.insert(&list, n, i64::try_from(n).unwrap()).unwrap();
    }
    doc.put(ROOT, "count", ScalarValue::counter(5)).unwrap();
    doc.put(ROOT, "time", ScalarValue::Timestamp(1_700_000_000_000)).unwrap();
    doc.put(ROOT, "bytes", vec![1_u8, 2, 3]).unwrap();
    doc.put(ROOT, "float", 1.5).unwrap();
    doc.put(ROOT, "large", u64::MAX).unwrap();
    doc.put(ROOT, "none", ()).unwrap();
    doc.commit_with(CommitOptions::default().with_message("first"));
    let mut one = doc.fork().with_actor(actor(1));
    let mut three = doc.fork().with_actor(actor(3));
    let mark = Mark::new("bold".into(), true, 2, 9);
    one.mark(&text, mark, ExpandMark::Both).unwrap();
    one.increment(ROOT, "count", 3).unwrap();
    one.delete(&list, 3).unwrap();
    one.put(ROOT, "both", 1).unwrap();
    one.commit();
    let map = one.put_object(&list, 2, ObjType::Map).unwrap();
    one.put(&map, "key", "value").unwrap();
    one.commit();
    three.splice_text(&text, 5, 3, "in between").unwrap();
    three.put(ROOT, "count", "no counter").unwrap();
    three.insert(&list, 3, "new").unwrap();
    three.delete(ROOT, "float").unwrap();
    three.put(ROOT, "both", 3).unwrap();
    three.commit();
    three.increment(&list, 0, 1).unwrap_err();
    doc.merge(&mut one).unwrap();
    doc.merge(&mut three).unwrap();
    assert_eq!(doc.get_all(ROOT, "both").unwrap().len(), 2);
    doc.put(ROOT, "count", ScalarValue::counter(1)).unwrap();
    doc.unmark(&text, "bold", 4, 6, ExpandMark::None).unwrap();
    doc.put(ROOT, "long", "much text that is so long that it is deflated. ".repeat(12)).unwrap();
    doc.commit();
    doc
}

/// The contents of a chunk that Automerge wrote.
pub(crate) fn chunk_contents(chunk: &[u8]) -> &[u8] {
    Input::new(&chunk[9..]).prefixed().unwrap()
}

/// Flips bits, cuts, doubles, overwrites and inserts; `below` chooses one of so many.
pub(crate) fn damage(bytes: &mut Vec<u8>, other: &[u8], below: &mut dyn FnMut(usize) -> usize) {
    let byte = |chosen: usize| u8::try_from(chosen).unwrap();
    for _ in 0..=below(3) {
        let at = below(bytes.len());
        match below(8) {
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = byte(below(256)),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            4 => bytes.truncate(at + 1),
            5 => drop(bytes.remove(at)),
            6 => bytes.insert(at, byte(below(256))),
            _ => {
                let (from, count) = (below(other.len()), below(16));
                let piece: Vec<u8> = other.iter().skip(from).take(count).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}
