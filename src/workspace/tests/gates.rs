//! Stores with rules: whoever edits them, and whatever is lost on the way, in the end they are
//! kept, and all have the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::client::Kind;
use super::{STORE, World, steps};
use crate::document::DocumentError;
use crate::ids::StoreName;
use crate::json::{Json, Pointer, arbitrary};
use crate::workspace::{Dialect, Gate, JsonSchema, Refusal, StoreConfig, View, Workspace};

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn gate(schema: &str) -> Arc<dyn Gate> {
    Arc::new(JsonSchema::compile(&json(schema)).unwrap())
}

/// Schemas that random edits break now and then.
pub(in crate::workspace) fn schemas() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        r#"{"type":["object","array"]}"#,
        r#"{"type":["object","array","string","number"]}"#,
        r#"{"type":["object","array","null","boolean"]}"#,
        r#"{"maxProperties":3}"#,
        r#"{"maxItems":2}"#,
        r#"{"minItems":1}"#,
        r#"{"uniqueItems":true}"#,
        r#"{"required":["a"]}"#,
        r#"{"not":{"required":["b"]}}"#,
        r#"{"maximum":2}"#,
        r#"{"maxLength":1}"#,
        r#"{"propertyNames":{"maxLength":2}}"#,
        r#"{"dependentRequired":{"b":["a"]}}"#,
        r#"{"properties":{"a":true,"b":true},"additionalProperties":false}"#,
        r#"{"oneOf":[{"required":["a"]},{"required":["b"]},{"not":{"type":"object"}}]}"#,
        r#"{"contains":{"type":"number"}}"#,
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(3, 8, 3, |inner| {
        let both = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|schema| format!(r#"{{"additionalProperties":{schema}}}"#)),
            inner.clone().prop_map(|schema| format!(r#"{{"properties":{{"a":{schema}}}}}"#)),
            inner.prop_map(|schema| format!(r#"{{"items":{schema}}}"#)),
            both.prop_map(|(one, two)| format!(r#"{{"allOf":[{one},{two}]}}"#)),
        ]
    })
}

fn ruled(initial: Json, schema: &str) -> StoreConfig {
    let name: StoreName = STORE.parse().unwrap();
    StoreConfig { initial, gate: Some(gate(schema)), ..StoreConfig::open(name) }
}

/// A state to begin with that keeps the rules, if one is at hand.
fn fitting(schema: &str, wanted: Json) -> Option<Json> {
    let gate = gate(schema);
    [wanted, json("{}"), json(r#"{"a":{}}"#)]
        .into_iter()
        .find(|json| gate.breaches(json).is_empty())
}

proptest! {
    #[test]
    fn no_edit_of_json_breaks_a_rule(
        schema in schemas(), initial in arbitrary::json(), steps in steps(),
    ) {
        let initial = fitting(&schema, initial);
        prop_assume!(initial.is_some());
        let config = ruled(initial.unwrap(), &schema);
        let gate = config.gate.clone().unwrap();
        let mut world = World::of(config, &[Kind::Ack, Kind::Ack, Kind::Legacy, Kind::Legacy]);
        for step in steps {
            world.step(step);
        }
        world.settle();
        for (seq, state) in &world.log.states {
            prop_assert_eq!(gate.breaches(state), Vec::new(), "at {}", seq);
        }
        let state = &world.log.states[&world.log.newest()];
        for client in &world.clients {
            prop_assert_eq!(&client.state(), state);
        }
    }

    #[test]
    fn what_automerge_clients_break_is_put_back_with_the_next_commit(
        schema in schemas(), initial in arbitrary::json(), steps in steps(),
    ) {
        let initial = fitting(&schema, initial);
        prop_assume!(initial.is_some());
        let config = ruled(initial.unwrap(), &schema);
        let gate = config.gate.clone().unwrap();
        let kinds = [Kind::Ack, Kind::Legacy, Kind::Crdt, Kind::Crdt, Kind::Crdt];
        let mut world = World::of(config, &kinds);
        for step in steps {
            world.step(step);
        }
        world.settle();
        let state = &world.log.states[&world.log.newest()];
        prop_assert_eq!(gate.breaches(state), Vec::new());
        for client in &world.clients {
            prop_assert_eq!(&client.state(), state);
        }
        for commit in &world.log.commits {
            let kept = |seq| gate.breaches(&world.log.states[&seq]).is_empty();
            let by_whom = commit.origin.dialect;
            prop_assert!(kept(commit.seq) || by_whom == Dialect::Crdt, "{:?}", commit.origin);
            if !kept(commit.seq) {
                let next = world.log.commits.iter().find(|next| next.seq == commit.seq.next());
                prop_assert_eq!(next.map(|next| next.origin.dialect), Some(Dialect::Server));
                prop_assert!(kept(commit.seq.next()));
            }
        }
    }
}

#[test]
fn a_schema_that_is_none_is_refused_with_its_place() {
    for (schema, said) in [
        (r#"{"$ref":"https://example.com/a.json"}"#, "refers to itself only"),
        (r#"{"$ref":"file:///etc/passwd"}"#, "refers to itself only"),
        (r#"{"$ref":"b.json"}"#, "refers to itself only"),
        (r#"{"properties":{"a":{"type":"objekt"}}}"#, "/properties/a/type"),
        (r#"{"properties":{"a":{"pattern":"(a"}}}"#, "/properties/a/pattern"),
        // What takes more than linear time.
        (r#"{"pattern":"(?=a)b"}"#, "/pattern"),
        ("7", "7"),
    ] {
        let error = JsonSchema::compile(&json(schema)).unwrap_err().to_string();
        assert!(error.contains(said), "{schema}: {error}");
    }
    let own = r##"{"$defs":{"n":{"minimum":1}},"additionalProperties":{"$ref":"#/$defs/n"}}"##;
    let breaches = gate(own).breaches(&json(r#"{"a":0,"b":1,"c":0}"#));
    let signs: Vec<_> = breaches.iter().map(|breach| breach.place.to_string()).collect();
    assert_eq!(signs, ["/a", "/c"]);
}

#[test]
fn each_member_that_is_missing_or_too_many_is_a_breach_of_its_own() {
    let schema = r#"{"required":["a","b"],"properties":{"a":true,"b":true},
        "additionalProperties":false}"#;
    let parts = |state: &str| {
        let breaches = gate(schema).breaches(&json(state));
        let mut parts: Vec<_> = breaches.iter().map(|breach| breach.part().to_string()).collect();
        parts.sort_unstable();
        parts
    };
    assert_eq!(parts(r#"{"x":1,"y":2}"#), ["/a", "/b", "/x", "/y"]);
    assert_eq!(parts(r#"{"a":1,"x":1}"#), ["/b", "/x"]);
}

#[test]
fn a_breach_repeats_no_value_and_names_no_place_to_who_may_not_see_it() {
    let gate = gate(r#"{"properties":{"secret":{"maxLength":3}}}"#);
    let breach = gate.breaches(&json(r#"{"secret":"hush hush"}"#)).remove(0);
    assert!(!breach.to_string().contains("hush"), "{breach}");
    let refusal = Refusal::Document(DocumentError::Unfit(Box::new(breach)));
    let place = |text: &str| Pointer::parse(text).unwrap();
    let part = View::Parts(vec![place("/mine")]);
    let veiled = Workspace::veiled(refusal.clone(), &part).to_string();
    assert!(!veiled.contains("secret"), "{veiled}");
    for view in [View::Whole, View::Parts(vec![place("/secret")])] {
        assert_eq!(Workspace::veiled(refusal.clone(), &view), refusal);
    }
}

/// Who sees one of two members is told of the one, and of the other not even that it is there.
#[test]
fn a_breach_of_one_member_names_no_other() {
    let state = json(r#"{"mine":1,"hidden":2}"#);
    for schema in [
        r#"{"additionalProperties":false}"#,
        r#"{"unevaluatedProperties":false}"#,
        r#"{"propertyNames":{"maxLength":1}}"#,
        r#"{"propertyNames":{"enum":["a"]}}"#,
    ] {
        let breaches = gate(schema).breaches(&state);
        assert!(!breaches.is_empty(), "{schema}");
        for breach in breaches {
            let part = View::Parts(vec![Pointer::parse("/mine").unwrap()]);
            let about_mine = breach.part().to_string() != "/hidden";
            let refusal = Refusal::Document(DocumentError::Unfit(Box::new(breach)));
            let said = Workspace::veiled(refusal.clone(), &part).to_string();
            assert!(!said.contains("hidden"), "{said}");
            assert!(!about_mine || !refusal.to_string().contains("hidden"), "{refusal}");
        }
    }
}

/// Configurations are the work of people: one that runs in a circle must not end the process.
#[test]
fn a_schema_that_leads_back_to_itself_ends() {
    for schema in [
        r##"{"$ref":"#"}"##,
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
        r##"{"allOf":[{"$ref":"#"}]}"##,
    ] {
        assert_eq!(gate(schema).breaches(&json(r#"{"a":{}}"#)), Vec::new(), "{schema}");
    }
    let tree = gate(r##"{"type":"object","additionalProperties":{"$ref":"#"}}"##);
    let [breach] = &*tree.breaches(&json(r#"{"a":{"b":{"c":1}}}"#)) else { panic!("not one") };
    assert_eq!(breach.place.to_string(), "/a/b/c");
}
