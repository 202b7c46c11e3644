//! The law of the bridge, under every kind of edit at once.

use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ObjType, ROOT, ScalarValue};
use proptest::prelude::*;
use proptest::sample::Index;

use super::probe::{NOTE, check, raw_edit};
use super::*;
use crate::ids::StoreName;
use crate::json::arbitrary;

fn policies() -> impl Strategy<Value = Arc<Policy>> {
    let text = |patterns: &[&str]| patterns.iter().map(|p| p.parse().unwrap()).collect();
    prop::sample::select(vec![
        Policy::default(),
        Policy { strings: Strings::Text, ..Policy::default() },
        Policy { text: text(&["/a", "/*/b", ""]), ..Policy::default() },
    ])
    .prop_map(Arc::new)
}

fn document(policy: &Arc<Policy>, initial: &Json, actor: u8) -> Document {
    probe::document(policy, initial, &[actor; 16])
}

/// One thing that happens to a document that is shared by two replicas.
#[derive(Debug, Clone)]
enum Step {
    /// A JSON edit, made on one of the versions seen so far.
    Json { replica: bool, version: Index, place: Index, kind: u8, value: Json },
    /// An edit by Automerge's own means, by a client of its own kind.
    Raw { replica: bool, place: Index, kind: u8 },
    /// One replica receives all that the other has.
    Exchange { to: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let json = (any::<bool>(), any::<Index>(), any::<Index>(), any::<u8>(), arbitrary::json());
    let step = prop_oneof![
        4 => json.prop_map(|(replica, version, place, kind, value)| Step::Json {
            replica, version, place, kind, value
        }),
        3 => (any::<bool>(), any::<Index>(), any::<u8>())
            .prop_map(|(replica, place, kind)| Step::Raw { replica, place, kind }),
        2 => any::<bool>().prop_map(|to| Step::Exchange { to }),
    ];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #[test]
    fn what_is_written_at_the_newest_heads_is_what_stands(
        (base, next) in arbitrary::pair(), policy in policies(),
    ) {
        let mut document = document(&policy, &base, 1);
        prop_assert_eq!(document.json(), base.clone());
        let version = document.state();
        document.write(&version, &next, None, NOTE).unwrap();
        prop_assert_eq!(document.json(), next);
        check(&document, &base);
        let again = Document::load(policy, Some(&document.save()), &[]).unwrap();
        prop_assert_eq!(again.state(), document.state());
        prop_assert_eq!(document.state_at(&version.heads).unwrap(), version);
    }

    #[test]
    fn all_replicas_end_alike_and_their_json_follows(
        initial in arbitrary::json(), policy in policies(), steps in steps(),
    ) {
        let mut replicas = [document(&policy, &initial, 1), document(&policy, &initial, 2)];
        let mut versions = [vec![replicas[0].state()], vec![replicas[1].state()]];
        for (number, step) in (0_u8..).zip(steps) {
            let (replica, before) = match &step {
                Step::Json { replica, .. }
                | Step::Raw { replica, .. }
                | Step::Exchange { to: replica } => {
                    let replica = usize::from(*replica);
                    (replica, replicas[replica].json())
                }
            };
            match step {
                Step::Json { version, place, kind, value, .. } => {
                    let base = version.get(&versions[replica]).clone();
                    let mut next = base.json();
                    arbitrary::edit(&mut next, place, kind, value);
                    replicas[replica].write(&base, &next, None, NOTE).unwrap();
                }
                Step::Raw { place, kind, .. } => {
                    let actor = [200, number];
                    let place = |choices| place.index(choices);
                    raw_edit(&mut replicas[replica], &actor, &place, kind);
                }
                Step::Exchange { .. } => {
                    let known = replicas[replica].heads();
                    let news = replicas[1 - replica].doc.get_changes(&known);
                    replicas[replica].receive(news).unwrap();
                }
            }
            check(&replicas[replica], &before);
            versions[replica].push(replicas[replica].state());
        }
        for replica in [0, 1] {
            let known = replicas[replica].heads();
            let news = replicas[1 - replica].doc.get_changes(&known);
            replicas[replica].receive(news).unwrap();
        }
        prop_assert_eq!(replicas[0].state(), replicas[1].state());
    }

    #[test]
    fn a_genesis_is_the_same_wherever_it_is_made(
        initial in arbitrary::json(), policy in policies(),
    ) {
        let store: StoreName = "store".parse().unwrap();
        let first = genesis(&store, &initial, &policy).unwrap();
        prop_assert_eq!(&first, &genesis(&store, &initial, &policy).unwrap());
        let heads = genesis_heads(&first.iter().cloned().collect::<Vec<_>>());
        prop_assert_eq!(document(&policy, &initial, 1).heads(), heads);
    }
}

#[test]
fn a_root_that_uses_the_reserved_key_is_refused() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::parse("{}", &JsonLimits::default()).unwrap(), 1);
    let next = Json::parse(format!("{{\"{RESERVED_ROOT}\":1}}"), &JsonLimits::default()).unwrap();
    let version = document.state();
    assert_eq!(document.write(&version, &next, None, NOTE), Err(DocumentError::ReservedKey));
    assert_eq!(document.state(), version);
}

#[test]
fn a_change_that_makes_the_document_too_large_is_refused() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
    let before = document.state();
    let mut copy = document.doc.clone();
    let mut tx = copy.transaction();
    tx.put(ROOT, "large", "x".repeat(limits::DOCUMENT_BYTES_MAX)).unwrap();
    tx.commit();
    let received = document.receive(copy.get_changes(&[])).unwrap();
    assert_eq!((received.changes.len(), received.refused), (0, Some(DocumentError::TooLarge)));
    assert_eq!(document.state(), before);
}

#[test]
fn declared_text_is_merged_and_other_strings_are_replaced() {
    let policy = Arc::new(Policy {
        text: vec!["/body".parse().unwrap()],
        strings: Strings::Text,
        ..Policy::default()
    });
    let json = |text: &str| Json::parse(text, &JsonLimits::default()).unwrap();
    let mut document = document(&policy, &json(r#"{"body":"one two","symbol":"BTC"}"#), 1);
    let base = document.state();
    let edits =
        [r#"{"body":"one and two","symbol":"SOL"}"#, r#"{"body":"one two three","symbol":"ETH"}"#];
    for edit in edits {
        document.write(&base, &json(edit), None, NOTE).unwrap();
    }
    assert_eq!(document.json(), json(r#"{"body":"one and two three","symbol":"ETH"}"#));
}

#[test]
fn a_json_replace_of_a_counter_counts() {
    let policy = Arc::new(Policy::default());
    let json = |text: &str| Json::parse(text, &JsonLimits::default()).unwrap();
    let mut document = document(&policy, &json("{}"), 1);
    let mut copy = document.doc.clone();
    let mut tx = copy.transaction();
    tx.put(ROOT, "n", ScalarValue::counter(10)).unwrap();
    tx.commit();
    document.receive(copy.get_changes(&[])).unwrap();
    let base = document.state();
    document.write(&base, &json(r#"{"n":13}"#), None, NOTE).unwrap();
    document.write(&base, &json(r#"{"n":15}"#), None, NOTE).unwrap();
    assert_eq!(document.json(), json(r#"{"n":18}"#));
}

/// Automerge 0.12.0 reports a wrong index when one batch sets and deletes the last element of a
/// list concurrently and inserts after it: the deletion makes it forget the element's width.
#[test]
fn automerge_misplaces_an_insert_behind_an_element_set_and_deleted_in_one_batch() {
    let policy = Arc::new(Policy::default());
    let json = |text: &str| Json::parse(text, &JsonLimits::default()).unwrap();
    let mut one = document(&policy, &json("[[],null,false]"), 1);
    let base = one.state();
    for edit in ["[[],null,true]", "[[],null]", "[null,false,[]]"] {
        one.write(&base, &json(edit), None, NOTE).unwrap();
    }
    assert_eq!(one.json(), json("[null,true,[]]"));
    let mut two = document(&policy, &json("[[],null,false]"), 2);
    let news = one.doc.get_changes(&two.heads());
    let mut log = PatchLog::active();
    let mut batch = two.doc.clone();
    batch.apply_changes_log_patches(news.clone(), &mut log).unwrap();
    let deltas = batch.make_patches(&mut log);
    let misplaced = |delta: &automerge::Patch| {
        matches!(delta.action, automerge::PatchAction::Insert { index: 1, .. })
    };
    assert!(deltas.iter().any(misplaced), "mended: {deltas:?}");
    let followed = projection::apply(&batch, &two.root, &deltas, &JsonLimits::default());
    assert_eq!(followed, Ok(None), "the projection notices");
    two.receive(news).unwrap();
    assert_eq!(two.json(), one.json());
}

/// The delta of a counter that goes in the same change cannot be followed; what comes behind it is
/// held against the limits all the same.
#[test]
fn a_forbidden_key_is_refused_behind_what_cannot_be_followed() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
    let mut copy = document.doc.clone();
    copy.set_actor(ActorId::from([9]));
    let mut tx = copy.transaction();
    tx.put(ROOT, "c", ScalarValue::counter(1)).unwrap();
    tx.commit();
    document.receive(copy.get_changes(&document.heads())).unwrap();
    let mut tx = copy.transaction();
    tx.increment(ROOT, "c", 1).unwrap();
    tx.delete(ROOT, "c").unwrap();
    tx.put(ROOT, "__proto__", 1).unwrap();
    tx.commit();
    let before = document.json();
    let received = document.receive(copy.get_changes(&document.heads())).unwrap();
    assert!(matches!(received.refused, Some(DocumentError::Json(_))), "{received:?}");
    assert_eq!(document.json(), before);
    check(&document, &before);
}

/// Automerge 0.12.0 reports a counter that comes to light again as it was in the beginning, though
/// it was counted up since.
#[test]
fn a_counter_that_comes_to_light_is_what_it_was_counted_to() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
    let start = document.doc.clone();
    let counter = |actor: u8, put_first: u64| {
        let mut copy = start.clone();
        copy.set_actor(ActorId::from([actor; 16]));
        for n in 0..put_first {
            copy.transact(|tx| tx.put(ROOT, "other", n)).unwrap();
        }
        copy.transact(|tx| tx.put(ROOT, "count", ScalarValue::counter(0))).unwrap();
        copy
    };
    let (mut counted, mut covering) = (counter(8, 0), counter(9, 3));
    counted.transact(|tx| tx.increment(ROOT, "count", 2)).unwrap();
    document.receive(counted.get_changes(&[])).unwrap();
    document.receive(covering.get_changes(&[])).unwrap();
    assert_eq!(document.json().to_string(), r#"{"count":0,"other":2}"#);
    let before = covering.get_heads();
    covering.transact(|tx| tx.delete(ROOT, "count")).unwrap();

    let (mut copy, mut log) = (document.doc.clone(), PatchLog::active());
    copy.apply_changes_log_patches(covering.get_changes(&before), &mut log).unwrap();
    let deltas = copy.make_patches(&mut log);
    let says = |delta: &automerge::Patch, n: i64| match &delta.action {
        automerge::PatchAction::PutMap { value: (value, _), .. } => value.as_i64() == Some(n),
        _ => false,
    };
    assert!(deltas.iter().any(|delta| says(delta, 0)), "mended: {deltas:?}");
    document.receive(covering.get_changes(&before)).unwrap();
    assert_eq!(document.json().to_string(), r#"{"count":2,"other":2}"#);
    let again = Document::load(policy, Some(&document.save()), &[]).unwrap();
    assert_eq!(again.json(), document.json());
}

fn nested(depth: usize) -> Json {
    (0..depth).fold(Json::Null, |inner, _| Json::Array([inner].into_iter().collect()))
}

#[test]
fn whatever_is_let_in_can_be_read_again() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
    let base = document.state();
    document.write(&base, &nested(limits::JSON_DEPTH_MAX), None, NOTE).unwrap();
    let again = Document::load(Arc::clone(&policy), Some(&document.save()), &[]).unwrap();
    assert_eq!(again.state(), document.state());
}

#[test]
fn a_change_that_nests_too_deep_is_refused_whole() {
    let policy = Arc::new(Policy::default());
    for depth in [limits::JSON_DEPTH_MAX, limits::JSON_DEPTH_MAX + 1, 300] {
        let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
        let before = document.state();
        let mut copy = document.doc.clone();
        let mut tx = copy.transaction();
        let mut place = ROOT;
        for _ in 0..depth {
            place = tx.put_object(&place, "in", ObjType::Map).unwrap();
        }
        tx.commit();
        if document.receive(copy.get_changes(&[])).unwrap().refused.is_none() {
            Document::load(Arc::clone(&policy), Some(&document.save()), &[]).unwrap();
            assert_eq!(depth, limits::JSON_DEPTH_MAX);
        } else {
            assert_eq!(document.state(), before);
        }
    }
}

/// Changes made on a copy of a document by somebody else.
fn foreign(document: &Document, make: impl FnOnce(&mut Transaction<'_>)) -> Vec<Change> {
    let mut copy = document.doc.clone();
    let before = copy.get_heads();
    copy.set_actor(ActorId::random());
    let mut tx = copy.transaction();
    make(&mut tx);
    tx.commit();
    copy.get_changes(&before)
}

/// The danger: who lowers a limit can neither read nor correct what came in before.
#[test]
fn what_came_in_under_larger_limits_stays_and_no_more_comes() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
    let large = foreign(&document, |tx| {
        let deep = tx.put_object(ROOT, "long key", ObjType::Map).unwrap();
        let deeper = tx.put_object(&deep, "in", ObjType::Map).unwrap();
        tx.put(&deeper, "text", "x".repeat(300)).unwrap();
    });
    document.receive(large).unwrap();
    document.hold_to(&JsonLimits {
        depth_max: 1,
        key_bytes_max: 6,
        document_bytes_max: 200,
        ..JsonLimits::default()
    });
    let (_, deep) = document.doc.get(ROOT, "long key").unwrap().unwrap();
    let before = document.state();
    let key = foreign(&document, |tx| tx.put(&deep, "seven77", 1).unwrap());
    let refused = document.receive(key).unwrap().refused;
    assert_eq!(refused, Some(DocumentError::Json(JsonError::KeyTooLong)));
    let nested = foreign(&document, |tx| drop(tx.put_object(&deep, "more", ObjType::Map).unwrap()));
    assert_eq!(document.receive(nested).unwrap().refused, Some(DocumentError::TooDeep));
    let more = foreign(&document, |tx| tx.put(&deep, "more", 1).unwrap());
    assert_eq!(document.receive(more).unwrap().refused, Some(DocumentError::TooLarge));
    assert_eq!(document.state(), before);

    let shrink = foreign(&document, |tx| tx.delete(&deep, "in").unwrap());
    assert_eq!(document.receive(shrink).unwrap().changes.len(), 1);
    let again = Document::load(policy, Some(&document.save()), &[]).unwrap();
    assert_eq!(again.json(), document.json());
    let old_key = foreign(&document, |tx| tx.put(ROOT, "long key", 2).unwrap());
    assert_eq!(document.receive(old_key).unwrap().changes.len(), 1);
    assert_eq!(document.json().to_string(), r#"{"long key":2}"#);
}

#[test]
fn a_key_that_harms_javascript_clients_is_refused_from_automerge_clients_too() {
    let policy = Arc::new(Policy::default());
    let mut document = document(&policy, &Json::from(crate::json::Object::new()), 1);
    let mut copy = document.doc.clone();
    let mut tx = copy.transaction();
    tx.put(ROOT, "__proto__", 1).unwrap();
    tx.commit();
    let refused = document.receive(copy.get_changes(&[])).unwrap().refused;
    assert!(matches!(refused, Some(DocumentError::Json(_))), "{refused:?}");
}
