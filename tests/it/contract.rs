//! What `docs/openapi.json` says of an answer, and `docs/messages.schema.json` of a message: every
//! test that asks over HTTP, or listens to a socket, holds it to that.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::api::Answer;

static DESCRIBED: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap());

/// A validator for each schema that has a name.
static NAMED: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let components = &DESCRIBED["components"];
    let names = components["schemas"].as_object().unwrap().keys();
    let validator = |name: &String| {
        let reference = format!("#/components/schemas/{name}");
        let schema = json!({"$ref": reference, "components": components});
        (format!("#/components/schemas/{name}"), jsonschema::draft202012::new(&schema).unwrap())
    };
    names.map(validator).collect()
});

/// A validator of all that is heard over a JSON socket.
static HEARD: LazyLock<Validator> = LazyLock::new(|| {
    let schema = include_str!("../../docs/messages.schema.json");
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    schema["anyOf"] = json!([{"$ref": "#/$defs/ServerMessage"}]);
    jsonschema::draft202012::new(&schema).unwrap()
});

/// Holds that this is a message that a client may hear.
pub(crate) fn is_heard(message: &Value) {
    assert!(HEARD.is_valid(message), "no schema has this message: {message}");
}

/// Holds that the description has this answer to a request, if it has the request at all.
pub(crate) fn holds(method: &str, path: &str, answer: &Answer) {
    let method = if method == "HEAD" { "get" } else { &method.to_lowercase() };
    let Some(responses) = responses(path, method) else {
        assert!(matches!(answer.status, 204 | 403 | 404 | 405), "{method} {path}: {answer:?}");
        return;
    };
    let described = &responses[answer.status.to_string()];
    assert!(described.is_object(), "{method} {path}: {} is not described", answer.status);
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        let required = header["required"].as_bool().unwrap();
        let is_there = answer.header(name).is_some();
        assert!(is_there || !required, "{method} {path}: {} without {name}", answer.status);
    }
    if answer.bytes.is_empty() {
        return;
    }
    let kind = answer.header("content-type").unwrap_or_default();
    let content = &described["content"][kind];
    assert!(content.is_object(), "{method} {path}: {} as {kind:?}", answer.status);
    let name = content["schema"]["$ref"].as_str();
    if let Some(name) = name {
        let validator = NAMED.get(name).unwrap_or_else(|| panic!("no schema is named {name}"));
        let body = answer.json();
        let wrong: Vec<_> = validator.iter_errors(&body).map(|it| it.to_string()).collect();
        assert!(wrong.is_empty(), "{method} {path}: {wrong:?} in {body}");
    }
}

fn responses(path: &str, method: &str) -> Option<&'static Value> {
    let path = path.split('?').next()?;
    let fits = |template: &str| {
        let (mut one, mut other) = (template.split('/'), path.split('/'));
        loop {
            match (one.next(), other.next()) {
                (None, None) => return true,
                (Some(named), Some(segment)) if named.starts_with('{') || named == segment => {}
                _ => return false,
            }
        }
    };
    let all = DESCRIBED["paths"].as_object().unwrap();
    let (_, operations) = all.iter().find(|(template, _)| fits(template))?;
    operations.get(method).map(|operation| &operation["responses"])
}
