//! The way out of a log and into another one: nothing of a document is lost on it, and nothing that
//! is there is overwritten.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use statehouse::document::{Document, DocumentError, Note, Policy};
use statehouse::ids::{Millis, Seq};
use statehouse::json::Json;
use statehouse::storage::ChangeLog as _;
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::sqlite::export::{ExportError, Formats, Manifest, export};
use statehouse::storage::sqlite::import::{Done, ImportError, Parcel};
use statehouse::storage::sqlite::look::Look;
use statehouse::workspace::{
    Carrier, Commit, Dialect, Origin, Recovered, StoreConfig, WorkspaceConfig,
};

use crate::doctor::doctor;
use crate::world::{Outcome, checkpoint, commit, entry, folder, name, workspace};

const BOTH: Formats = Formats { json: true, automerge: true };

fn carrier(byte: u8) -> Carrier {
    Carrier { actor: [byte; 16], now: Millis(1_000) }
}

/// Any JSON that a store can be.
fn any_state() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-d]", value, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn json_of(value: &Value) -> Json {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// Appends states to a store, each as one commit over the one before.
fn write(log: &SqliteLog, store: &str, actor: u8, states: &[Value]) {
    let stored = log.read(&workspace("w"), &name(store)).unwrap();
    let checkpoint = stored.checkpoint.as_ref().map(|checkpoint| &*checkpoint.bytes);
    let changes: Vec<&[u8]> =
        stored.commits.iter().flat_map(|commit| &commit.changes).map(Vec::as_slice).collect();
    let mut document = Document::load(Arc::new(Policy::default()), checkpoint, &changes).unwrap();
    document.sign_as(&[actor; 16]);
    let newest = stored.commits.last().map_or(stored.start, |commit| commit.seq).0;
    for (after, state) in (newest..).zip(states) {
        let note = Note { time: Millis(after), message: None };
        let written = document.write(&document.state(), &json_of(state), None, note).unwrap();
        let commit = Commit {
            seq: Seq(after + 1),
            changes: written.change.into_iter().map(|(_, bytes)| bytes).collect(),
            heads: document.heads(),
            time: Millis(after),
            origin: Origin {
                user: "somebody".into(),
                session: None,
                dialect: Dialect::Json,
                id: None,
            },
        };
        let batch = [entry("w", store, after, vec![commit])];
        log.append(&batch).unwrap().remove(0).unwrap();
    }
}

fn out(data: &Path, to: &Path, formats: Formats) -> Manifest {
    let look = Look::open(data).unwrap();
    let stores = look.stores(&mut |what| panic!("{what}"));
    export(&look, &stores, (formats, false), to, &mut |_| ()).unwrap()
}

fn bring(data: &Path, from: &Path, actor: u8) -> Vec<Result<Done, ImportError>> {
    let log = SqliteLog::open(data).unwrap();
    let rules = WorkspaceConfig::default();
    let parcels = Parcel::of_export(from).unwrap();
    parcels.iter().map(|parcel| parcel.import(&log, &rules, carrier(actor))).collect()
}

/// The state, the heads and the newest seq of each store, as the server would load them.
fn stores(data: &Path) -> BTreeMap<String, (Value, Vec<String>, u64)> {
    let log = SqliteLog::open(data).unwrap();
    let mut found = BTreeMap::new();
    for (store, seq) in log.stores(&workspace("w")).unwrap() {
        let stored = log.read(&workspace("w"), &store).unwrap();
        let config = Arc::new(StoreConfig::open(store.clone()));
        let checkpoint = Recovered::build(config, stored).unwrap().checkpoint().unwrap();
        let document = Document::load(Arc::default(), Some(&checkpoint.bytes), &[]).unwrap();
        let heads = checkpoint.heads.iter().map(ToString::to_string).collect();
        let json = serde_json::from_str(&document.json().to_string()).unwrap();
        found.insert(store.to_string(), (json, heads, seq.0));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Out and in again: the same JSON, the same heads, a new epoch. Once more changes nothing;
    /// what is written on both sides meanwhile is merged.
    #[test]
    fn out_and_in_is_the_same_document(
        one in prop::collection::vec(any_state(), 1..6),
        two in prop::collection::vec(any_state(), 1..3),
    ) {
        let place = folder();
        let [first, second, files] = ["first", "second", "out"].map(|at| place.path().join(at));
        let log = SqliteLog::open(&first).unwrap();
        write(&log, "one", 1, &one);
        write(&log, "a:B", 2, &two);
        drop(log);
        let manifest = out(&first, &files, BOTH);
        prop_assert_eq!(manifest.stores.len(), 2);
        for entry in &manifest.stores {
            let text = fs::read(files.join(entry.json.as_ref().unwrap())).unwrap();
            let state: Value = serde_json::from_slice(&text).unwrap();
            let history = if entry.store == "one" { &one } else { &two };
            prop_assert_eq!(&state, history.last().unwrap());
        }

        let done = bring(&second, &files, 3);
        let founded = Seq::start_of(1).next();
        for done in done {
            prop_assert_eq!(done.unwrap(), Done::Founded(founded));
        }
        let (before, after) = (stores(&first), stores(&second));
        for (store, (json, heads, seq)) in &after {
            prop_assert_eq!((json, heads), (&before[store].0, &before[store].1));
            prop_assert_eq!(*seq, founded.0);
        }
        prop_assert_eq!(doctor(&second).1, []);
        for done in bring(&second, &files, 4) {
            prop_assert_eq!(done.unwrap(), Done::Unchanged);
        }
        prop_assert_eq!(stores(&second), after);

        let sides = [(&first, "left", 5), (&second, "right", 6)];
        for (data, key, actor) in sides {
            let mut state = one.last().unwrap().clone();
            state[key] = json!(true);
            write(&SqliteLog::open(data).unwrap(), "one", actor, &[state]);
        }
        let files = place.path().join("again");
        out(&first, &files, BOTH);
        let done: Vec<_> = bring(&second, &files, 7).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(done, [Done::Unchanged, Done::Merged(Seq(founded.0 + 2))]);
        let merged = &stores(&second)["one"].0;
        prop_assert_eq!((&merged["left"], &merged["right"]), (&json!(true), &json!(true)));
        prop_assert_eq!(doctor(&second).1, []);
    }

    /// States alone: the same JSON, as one commit; over what is there, one commit more.
    #[test]
    fn json_alone_comes_in_as_one_commit(states in prop::collection::vec(any_state(), 2..5)) {
        let place = folder();
        let [first, second, files] = ["first", "second", "out"].map(|at| place.path().join(at));
        write(&SqliteLog::open(&first).unwrap(), "one", 1, &states);
        let manifest = out(&first, &files, Formats { automerge: false, ..BOTH });
        prop_assert_eq!(&manifest.stores[0].automerge, &None);
        let last = states.last().unwrap();
        let founded = Seq::start_of(1).next();
        prop_assert_eq!(bring(&second, &files, 2).remove(0).unwrap(), Done::Founded(founded));
        prop_assert_eq!(&stores(&second)["one"].0, last);

        let file = place.path().join("state.json");
        let place_of = || (workspace("w"), name("one"));
        fs::write(&file, states[0].to_string()).unwrap();
        let parcel = Parcel::of_file(&file, place_of()).unwrap();
        let log = SqliteLog::open(&second).unwrap();
        let done = parcel.import(&log, &WorkspaceConfig::default(), carrier(3)).unwrap();
        let expected =
            if states[0] == *last { Done::Unchanged } else { Done::Merged(founded.next()) };
        prop_assert_eq!(done, expected);
        drop(log);
        prop_assert_eq!(&stores(&second)["one"].0, &states[0]);
        prop_assert_eq!(doctor(&second).1, []);
    }
}

/// A refused file leaves nothing behind, and the log as it was.
#[test]
fn what_is_refused_changes_nothing() {
    let place = folder();
    let data = place.path().join("data");
    let log = SqliteLog::open(&data).unwrap();
    write(&log, "one", 1, &[json!({"a": 1})]);
    let rules = WorkspaceConfig::default();
    let import = |file: &str, bytes: &[u8]| {
        let file = place.path().join(file);
        fs::write(&file, bytes).unwrap();
        ["one", "new"].map(|store| {
            let parcel = Parcel::of_file(&file, (workspace("w"), name(store)))?;
            parcel.import(&log, &rules, carrier(2))
        })
    };
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    for result in [
        import("garbage.automerge", b"no document at all"),
        import("garbage.json", b"{\"a\": "),
        import("deep.json", deep.as_bytes()),
        import("key.json", b"{\"__proto__\": 1}"),
        import("kind.txt", b"{}"),
    ]
    .into_iter()
    .flatten()
    {
        assert!(result.is_err(), "{result:?}");
    }
    let [one, new] = import("cut.automerge", &[0x85, 0x6f, 0x4a, 0x83, 1, 2, 3, 4, 0, 9]);
    assert!(matches!(one, Err(ImportError::Document(DocumentError::Malformed(_)))), "{one:?}");
    assert!(matches!(new, Err(ImportError::Document(DocumentError::Malformed(_)))), "{new:?}");

    let closed = WorkspaceConfig { create_stores: false, ..WorkspaceConfig::default() };
    let file = place.path().join("good.json");
    fs::write(&file, "{}").unwrap();
    let parcel = Parcel::of_file(&file, (workspace("w"), name("new"))).unwrap();
    let refused = parcel.import(&log, &closed, carrier(2));
    assert!(matches!(refused, Err(ImportError::NotKept)), "{refused:?}");
    assert_eq!(log.stores(&workspace("w")).unwrap(), [(name("one"), Seq(1))]);
    drop(log);
    assert_eq!(stores(&data)["one"].0, json!({"a": 1}));
}

#[test]
fn a_manifest_is_held_against_what_it_tells_of() {
    let place = folder();
    let [data, files, other] = ["data", "out", "other"].map(|at| place.path().join(at));
    let log = SqliteLog::open(&data).unwrap();
    write(&log, "one", 1, &[json!({"a": 1})]);
    write(&log, "two", 2, &[json!({"b": 1})]);
    drop(log);
    out(&data, &files, BOTH);
    let path = files.join("manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        fs::write(&path, good.replace(from, to)).unwrap();
        Parcel::of_export(&files).map(|parcels| parcels.len())
    };
    for (from, to) in [
        ("\"manifest\": 1", "\"manifest\": 2"),
        ("\"manifest\": 1", "\"extra\": 1"),
        ("w/one.automerge", "../data/statehouse.db"),
        ("w/one.automerge", "/etc/passwd"),
        ("\"workspace\": \"w\"", "\"workspace\": \"../w\""),
        ("\"store\": \"one\"", "\"store\": \"\""),
    ] {
        assert!(with(from, to).is_err(), "{to}");
    }
    // The files were changed for each other: both are sound, and neither is what it should be.
    assert_eq!(with("w/one.automerge", "w/x").unwrap(), 2);
    fs::write(&path, &good).unwrap();
    fs::rename(files.join("w/one.automerge"), files.join("w/x")).unwrap();
    fs::rename(files.join("w/two.automerge"), files.join("w/one.automerge")).unwrap();
    let done = bring(&other, &files, 3);
    assert!(matches!(done[0], Err(ImportError::OtherHeads)), "{done:?}");
    assert!(matches!(done[1], Err(ImportError::Unreadable { .. })), "{done:?}");
    assert_eq!(stores(&other).len(), 0);
}

#[test]
fn an_export_is_there_whole_or_not_at_all() {
    let place = folder();
    let [data, files] = ["data", "out"].map(|at| place.path().join(at));
    let log = SqliteLog::open(&data).unwrap();
    write(&log, "a", 1, &[json!({"a": 1})]);
    write(&log, "b", 2, &[json!({"b": 1}), json!({"b": 2})]);
    drop(log);
    fs::create_dir(&files).unwrap();
    out(&data, &files, BOTH);
    let look = Look::open(&data).unwrap();
    let stores = look.stores(&mut |_| ());
    let again = export(&look, &stores, (BOTH, false), &files, &mut |_| ());
    assert!(matches!(again, Err(ExportError::Taken(_))), "{again:?}");
    drop(look);

    let raw = rusqlite::Connection::open(data.join("statehouse.db")).unwrap();
    raw.execute("UPDATE commits SET changes = zeroblob(9) WHERE store = 2 AND seq = 2", [])
        .unwrap();
    drop(raw);
    let look = Look::open(&data).unwrap();
    let other = place.path().join("other");
    let damaged = export(&look, &stores, (BOTH, false), &other, &mut |_| ());
    assert!(matches!(damaged, Err(ExportError::Damaged(_))), "{damaged:?}");
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|at| at.unwrap().path()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let mut told = Vec::new();
    let salvaged =
        export(&look, &stores, (BOTH, true), &other, &mut |finding| told.push(finding.clone()));
    let salvaged = salvaged.unwrap();
    assert_eq!(told.len(), 1);
    let [a, b] = &*salvaged.stores else { panic!("{salvaged:?}") };
    assert_eq!((a.seq, a.lost_up_to, b.seq, b.lost_up_to), (1, None, 1, Some(2)));
    assert_eq!(fs::read_to_string(other.join(b.json.as_ref().unwrap())).unwrap(), "{\"b\":1}");
}

/// Clients that knew a store where it comes from must not take its numbers for the ones here.
#[test]
fn every_import_begins_in_an_epoch_of_its_own() {
    let place = folder();
    let paths = ["0", "1", "2"].map(|at| place.path().join(at));
    write(&SqliteLog::open(&paths[0]).unwrap(), "one", 1, &[json!({"a": 1})]);
    for (epoch, hop) in (1..).zip(paths.windows(2)) {
        let files = place.path().join(format!("out {epoch}"));
        out(&hop[0], &files, BOTH);
        let done = bring(&hop[1], &files, 9).remove(0).unwrap();
        assert_eq!(done, Done::Founded(Seq::start_of(epoch).next()));
    }
}

#[test]
fn a_store_is_founded_once_and_at_the_start_of_an_epoch() {
    let place = folder();
    let log = SqliteLog::open(place.path()).unwrap();
    let found = |store: &str, seq: u64, checkpoint_seq: u64| {
        let (commit, checkpoint) = (commit(seq), checkpoint(checkpoint_seq));
        Outcome::from(log.found(&workspace("w"), &name(store), &commit, &checkpoint))
    };
    let first = Seq::start_of(3).next().0;
    for (seq, checkpoint_seq) in [(first + 1, first + 1), (first, first + 1), (first, first - 1)] {
        assert_eq!(found("s", seq, checkpoint_seq), Outcome::Invalid);
    }
    assert_eq!(log.stores(&workspace("w")).unwrap(), []);
    assert_eq!(found("s", first, first), Outcome::Done);
    assert_eq!(found("s", first, first), Outcome::Behind(first));

    // It goes on like any other.
    let next = entry("w", "s", first, vec![commit(first + 1)]);
    assert_eq!(Outcome::from(log.append(&[next]).unwrap().remove(0)), Outcome::Done);
    let stored = log.read(&workspace("w"), &name("s")).unwrap();
    assert_eq!((stored.start, stored.checkpoint), (Seq::start_of(3), Some(checkpoint(first))));
    let expected = [Commit { changes: Vec::new(), ..commit(first) }, commit(first + 1)];
    assert_eq!(stored.commits, expected);
}
