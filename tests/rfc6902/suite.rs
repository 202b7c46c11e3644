//! The records of the vendored suite, whoever runs them.

use serde_json::Value;

/// One enabled record.
pub(crate) struct Case {
    /// File, position and comment.
    pub(crate) name: String,
    pub(crate) doc: Value,
    pub(crate) patch: Value,
    pub(crate) outcome: Outcome,
}

/// What the record demands.
pub(crate) enum Outcome {
    /// The patch applies, and gives this.
    Expected(Value),
    /// The patch applies.
    Applies,
    /// The patch is refused.
    Error,
}

/// The enabled records of the release that the suite's users share: 91.
pub(crate) fn released() -> Vec<Case> {
    let mut cases = cases("tests", include_str!("../conformance/json-patch-tests/tests.json"));
    let spec = include_str!("../conformance/json-patch-tests/spec_tests.json");
    cases.extend(self::cases("spec_tests", spec));
    cases
}

/// The enabled records of `tests.json` as it is upstream today: 92, most of them as released.
pub(crate) fn upstream() -> Vec<Case> {
    cases("upstream", include_str!("../conformance/json-patch-tests/upstream_tests.json"))
}

fn cases(file: &str, text: &str) -> Vec<Case> {
    let Ok(Value::Array(records)) = serde_json::from_str(text) else {
        panic!("{file} is no list of records");
    };
    let enabled = |record: &Value| record.get("disabled") != Some(&Value::Bool(true));
    let records = records.into_iter().enumerate().filter(|(_, record)| enabled(record));
    records.map(|(index, record)| case(&format!("{file} {index}"), record)).collect()
}

fn case(place: &str, mut record: Value) -> Case {
    let mut member = |name: &str| record.get_mut(name).map(Value::take);
    let comment = member("comment").unwrap_or_default();
    let outcome = match (member("expected"), member("error")) {
        (Some(expected), None) => Outcome::Expected(expected),
        (None, Some(_)) => Outcome::Error,
        (None, None) => Outcome::Applies,
        (Some(_), Some(_)) => panic!("{place} demands two things"),
    };
    let (Some(doc), Some(patch)) = (member("doc"), member("patch")) else {
        panic!("{place} is incomplete");
    };
    Case { name: format!("{place}: {comment}"), doc, patch, outcome }
}
