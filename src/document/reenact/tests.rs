//! A change made again is the change, whatever is in it; and where it is not, nothing of it is
//! left.

use std::sync::Arc;

use automerge::marks::{ExpandMark, Mark};
use automerge::{ObjType, ScalarValue};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::document::probe::{self, NOTE, check, raw_edit};
use crate::document::{Document, Policy};
use crate::json::{Json, arbitrary};

/// A document with something of everything.
fn furnished() -> (Automerge, [ObjId; 3]) {
    let mut doc = Automerge::new().with_actor(ActorId::from([1]));
    let mut tx = doc.transaction();
    let map = tx.put_object(ROOT, "map", ObjType::Map).unwrap();
    let list = tx.put_object(ROOT, "list", ObjType::List).unwrap();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.put(&map, "key", "value").unwrap();
    tx.put(&map, "count", ScalarValue::counter(3)).unwrap();
    for index in 0..5 {
        tx.insert(&list, index, i64::try_from(index).unwrap()).unwrap();
    }
    tx.splice_text(&text, 0, 0, "some words").unwrap();
    tx.commit();
    let mut tx = doc.transaction();
    tx.put(&list, 3, "set").unwrap();
    tx.commit();
    (doc, [map, list, text])
}

type Edit = fn(&mut Transaction<'_>, &[ObjId; 3]);

/// Edits that a client makes, each in one change.
const EDITS: [(&str, Edit); 13] = [
    ("put", |tx, [map, ..]| tx.put(map, "key", "other").unwrap()),
    ("put anew", |tx, [map, ..]| tx.put(map, "new", 1).unwrap()),
    ("delete", |tx, [map, ..]| tx.delete(map, "key").unwrap()),
    ("increment", |tx, [map, ..]| tx.increment(map, "count", -2).unwrap()),
    ("set", |tx, [_, list, _]| tx.put(list, 2, "two").unwrap()),
    ("set again", |tx, [_, list, _]| tx.put(list, 3, "three").unwrap()),
    ("insert first", |tx, [_, list, _]| tx.insert(list, 0, "first").unwrap()),
    ("insert last", |tx, [_, list, _]| tx.insert(list, 5, ScalarValue::Null).unwrap()),
    ("remove", |tx, [_, list, _]| tx.delete(list, 4).unwrap()),
    ("type", |tx, [.., text]| tx.splice_text(text, 4, 0, "thing ö").unwrap()),
    ("type over", |tx, [.., text]| tx.splice_text(text, 2, 5, "xyz").unwrap()),
    ("nest", |tx, [map, list, _]| {
        let inner = tx.put_object(map, "key", ObjType::Map).unwrap();
        let deep = tx.insert_object(list, 1, ObjType::List).unwrap();
        tx.put(&inner, "a", 1).unwrap();
        tx.insert(&deep, 0, 2).unwrap();
        tx.delete(list, 2).unwrap();
        let text = tx.put_object(&inner, "t", ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, "letters").unwrap();
    }),
    ("all at once", |tx, [map, list, text]| {
        tx.put(ROOT, "x", 0.5).unwrap();
        tx.increment(map, "count", 1).unwrap();
        tx.delete(list, 0).unwrap();
        tx.splice_text(text, 10, 0, "!").unwrap();
    }),
];

fn edited(doc: &Automerge, actor: u8, edit: impl FnOnce(&mut Transaction<'_>)) -> Change {
    let mut copy = doc.clone();
    copy.set_actor(ActorId::from([actor]));
    let mut tx = copy.transaction();
    edit(&mut tx);
    let options = CommitOptions::default().with_time(7).with_message("a note");
    let (hash, _) = tx.commit_with(options);
    copy.get_change_by_hash(&hash.unwrap()).unwrap()
}

fn received(doc: &Automerge, change: &Change) -> Automerge {
    let mut doc = doc.clone();
    doc.apply_changes([change.clone()]).unwrap();
    doc
}

#[test]
fn every_edit_of_a_client_is_made_again() {
    let (mut doc, objects) = furnished();
    // The second time round each actor has a last change of his own, some of which are no heads.
    for round in 0..2 {
        for (actor, (name, edit)) in (10..).zip(EDITS) {
            let (mut doc, objects) =
                if round == 0 { furnished() } else { (doc.clone(), objects.clone()) };
            let change = edited(&doc, actor, |tx| edit(tx, &objects));
            assert!(is_next(&doc, &change), "{name}");
            let plain = received(&doc, &change);
            let writer = doc.get_actor().clone();
            assert!(matches!(reenact(&mut doc, &change), Reenacted::Done(_)), "{name}");
            assert_eq!(doc.save(), plain.save(), "{name}");
            assert_eq!(doc.get_actor(), &writer);
        }
        for actor in 10..14 {
            let change = edited(&doc, actor, |tx| tx.put(ROOT, "n", i64::from(actor)).unwrap());
            doc = received(&doc, &change);
        }
    }
    drop(objects);
}

#[test]
fn what_was_made_on_another_state_is_not_made_again() {
    let (doc, _) = furnished();
    let put = |value: i64| move |tx: &mut Transaction<'_>| tx.put(ROOT, "key", value).unwrap();
    let (first, second) = (edited(&doc, 2, put(1)), edited(&doc, 3, put(2)));
    let after = received(&doc, &first);
    assert!(is_next(&doc, &second));
    assert!(!is_next(&after, &second));
    assert!(!is_next(&after, &first));
}

#[test]
fn what_has_no_call_of_its_own_leaves_the_document_as_it_was() {
    let (mut doc, [_, _, text]) = furnished();
    let saved = doc.save();
    let marked = edited(&doc, 2, |tx| {
        tx.put(ROOT, "before", true).unwrap();
        tx.mark(&text, Mark::new("bold".into(), true, 1, 4), ExpandMark::Both).unwrap();
    });
    assert!(is_next(&doc, &marked));
    assert!(matches!(reenact(&mut doc, &marked), Reenacted::Left));
    assert_eq!(doc.save(), saved);
    assert_eq!(received(&doc, &marked).save(), {
        let mut fresh = Automerge::load(&saved).unwrap();
        fresh.apply_changes([marked]).unwrap();
        fresh.save()
    });
}

#[test]
fn a_change_that_no_client_makes_is_received_in_the_end() {
    let mut document = probe::document(
        &Policy::default().into(),
        &Json::Object([].into_iter().collect()),
        &[1; 16],
    );
    let base = document.doc.clone();
    // Two operations on one key, of which the second does not name the first.
    let honest = edited(&base, 2, |tx| {
        tx.put(ROOT, "key", 1).unwrap();
        tx.put(ROOT, "key", 2).unwrap();
    });
    let mut odd = honest.decode();
    odd.operations[1].pred = odd.operations[0].pred.clone();
    odd.hash = None;
    let odd = Change::from(odd);
    assert_ne!(odd.hash(), honest.hash());
    let plain = received(&base, &odd);
    let taken = document.receive(vec![odd]).unwrap();
    assert_eq!((taken.changes.len(), taken.refused), (1, None));
    assert_eq!(document.doc.save(), plain.save());
    assert!(document.pause > 0);
    check(&document, &Json::Object([].into_iter().collect()));
}

/// Edits of one list and one text, in whatever order, with counters among the elements.
fn busy(tx: &mut Transaction<'_>, [map, list, text]: &[ObjId; 3], edits: &[(u8, Index)]) {
    for (kind, place) in edits {
        let at = place.index(tx.length(list) + 1);
        let element = place.index(tx.length(list).max(1));
        let letter = place.index(tx.length(text).max(1));
        let done = match kind % 9 {
            0 => tx.insert(list, at, i64::from(*kind)),
            1 => tx.insert(list, at, ScalarValue::counter(100)),
            2 => tx.increment(list, element, 2),
            3 => tx.delete(list, element),
            4 => tx.put(list, element, i64::from(*kind)),
            5 => tx.splice_text(text, letter, 0, "ab"),
            6 => tx.splice_text(text, letter, 1, ""),
            7 => tx.insert_object(list, at, ObjType::List).map(|_id| ()),
            _ => tx.put(map, "key", i64::from(*kind)),
        };
        // Some of it cannot be, such as to count on what is no counter.
        drop(done);
    }
}

proptest! {
    #[test]
    fn a_change_of_many_edits_is_followed_wherever_they_are(
        changes in prop::collection::vec(
            prop::collection::vec((any::<u8>(), any::<Index>()), 1..8), 1..6,
        ),
    ) {
        let (mut plain, objects) = furnished();
        let mut document = Document::load(Arc::default(), Some(&plain.save()), &[]).unwrap();
        document.sign_as(&[1; 16]);
        for (actor, edits) in (10..).zip(&changes) {
            let mut copy = plain.clone();
            copy.set_actor(ActorId::from([actor % 12]));
            let mut tx = copy.transaction();
            busy(&mut tx, &objects, edits);
            let Some(hash) = tx.commit().0 else { continue };
            let change = copy.get_change_by_hash(&hash).unwrap();
            plain.apply_changes([change.clone()]).unwrap();
            let before = document.json();
            document.receive(vec![change]).unwrap();
            check(&document, &before);
            prop_assert_eq!(document.doc.save(), plain.save());
        }
    }

    #[test]
    fn a_document_that_follows_one_writer_is_as_if_it_had_received_him(
        initial in arbitrary::json(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>(), 0_u8..3), 1..16),
    ) {
        let policy = Policy::default().into();
        let mut document = probe::document(&policy, &initial, &[1; 16]);
        let mut plain = document.doc.clone();
        for (place, kind, actor) in edits {
            let before = document.json();
            let heads = document.doc.get_heads();
            raw_edit(&mut document, &[200, actor], &|choices| place.index(choices), kind);
            plain.apply_changes(document.doc.get_changes(&heads)).unwrap();
            check(&document, &before);
            prop_assert_eq!(document.doc.save(), plain.save());
        }
        let version = document.state();
        document.write(&version, &Json::Null, None, NOTE).unwrap();
        let again = Document::load(policy, Some(&document.save()), &[]).unwrap();
        prop_assert_eq!(again.state(), document.state());
    }
}
