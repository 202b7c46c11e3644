//! Honest messages pass, whatever is in them; what is cut or made up does not.

mod mutations;

use automerge::sync::{State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ObjType, ROOT};
use proptest::prelude::*;

use super::probe::{chunk_contents, everything, message, seal};
use super::*;

fn open(bytes: &[u8]) -> Checked<Opened> {
    let opened = open_message(bytes, &GuardLimits::default())?;
    match &opened.changes {
        Ok(_) => Ok(opened),
        Err(error) => Err(error.clone()),
    }
}

#[test]
fn what_automerge_writes_passes() {
    let mut doc = everything();
    let expected: Vec<ChangeHash> = doc.get_changes(&[]).iter().map(Change::hash).collect();
    // As a peer that says nothing of itself, and as one that knows version 2.
    let (mut theirs, mut ours) = (State::new(), State::new());
    let mut other = AutoCommit::new();
    for round in 0..10 {
        let Some(said) = doc.sync().generate_sync_message(&mut theirs) else { break };
        let bytes = said.clone().encode();
        let opened = open(&bytes).unwrap();
        assert_eq!(opened.heads, said.heads, "round {round}");
        assert_eq!(opened.need, said.need);
        assert_eq!(opened.last_sync, said.have.first().map(|have| have.last_sync.clone()));
        assert!(opened.flags.is_some());
        let hashes: Vec<ChangeHash> = opened.changes.iter().flatten().map(Change::hash).collect();
        assert!(hashes.is_empty() || hashes == expected);
        other.sync().receive_sync_message(&mut ours, said).unwrap();
        if let Some(answer) = other.sync().generate_sync_message(&mut ours) {
            open(&answer.clone().encode()).unwrap();
            doc.sync().receive_sync_message(&mut theirs, answer).unwrap();
        }
    }
    assert_eq!(doc.get_heads(), other.get_heads());
}

#[test]
fn every_kind_of_chunk_is_opened_and_read_back() {
    let mut doc = everything();
    let changes = doc.get_changes(&[]);
    let hashes: Vec<ChangeHash> = changes.iter().map(Change::hash).collect();
    let raw: Vec<Vec<u8>> = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
    let short: Vec<Vec<u8>> =
        changes.iter().map(|change| change.clone().bytes().into_owned()).collect();
    assert!(short.iter().zip(&raw).any(|(short, raw)| short.len() < raw.len()));
    let plain = doc.document().save_nocompress();
    for chunks in [raw.clone(), short, vec![doc.save()], vec![plain], vec![raw.concat()]] {
        let opened = open(&message(&chunks)).unwrap();
        let found: Vec<ChangeHash> = opened.changes.iter().flatten().map(Change::hash).collect();
        assert_eq!(found, hashes);
        let mut copy = Automerge::new();
        copy.apply_changes(opened.changes.unwrap()).unwrap();
        let back: Vec<ChangeHash> =
            read_back(&copy, &[]).unwrap().iter().map(Change::hash).collect();
        assert_eq!(back.len(), hashes.len());
        assert!(back.iter().all(|hash| hashes.contains(hash)));
    }
}

#[test]
fn flags_are_those_of_automerge() {
    use automerge::sync::{Message, MessageFlags};
    let mut base = Message::decode(&[0x42, 0, 0, 0, 0]).unwrap();
    assert_eq!(open(&base.clone().encode()).unwrap().flags, None);
    for bits in 0..8 {
        let mut flags = MessageFlags::new();
        flags.set(bits);
        base.flags = Some(flags);
        let expected = Flags {
            sync_reset: flags.contains(MessageFlags::SYNC_RESET),
            read_only: flags.contains(MessageFlags::READ_ONLY),
        };
        assert_eq!(open(&base.clone().encode()).unwrap().flags, Some(expected));
    }
    // The flags of an older peer, one to a byte, and nothing that is known.
    let old = open(&[0x42, 0, 0, 0, 0, 1, 2]).unwrap();
    assert_eq!(old.flags, Some(Flags { sync_reset: false, read_only: false }));
}

/// 200 KiB of text that is pasted into a field at once, whether or not it deflates.
#[test]
fn a_large_paste_passes() {
    let letters = |n: u32| char::from(b'a' + u8::try_from((n.wrapping_mul(n) >> 7) % 26).unwrap());
    for text in ["x".repeat(200 << 10), (0..200 << 10).map(letters).collect()] {
        let mut doc = AutoCommit::new();
        let field = doc.put_object(ROOT, "field", ObjType::Text).unwrap();
        doc.splice_text(&field, 0, 0, &text).unwrap();
        let change = doc.get_last_local_change().unwrap();
        open(&message(&[change.clone().bytes().into_owned()])).unwrap();
        open(&message(&[doc.save()])).unwrap();
    }
}

proptest! {
    /// Numbers are read as Automerge reads them, and nothing else is a number.
    #[test]
    fn numbers_are_what_they_are_written_as(number: usize, tail: Vec<u8>) {
        let bytes = [leb(number), tail.clone()].concat();
        let mut input = Input::new(&bytes);
        prop_assert_eq!(input.number().unwrap(), number as u64);
        prop_assert_eq!(input.rest(), &tail[..]);
    }

    /// Bytes that mean nothing are refused, with a reason, and nothing else happens.
    #[test]
    fn noise_is_refused(mut noise: Vec<u8>, version in 0x42..0x44_u8) {
        noise.insert(0, version);
        if let Err(error) = open(&noise) {
            prop_assert!(matches!(
                error,
                DocumentError::Malformed(_) | DocumentError::TooMany(_)
            ));
        }
    }
}

/// A message of which the end is missing is refused wherever it is cut; only the flags may be.
#[test]
fn a_cut_message_is_refused() {
    let mut doc = everything();
    let changes = doc.get_changes(&[]);
    let raw: Vec<Vec<u8>> = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
    for whole in [message(&raw), message(&[doc.save()])] {
        open(&whole).unwrap();
        for end in 0..whole.len() {
            let error = open(&whole[..end]).unwrap_err();
            assert!(matches!(error, DocumentError::Malformed(_)), "{end}: {error}");
        }
    }
}

/// A chunk in which anything is changed is not what its checksum says.
#[test]
fn a_changed_chunk_is_refused() {
    let mut doc = everything();
    let chunk = doc.get_changes(&[])[0].raw_bytes().to_vec();
    for at in 0..chunk.len() {
        let mut changed = chunk.clone();
        changed[at] ^= 1;
        open(&message(&[changed])).unwrap_err();
    }
    assert_eq!(seal(1, &chunk[chunk.len() - chunk_contents(&chunk).len()..]), chunk);
}
