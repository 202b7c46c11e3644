//! JSON merge patches (RFC 7396).

use super::{Json, Key, Object};

/// The target with a merge patch applied: members of objects are set, `null` removes one, and
/// anything but an object replaces the whole.
#[must_use]
pub fn merge(target: &Json, patch: &Json) -> Json {
    let Json::Object(changes) = patch else {
        return patch.clone();
    };
    let mut members = match target {
        Json::Object(members) => members.clone(),
        _ => Object::new(),
    };
    for (key, change) in changes {
        match change {
            Json::Null => {
                members.remove(key);
            }
            Json::Object(_) => {
                let inner = merge(members.get(key).unwrap_or(&Json::Null), change);
                members.insert(Key::clone(key), inner);
            }
            value => {
                members.insert(Key::clone(key), value.clone());
            }
        }
    }
    Json::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonLimits;

    fn json(text: &str) -> Json {
        Json::parse(text, &JsonLimits::default()).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7396, appendix A.
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (target, patch, result) in cases {
            assert_eq!(merge(&json(target), &json(patch)), json(result), "{target} + {patch}");
        }
    }
}
