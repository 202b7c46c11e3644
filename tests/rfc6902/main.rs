//! RFC 6902, by the suite that its implementations share, over plain JSON.

#![expect(clippy::panic, reason = "a vendored record that cannot be read fails its test")]

mod suite;

use statehouse::json::{Applied, Json, JsonLimits, JsonPatch, PatchError};
use suite::{Case, Outcome};

fn apply(patch: &Json, doc: &Json) -> Result<Applied, PatchError> {
    JsonPatch::from_json(patch)?.apply(doc, &JsonLimits::default())
}

/// Runs one record; says what is wrong.
fn check(case: &Case) -> Result<(), String> {
    let doc = Json::from(case.doc.clone());
    let before = doc.to_string();
    let result = apply(&Json::from(case.patch.clone()), &doc);

    // Both ways to read a patch must agree.
    let read = serde_json::from_value::<JsonPatch>(case.patch.clone());
    let by_text = read.is_ok_and(|p| p.apply(&doc, &JsonLimits::default()).is_ok());
    if by_text != result.is_ok() {
        return Err("the patch as text and as a value differ".to_owned());
    }
    if doc.to_string() != before {
        return Err("the document was changed in place".to_owned());
    }
    match (&case.outcome, result) {
        (Outcome::Expected(expected), Ok(applied)) => {
            let expected = Json::from(expected.clone());
            if applied.json.same_value(&expected) {
                Ok(())
            } else {
                Err(format!("{} instead of {expected}", applied.json))
            }
        }
        (Outcome::Applies, Ok(_)) | (Outcome::Error, Err(_)) => Ok(()),
        (Outcome::Error, Ok(applied)) => Err(format!("{} instead of an error", applied.json)),
        (_, Err(error)) => Err(format!("refused: {error}")),
    }
}

fn run(cases: &[Case]) {
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, check(case).err()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn all_91_records_of_the_release_hold() {
    let cases = suite::released();
    assert_eq!(cases.len(), 91);
    run(&cases);
}

#[test]
fn all_92_records_of_upstream_hold() {
    let cases = suite::upstream();
    assert_eq!(cases.len(), 92);
    run(&cases);
}
