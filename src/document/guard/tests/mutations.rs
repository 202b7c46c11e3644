//! Honest bytes, damaged, with the checksum made good again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::document::{Document, Policy, Received};
use crate::json::Json;

/// How often something is damaged.
const ROUNDS: u64 = 40_000;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Flips bits, cuts, doubles, overwrites and inserts.
fn damage(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(8) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = dice.byte(),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
            4 => bytes.truncate(at + 1),
            5 => drop(bytes.remove(at)),
            6 => bytes.insert(at, dice.byte()),
            _ => {
                let (from, count) = (dice.below(other.len()), dice.below(16));
                let piece: Vec<u8> = other.iter().skip(from).take(count).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

fn load(checkpoint: Option<&[u8]>, changes: &[Vec<u8>]) -> Result<Document, DocumentError> {
    let changes: Vec<&[u8]> = changes.iter().map(Vec::as_slice).collect();
    Document::load(Arc::new(Policy::default()), checkpoint, &changes)
}

fn shown(document: &Document) -> (Vec<ChangeHash>, Json) {
    (document.heads(), document.json())
}

/// How far damaged bytes came.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    /// Past the guard.
    opened: u64,
    /// Past the guard, and refused where they were applied or read back: how often for what.
    refused: BTreeMap<String, u64>,
    /// Taken in.
    received: u64,
    /// Taken in, and not there again after it was saved.
    lost: Vec<String>,
}

impl Tally {
    /// Whether what was received is there again after it was saved, either way.
    fn receive(&mut self, before: &[Vec<u8>], opened: Opened, what: &str) {
        self.opened += 1;
        let mut document = load(None, before).unwrap();
        let untouched = shown(&document);
        let Received { changes: new, refused, .. } =
            document.receive(opened.changes.unwrap()).unwrap();
        if let Some(error) = refused {
            assert!(!new.is_empty() || shown(&document) == untouched);
            *self.refused.entry(error.to_string()).or_default() += 1;
        }
        if new.is_empty() {
            return;
        }
        self.received += 1;
        let now = shown(&document);
        let log: Vec<Vec<u8>> = before.iter().cloned().chain(new).collect();
        for (way, again) in
            [("saved", load(Some(&document.save()), &[])), ("logged", load(None, &log))]
        {
            match again {
                Ok(again) if shown(&again) == now => {}
                Ok(_) => self.lost.push(format!("{what} {way}: differs")),
                Err(error) => self.lost.push(format!("{what} {way}: {error}")),
            }
        }
    }
}

#[test]
fn what_is_taken_in_loads_again() {
    let mut doc = everything();
    let changes: Vec<Vec<u8>> =
        doc.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect();
    let whole = doc.document().save_nocompress();
    let mut dice = Dice(7);
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let at = dice.below(changes.len() + 1);
        let (kind, chunk, before) = match changes.get(at) {
            Some(change) => (1, change, &changes[..at]),
            None => (0, &whole, &changes[..0]),
        };
        let other = &changes[dice.below(changes.len())];
        let mut contents = chunk_contents(chunk).to_vec();
        damage(&mut contents, other, &mut dice);
        let mut bytes = message(&[seal(kind, &contents)]);
        if dice.below(20) == 0 {
            damage(&mut bytes, other, &mut dice);
        }
        if let Ok(opened) = open(&bytes) {
            tally.receive(before, opened, &format!("round {round}, kind {kind}, change {at}"));
        }
    }
    // Enough comes through for this to mean something.
    assert!(tally.received > 500 && !tally.refused.is_empty(), "{tally:?}");
    assert!(tally.lost.is_empty(), "{:#?}", tally.lost);
}

/// A change that sets the key `k` to null.
fn numbered(seq: usize, start: usize) -> Vec<u8> {
    let head = [&[0, 1, 9][..], &leb(seq), &leb(start), &[0, 0, 0]].concat();
    let columns = [5, 0x15, 3, 0x34, 1, 0x42, 2, 0x56, 2, 0x70, 2];
    let rows = [0x7f, 1, b'k', 1, 0x7f, 1, 0x7f, 0, 0x7f, 0];
    seal(1, &[&head[..], &columns, &rows].concat())
}

/// Numbers that Automerge takes in, and with which the document would not load again or could not
/// be written to any more.
#[test]
fn numbers_out_of_line_are_refused() {
    for (seq, start, fits) in [(1, 1, true), (7, 1, false), (1, 1 << 30, false), (1, 9, true)] {
        let mut document = load(None, &[]).unwrap();
        let opened = open(&message(&[numbered(seq, start)])).unwrap();
        let received = document.receive(opened.changes.unwrap()).unwrap();
        assert_eq!(received.refused.is_none(), fits, "{seq} {start}: {received:?}");
        let again = load(Some(&document.save()), &[]).unwrap();
        assert_eq!(shown(&again), shown(&document));
    }
}
