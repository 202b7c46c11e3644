//! What an edit costs in a large document, as a multiple of what it costs in a small one. That does
//! not depend on the machine, and must not grow with the document: with `--test` more than
//! [`GROWTH_MAX`] times fails. What bare Automerge takes to receive the same is printed beside it.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a bench that cannot run stops, prints what it found, and counts in floats"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use automerge::transaction::{Transactable as _, Transaction};
use automerge::{Automerge, Change, ObjType, PatchLog, ROOT, ReadDoc as _};
use statehouse::document::{Document, Note, Policy};
use statehouse::ids::Millis;
use statehouse::json::{JsonLimits, JsonPatch};

/// Keys, and letters, of the two documents.
const SIZES: [usize; 2] = [1_000, 100_000];
/// Times that each edit is made; the median counts.
const ROUNDS: usize = 101;
/// A hundred times the size may cost so many times as much: caches miss, trees get deeper. Where an
/// edit walks through what it touches it is more than a hundred.
const GROWTH_MAX: f64 = 10.0;

const NOTE: Note<'static> = Note { time: Millis(0), message: None };

fn main() -> ExitCode {
    let mut is_flat = true;
    println!("an edit              small, us  large, us   growth   received by Automerge: growth");
    for (name, measure) in EDITS {
        let [(small, plain_small), (large, plain_large)] = SIZES.map(measure);
        let growth = large / small;
        is_flat &= growth <= GROWTH_MAX;
        let plain = plain_small.zip(plain_large).map(|(small, large)| large / small);
        let plain = plain.map_or_else(|| "-".to_owned(), |growth| format!("{growth:.1}"));
        println!("{name:20} {small:10.1} {large:10.1} {growth:8.1} {plain:>30}");
    }
    let tested = std::env::args().any(|argument| argument == "--test");
    if tested && !is_flat { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The medians in a document of so many keys or letters, in microseconds: here, and where a copy of
/// it under bare Automerge receives the same change.
type Measure = fn(usize) -> (f64, Option<f64>);

const EDITS: [(&str, Measure); 4] = [
    ("JSON, newest state", newest),
    ("JSON, older state", stale),
    ("Automerge, a key", |keys| foreign(&map(keys), |tx, round| put(tx, round, keys))),
    ("Automerge, a letter", |letters| foreign(&text(letters), letter)),
];

fn key(n: usize) -> String {
    format!("k{n:06}")
}

fn map(keys: usize) -> Automerge {
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    for n in 0..keys {
        tx.put(ROOT, key(n), 0).unwrap();
    }
    tx.commit();
    doc
}

fn text(letters: usize) -> Automerge {
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, &"a".repeat(letters)).unwrap();
    tx.commit();
    doc
}

fn put(tx: &mut Transaction<'_>, round: usize, keys: usize) {
    tx.put(ROOT, key(round * 7_919 % keys), i64::try_from(round).unwrap()).unwrap();
}

fn letter(tx: &mut Transaction<'_>, round: usize) {
    let (_, text) = tx.get(ROOT, "text").unwrap().unwrap();
    let at = tx.length(&text) - round * 7_919 % tx.length(&text);
    tx.splice_text(&text, at, 0, "b").unwrap();
}

fn served(doc: &Automerge) -> Document {
    let policy = Arc::new(Policy::default());
    let mut document = Document::load(policy, Some(&doc.save()), &[]).unwrap();
    document.sign_as(&[7; 16]);
    document
}

fn newest(keys: usize) -> (f64, Option<f64>) {
    let mut document = served(&map(keys));
    let rounds = (1..=ROUNDS).map(|round| {
        let base = document.state();
        let next = replaced(&base.json(), round, keys);
        timed(|| drop(document.write(&base, &next, None, NOTE).unwrap()))
    });
    (median(rounds.collect()), None)
}

fn stale(keys: usize) -> (f64, Option<f64>) {
    let mut document = served(&map(keys));
    let rounds = (1..=ROUNDS).map(|round| {
        let base = document.state();
        let other = replaced(&base.json(), round, keys);
        document.write(&base, &other, None, NOTE).unwrap();
        let next = replaced(&base.json(), round + 1, keys);
        timed(|| drop(document.write(&base, &next, None, NOTE).unwrap()))
    });
    (median(rounds.collect()), None)
}

fn replaced(json: &statehouse::json::Json, round: usize, keys: usize) -> statehouse::json::Json {
    let path = key(round * 7_919 % keys);
    let patch = format!(r#"[{{"op":"replace","path":"/{path}","value":{round}}}]"#);
    let patch: JsonPatch = serde_json::from_str(&patch).unwrap();
    patch.apply(json, &JsonLimits::default()).unwrap().json
}

fn foreign(doc: &Automerge, edit: impl Fn(&mut Transaction<'_>, usize)) -> (f64, Option<f64>) {
    let (mut document, mut plain, mut client) = (served(doc), doc.clone(), doc.fork());
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let mut tx = client.transaction();
        edit(&mut tx, round);
        let (hash, _) = tx.commit();
        let change: Change = client.get_change_by_hash(&hash.unwrap()).unwrap();
        let copy = change.clone();
        here.push(timed(|| drop(document.receive(vec![copy]).unwrap())));
        let mut log = PatchLog::active();
        there.push(timed(|| plain.apply_changes_log_patches([change], &mut log).unwrap()));
    }
    assert_eq!(document.save(), plain.save());
    (median(here), Some(median(there)))
}

#[expect(clippy::disallowed_methods, reason = "a bench is timed by the clock")]
fn timed(step: impl FnOnce()) -> Duration {
    let from = Instant::now();
    step();
    from.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.swap_remove(times.len() / 2).as_nanos() as f64 / 1_000.0
}
