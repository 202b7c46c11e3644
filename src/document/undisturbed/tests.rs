//! An edit that is laid over the newest state is the edit that Automerge would merge.

use std::sync::Arc;

use automerge::transaction::Transactable as _;
use automerge::{ActorId, PatchLog, ROOT, ReadDoc as _};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::is_undisturbed;
use crate::document::probe::{self, NOTE, check, raw_edit};
use crate::document::{Document, LENIENT, Policy, State, projection, sharing};
use crate::json::{Json, JsonLimits, JsonPatch, arbitrary};

fn of(value: &serde_json::Value) -> Json {
    Json::parse(value.to_string(), &JsonLimits::default()).unwrap()
}

/// What goes on in a document before a stale client speaks.
#[derive(Debug, Clone)]
enum Step {
    Json {
        place: Index,
        kind: u8,
        value: Json,
    },
    Raw {
        place: Index,
        kind: u8,
    },
    /// Two edits by Automerge's own means that are received in one message.
    Both {
        places: [Index; 2],
        kinds: [u8; 2],
    },
}

fn step() -> impl Strategy<Value = Step> {
    let json = (any::<Index>(), any::<u8>(), arbitrary::json());
    let both = (any::<[Index; 2]>(), any::<[u8; 2]>());
    prop_oneof![
        3 => json.prop_map(|(place, kind, value)| Step::Json { place, kind, value }),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(place, kind)| Step::Raw { place, kind }),
        1 => both.prop_map(|(places, kinds)| Step::Both { places, kinds }),
    ]
}

/// Always the same document and states for the same steps.
fn after(policy: &Arc<Policy>, initial: &Json, steps: &[Step]) -> (Document, Vec<State>) {
    let mut document = probe::document(policy, initial, &[1; 16]);
    let mut states = vec![document.state()];
    for (number, step) in (0_u8..).zip(steps) {
        match step {
            Step::Json { place, kind, value } => {
                let base = document.state();
                let mut next = base.json();
                arbitrary::edit(&mut next, *place, *kind, value.clone());
                document.write(&base, &next, None, NOTE).unwrap();
            }
            Step::Raw { place, kind } => {
                raw_edit(&mut document, &[200, number], &|choices| place.index(choices), *kind);
            }
            Step::Both { places, kinds } => {
                let mut elsewhere = probe::load(policy, Some(&document.save()), &[]).unwrap();
                for (place, kind) in places.iter().zip(kinds) {
                    let actor = [220, number];
                    raw_edit(&mut elsewhere, &actor, &|choices| place.index(choices), *kind);
                }
                document.receive(probe::news(&elsewhere, &document)).unwrap();
            }
        }
        states.push(document.state());
    }
    (document, states)
}

/// Writes as [`Document::write`] does, but lets Automerge merge.
fn merge(document: &mut Document, base: &State, next: &Json) {
    let root = projection::wrap_reserved(&base.root, next).unwrap();
    let entries = projection::entries(&base.root, &root, None, &document.policy);
    document.write_aside(base, &entries, NOTE, LENIENT).unwrap();
}

/// Whether an edit of the first of these states is laid over the last.
fn is_laid(states: [&serde_json::Value; 2], edit: &serde_json::Value) -> bool {
    let policy = Arc::default();
    let mut document = probe::document(&policy, &of(states[0]), &[1; 16]);
    let base = document.state();
    // As a patch makes it: what it does not touch is shared.
    let elsewhere = sharing(&base.root, of(states[1]));
    document.write(&base, &elsewhere, None, NOTE).unwrap();
    let next = of(edit);
    let entries = projection::entries(&base.root, &next, None, &policy);
    let laid = is_undisturbed(&document.doc, &base, &document.root, &entries);
    document.write(&base, &next, None, NOTE).unwrap();
    check(&document, &base.json());
    laid
}

#[test]
fn an_edit_is_laid_over_what_others_did_elsewhere() {
    let base = json!({"a": 1, "list": [1, 2, {"x": 1}], "inner": {"p": 1, "q": {"r": true}}});
    let with = |pointer: &str, value: serde_json::Value| {
        let mut next = base.clone();
        *next.pointer_mut(pointer).unwrap() = value;
        next
    };
    let elsewhere = with("/a", json!(2));
    for edit in [
        with("/inner/p", json!("other")),
        with("/inner/q/r", json!([1, {"deep": null}])),
        with("/list", json!([0, 1, {"x": 2}])),
        with("/list/2/x", json!(2)),
        with("/inner", json!(null)),
        json!({"a": 1, "list": [1, 2, {"x": 1}], "new": []}),
    ] {
        assert!(is_laid([&base, &elsewhere], &edit), "{edit}");
    }
    for (other, edit) in [
        ("/a", with("/a", json!(3))),
        ("/list/0", with("/list/1", json!(3))),
        ("/inner/q/r", with("/inner/q", json!(3))),
        ("/inner/p", json!({"a": 1, "list": [1, 2, {"x": 1}]})),
    ] {
        let elsewhere = with(other, json!("other"));
        assert!(!is_laid([&base, &elsewhere], &edit), "{other} {edit}");
    }
}

#[test]
fn what_the_trees_do_not_show_is_looked_up() {
    // A value that came second to another is there again when that one is taken away.
    let policy = Arc::default();
    let initial = of(&json!({"key": 0, "other": 0}));
    let mut document = probe::document(&policy, &initial, &[1; 16]);
    let base = document.state();
    document.write(&base, &of(&json!({"key": 2, "other": 0})), None, NOTE).unwrap();
    let seen = document.state();
    let mut elsewhere = document.doc.clone();
    elsewhere.set_actor(ActorId::from([0]));
    let mut tx = elsewhere.transaction_at(PatchLog::null(), &base.heads).unwrap();
    tx.put(ROOT, "key", 1).unwrap();
    let hash = tx.commit().0.unwrap();
    // It has the lower number of its kind, so it does not show.
    let mut late = elsewhere.get_change_by_hash(&hash).unwrap().decode();
    late.start_op = std::num::NonZeroU64::new(late.start_op.get() - 1).unwrap();
    late.hash = None;
    document.receive(vec![late.into()]).unwrap();
    assert_eq!(document.json(), seen.json());
    document.write(&seen, &of(&json!({"other": 0})), None, NOTE).unwrap();
    assert_eq!(document.json(), of(&json!({"key": 1, "other": 0})));
    check(&document, &seen.json());
}

#[test]
fn a_list_that_was_copied_elsewhere_and_back_is_another() {
    let mut document = probe::document(&Arc::default(), &of(&json!({"list": [1, 2, 1]})), &[1; 16]);
    let patched = |document: &mut Document, patch: &str| {
        let base = document.state();
        let patch: JsonPatch = serde_json::from_str(patch).unwrap();
        let next = patch.apply(&base.json(), &JsonLimits::default()).unwrap();
        document.write(&base, &next.json, next.explicit.as_ref(), NOTE).unwrap();
    };
    patched(&mut document, r#"[{"op":"copy","from":"/list","path":"/saved"}]"#);
    let stale = document.state();
    patched(&mut document, r#"[{"op":"remove","path":"/list/0"}]"#);
    patched(&mut document, r#"[{"op":"remove","path":"/list/0"}]"#);
    patched(&mut document, r#"[{"op":"copy","from":"/saved","path":"/list"}]"#);
    let before = document.json();
    let patch: JsonPatch = serde_json::from_str(r#"[{"op":"remove","path":"/list/2"}]"#).unwrap();
    let next = patch.apply(&stale.json(), &JsonLimits::default()).unwrap();
    document.write(&stale, &next.json, next.explicit.as_ref(), NOTE).unwrap();
    check(&document, &before);
}

proptest! {
    #[test]
    fn a_stale_edit_has_one_outcome_whichever_way_it_takes(
        initial in arbitrary::json(),
        steps in prop::collection::vec(step(), 1..6),
        version in any::<Index>(),
        (place, kind, value) in (any::<Index>(), any::<u8>(), arbitrary::json()),
    ) {
        let policy = Arc::default();
        let (mut laid, states) = after(&policy, &initial, &steps);
        let (mut merged, same) = after(&policy, &initial, &steps);
        prop_assert_eq!(&states, &same);
        let base = version.get(&states);
        let mut next = base.json();
        arbitrary::edit(&mut next, place, kind, value);
        let before = laid.json();
        laid.write(base, &next, None, NOTE).unwrap();
        check(&laid, &before);
        if *base != states[states.len() - 1] {
            merge(&mut merged, version.get(&same), &next);
            prop_assert_eq!(laid.save(), merged.save());
            prop_assert_eq!(laid.json(), merged.json());
        }
    }
}
