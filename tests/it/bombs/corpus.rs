//! Hostile sync messages, built from what the Automerge format says: none is kept as bytes.
//!
//! The formats: <https://automerge.org/automerge-binary-format-spec>; a sync message is a byte for
//! its version, then lists of heads, of hashes asked for, of what the sender has, and of chunks.

use std::io::Write as _;

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ObjType, ROOT};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use sha2::{Digest as _, Sha256};

/// Operations of the smallest change that is too large.
const MILLION: i64 = 1_000_000;
/// What a bomb of deflated bytes becomes.
const INFLATED_BYTES: usize = 512 << 20;
const DOCUMENT: u8 = 0;
const CHANGE: u8 = 1;
const DEFLATED_CHANGE: u8 = 2;
const BUNDLE: u8 = 3;
/// In a column's specification: it is deflated.
const DEFLATED: u64 = 8;

/// A message, and the code of the error that answers it; without one it does no harm.
#[derive(Debug)]
pub(crate) struct Bomb {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) code: Option<&'static str>,
}

/// Every attack on the bytes of a sync message that is known.
pub(crate) fn corpus() -> Vec<Bomb> {
    let bomb = |name, code, bytes| Bomb { name, code: Some(code), bytes };
    let harmless = |name, bytes| Bomb { name, code: None, bytes };
    let (million, many) = (million_ops(MILLION), leb(1 << 40));
    vec![
        bomb("an empty message", "bad-sync", vec![]),
        bomb("an unknown version", "bad-sync", vec![0x44, 0, 0, 0, 0]),
        harmless(
            "a Bloom filter of 4e9 probes",
            bloom(&[&leb(1), &leb(8), &leb(0xffff_ffff), &[0]]),
        ),
        harmless("a Bloom filter without bits", bloom(&[&leb(1), &leb(0), &leb(7)])),
        harmless("a Bloom filter of 4e9 entries", bloom(&[&leb(0xffff_ffff), &leb(10), &leb(7)])),
        bomb("2^40 heads", "bad-sync", [&[0x42][..], &many].concat()),
        bomb("2^40 hashes asked for", "bad-sync", [&[0x42, 0][..], &many].concat()),
        bomb("2^40 filters", "bad-sync", [&[0x42, 0, 0][..], &many].concat()),
        bomb("2^40 chunks", "bad-sync", [&[0x42, 0, 0, 0][..], &many].concat()),
        bomb(
            "a chunk of 2^60 bytes",
            "bad-sync",
            [&[0x42, 0, 0, 0, 1][..], &leb(1 << 60)].concat(),
        ),
        bomb("20,000 heads", "too-many", [&[0x42][..], &leb(20_000), &vec![7; 640_000]].concat()),
        bomb("17 filters", "too-many", [&[0x42, 0, 0, 17][..], &[0; 36]].concat()),
        bomb("a bundle", "bad-sync", message(&sealed(BUNDLE, &[0xff; 700]))),
        bomb("a wrong checksum", "bad-sync", message(&chunk(CHANGE, &[0; 4], &million))),
        bomb("a million operations", "too-many", message(&sealed(CHANGE, &million))),
        bomb("2^60 operations", "too-many", message(&sealed(CHANGE, &million_ops(1 << 60)))),
        bomb("a change that inflates", "too-many", message(&inflating_change())),
        bomb("a column that inflates", "too-many", message(&inflating_document())),
        bomb("a document of a million changes", "too-many", message(&many_changes())),
        bomb("a key of 70 kB", "too-many", message(&long_key())),
        bomb("operations beyond 32 bits", "bad-sync", numbered(1, 0xffff_fffe)),
        bomb("a change without number", "bad-sync", numbered(0, 1)),
        bomb("objects 300 deep", "too-deep", message(&deep(300))),
        bomb("objects 20,000 deep", "too-deep", message(&deep(20_000))),
    ]
}

/// An honest message, to see that the others are refused for what they are.
pub(crate) fn honest() -> Vec<u8> {
    message(&sealed(CHANGE, &million_ops(1_000)))
}

fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn signed_leb(mut number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !(-0x40..0x40).contains(&number) {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number & 0x7f).unwrap());
    bytes
}

fn message(chunk: &[u8]) -> Vec<u8> {
    [&[0x43, 0, 0, 0, 1][..], &leb(chunk.len() as u64), chunk].concat()
}

fn bloom(filter: &[&[u8]]) -> Vec<u8> {
    let filter = filter.concat();
    [&[0x42, 0, 0, 1, 0][..], &leb(filter.len() as u64), &filter, &[0]].concat()
}

fn chunk(kind: u8, checksum: &[u8], contents: &[u8]) -> Vec<u8> {
    let magic = [0x85, 0x6f, 0x4a, 0x83];
    [&magic, checksum, &[kind], &leb(contents.len() as u64), contents].concat()
}

fn sealed(kind: u8, contents: &[u8]) -> Vec<u8> {
    chunk(kind, &checksum(kind, &[contents], contents.len()), contents)
}

fn checksum(kind: u8, contents: &[&[u8]], length: usize) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update([kind]);
    hasher.update(leb(length as u64));
    for part in contents {
        hasher.update(part);
    }
    hasher.finalize()[..4].to_vec()
}

/// The contents of a change up to its columns.
fn head(seq: u64, start: u64) -> Vec<u8> {
    let actor = [16, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
    [&[0][..], &actor, &leb(seq), &leb(start), &[0, 0, 0]].concat()
}

fn columns(columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = listed(columns);
    for (_, column) in columns {
        bytes.extend(column);
    }
    bytes
}

fn listed(columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = leb(columns.len() as u64);
    for (spec, column) in columns {
        bytes.extend(leb(*spec));
        bytes.extend(leb(column.len() as u64));
    }
    bytes
}

/// A change that sets one key to null, over and over: each column is one run.
fn sets(key: &str, count: i64) -> Vec<u8> {
    let run = |value: &[u8]| [&signed_leb(count), value].concat();
    let key = [&leb(key.len() as u64), key.as_bytes()].concat();
    columns(&[
        (0x15, run(&key)),
        (0x34, leb(u64::try_from(count).unwrap())),
        (0x42, run(&[1])),
        (0x56, run(&[0])),
        (0x70, run(&[0])),
    ])
}

fn million_ops(count: i64) -> Vec<u8> {
    [head(1, 1), sets("k", count)].concat()
}

fn long_key() -> Vec<u8> {
    sealed(CHANGE, &[head(1, 1), sets(&"k".repeat(70_000), 1)].concat())
}

/// A change of two operations with this number, that counts its operations from `start`.
fn numbered(seq: u64, start: u64) -> Vec<u8> {
    message(&sealed(CHANGE, &[head(seq, start), sets("k", 2)].concat()))
}

/// Deflates bytes followed by many zeros, which are not kept meanwhile.
fn deflate(bytes: &[u8], zeros: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    let step = vec![0; 1 << 20];
    for _ in 0..zeros / step.len() {
        encoder.write_all(&step).unwrap();
    }
    encoder.finish().unwrap()
}

/// A sound change of half a gigabyte: what is beside its operations is zeros.
fn inflating_change() -> Vec<u8> {
    let contents = million_ops(1);
    let step = vec![0; 1 << 20];
    let mut parts: Vec<&[u8]> = vec![&contents];
    parts.extend(std::iter::repeat_n(step.as_slice(), INFLATED_BYTES / step.len()));
    let checksum = checksum(CHANGE, &parts, contents.len() + INFLATED_BYTES);
    chunk(DEFLATED_CHANGE, &checksum, &deflate(&contents, INFLATED_BYTES))
}

/// A document, the values of which are half a gigabyte once inflated.
fn inflating_document() -> Vec<u8> {
    let values = [(0x57 | DEFLATED, deflate(&[], INFLATED_BYTES))];
    sealed(DOCUMENT, &[&[0, 0, 0][..], &columns(&values)].concat())
}

/// A document that claims changes, each of which is nothing but a row.
fn many_changes() -> Vec<u8> {
    let run = |value: &[u8]| [&signed_leb(MILLION), value].concat();
    let changes = [
        (0x01, run(&[0])),
        (0x03, run(&[1])),
        (0x13, run(&[0])),
        (0x23, run(&[0])),
        (0x40, run(&[0])),
        (0x56, run(&[7])),
    ];
    let none: [(u64, Vec<u8>); 0] = [];
    let mut bytes = [&[1, 1, 7][..], &[0], &listed(&changes), &listed(&none)].concat();
    for (_, column) in &changes {
        bytes.extend(column);
    }
    sealed(DOCUMENT, &bytes)
}

/// Maps in maps, by Automerge itself.
fn deep(depth: usize) -> Vec<u8> {
    let mut doc = AutoCommit::new();
    let mut place = ROOT;
    for _ in 0..depth {
        place = doc.put_object(&place, "in", ObjType::Map).unwrap();
    }
    doc.get_last_local_change().unwrap().raw_bytes().to_vec()
}
