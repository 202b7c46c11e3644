//! Honest bytes, damaged, with the checksum made good again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::document::Policy;
use crate::document::probe::{damage, load, take_in};

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
}

/// How far damaged bytes came.
#[derive(Debug, Default)]
struct Tally {
    /// Past the guard, and refused where they were applied or read back: how often for what.
    refused: BTreeMap<String, u64>,
    /// Taken in.
    received: u64,
    /// Taken in, and not there again after it was saved.
    lost: Vec<String>,
}

#[test]
fn what_is_taken_in_loads_again() {
    let mut doc = everything();
    let changes: Vec<Vec<u8>> =
        doc.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()).collect();
    let whole = doc.document().save_nocompress();
    let mut dice = Dice(7);
    let mut below = |bound| dice.below(bound);
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let at = below(changes.len() + 1);
        let (kind, chunk, before) = match changes.get(at) {
            Some(change) => (1, change, &changes[..at]),
            None => (0, &whole, &changes[..0]),
        };
        let other = &changes[below(changes.len())];
        let mut contents = chunk_contents(chunk).to_vec();
        damage(&mut contents, other, &mut below);
        let mut bytes = message(&[seal(kind, &contents)]);
        if below(20) == 0 {
            damage(&mut bytes, other, &mut below);
        }
        let fate = take_in(before, &bytes);
        if let Some(error) = fate.refused {
            *tally.refused.entry(error.to_string()).or_default() += 1;
        }
        tally.received += u64::from(fate.received);
        let what = |how| format!("round {round}, kind {kind}, change {at}, {how}");
        tally.lost.extend(fate.lost.map(what));
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
        let policy = Arc::new(Policy::default());
        let mut document = load(&policy, None, &[]).unwrap();
        let opened = open(&message(&[numbered(seq, start)])).unwrap();
        let received = document.receive(opened.changes.unwrap()).unwrap();
        assert_eq!(received.refused.is_none(), fits, "{seq} {start}: {received:?}");
        let again = load(&policy, Some(&document.save()), &[]).unwrap();
        assert_eq!(again.state(), document.state());
    }
}
