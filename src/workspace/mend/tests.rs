//! What is put back of a change, and what is not.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::json::arbitrary;
use crate::workspace::JsonSchema;
use crate::workspace::tests::gates::schemas;

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn gate(schema: &str) -> Arc<dyn Gate> {
    Arc::new(JsonSchema::compile(&json(schema)).unwrap())
}

/// What is left of a change.
fn left(schema: &str, before: &Json, after: &Json) -> Json {
    let gate = gate(schema);
    let broken = new_breaches(&*gate, before, after);
    assert!(!broken.is_empty(), "nothing is broken");
    mended(&*gate, before, after, broken, &Identity::default())
}

proptest! {
    #[test]
    fn what_is_mended_breaks_nothing_anew(
        schema in schemas(), (before, after) in arbitrary::pair(),
    ) {
        let gate = gate(&schema);
        let broken = new_breaches(&*gate, &before, &after);
        if broken.is_empty() {
            return Ok(());
        }
        let state = mended(&*gate, &before, &after, broken, &Identity::default());
        prop_assert_eq!(new_breaches(&*gate, &before, &state), Vec::new());
        // Whoever mends the same change does the same.
        let broken = new_breaches(&*gate, &before, &after);
        prop_assert_eq!(mended(&*gate, &before, &after, broken, &Identity::default()), state);
    }

    /// What has nothing to do with the breach stays, whatever it is.
    #[test]
    fn what_is_beside_it_stays(before in arbitrary::json(), after in arbitrary::json()) {
        let schema = r#"{"properties":{"n":{"type":"integer"}}}"#;
        let both = |beside: Json, n: Json| -> Json {
            Json::Object([("beside".into(), beside), ("n".into(), n)].into_iter().collect())
        };
        let from = both(before, Json::Int(1));
        let state = left(schema, &from, &both(after.clone(), "no".into()));
        prop_assert_eq!(state, both(after, Json::Int(1)));
    }
}

#[test]
fn only_the_parts_at_fault_are_put_back() {
    let cases = [
        // An element that changed, beside one that was added in front of it.
        (
            r#"{"properties":{"l":{"items":{"properties":{"n":{"minimum":0}}}}}}"#,
            r#"{"l":[{"id":1,"n":1},{"id":2,"n":2}]}"#,
            r#"{"l":[{"id":3,"n":3},{"id":1,"n":-1},{"id":2,"n":5}]}"#,
            r#"{"l":[{"id":3,"n":3},{"id":1,"n":1},{"id":2,"n":5}]}"#,
        ),
        // An element that was added goes as a whole.
        (
            r#"{"properties":{"l":{"items":{"properties":{"n":{"minimum":0}}}}}}"#,
            r#"{"l":[{"id":1,"n":1}]}"#,
            r#"{"l":[{"id":1,"n":2},{"id":2,"n":-2},{"id":3,"n":3}]}"#,
            r#"{"l":[{"id":1,"n":2},{"id":3,"n":3}]}"#,
        ),
        // A member that must be there comes back, and the others stay as they are.
        (r#"{"required":["a"]}"#, r#"{"a":1,"b":1}"#, r#"{"b":2,"c":3}"#, r#"{"a":1,"b":2,"c":3}"#),
        (
            r#"{"properties":{"a":true},"additionalProperties":false}"#,
            r#"{"a":1}"#,
            r#"{"a":2,"x":1,"y":2}"#,
            r#"{"a":2}"#,
        ),
        // Where the place alone does not help, what holds it does.
        (
            r#"{"properties":{"p":{"dependentRequired":{"b":["a"]}}}}"#,
            r#"{"p":{"c":1},"q":1}"#,
            r#"{"p":{"b":1,"c":2},"q":2}"#,
            r#"{"p":{"c":1},"q":2}"#,
        ),
        // Elements that were taken out come back with their array.
        (
            r#"{"properties":{"l":{"minItems":2}}}"#,
            r#"{"l":[1,2,3],"q":1}"#,
            r#"{"l":[9],"q":2}"#,
            r#"{"l":[1,2,3],"q":2}"#,
        ),
    ];
    for (schema, before, after, expected) in cases {
        assert_eq!(left(schema, &json(before), &json(after)), json(expected), "{schema} {after}");
    }
}

#[test]
fn what_was_broken_before_stays_as_it_is() {
    let schema = r#"{"additionalProperties":{"type":"integer"}}"#;
    let state = left(schema, &json(r#"{"old":"x","a":1}"#), &json(r#"{"old":"y","a":"z","b":2}"#));
    assert_eq!(state, json(r#"{"old":"y","a":1,"b":2}"#));
}

#[test]
fn a_breach_that_was_there_is_not_new_where_it_is_moved_to() {
    let gate = gate(r#"{"properties":{"l":{"items":{"type":"string"}}}}"#);
    let new = |before: &str, after: &str| {
        let broken = new_breaches(&*gate, &json(before), &json(after));
        broken.iter().map(|breach| breach.place.to_string()).collect::<Vec<_>>()
    };
    let before = r#"{"l":["a",1]}"#;
    assert_eq!(new(before, r#"{"l":["b","a",1]}"#), Vec::<String>::new());
    assert_eq!(new(before, r#"{"l":[1]}"#), Vec::<String>::new());
    assert_eq!(new(before, r#"{"l":["a",1,2]}"#), ["/l/2"]);
    // Which of the two is the one that was there, nobody can tell; what has not changed stays.
    assert_eq!(new(before, r#"{"l":[2,"a",1]}"#), ["/l/0", "/l/2"]);
    let identity = Identity::default();
    let after = json(r#"{"l":[2,"a",1]}"#);
    let broken = new_breaches(&*gate, &json(before), &after);
    assert_eq!(mended(&*gate, &json(before), &after, broken, &identity), json(before));
}
