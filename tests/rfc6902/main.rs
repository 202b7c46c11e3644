//! RFC 6902, by the suite that its implementations share, over plain JSON and through a document.

#![expect(clippy::panic, reason = "a vendored record that cannot be read fails its test")]

mod suite;

use std::sync::Arc;

use statehouse::document::{Document, Note, Policy, Strings, genesis};
use statehouse::ids::Millis;
use statehouse::json::{Applied, Json, JsonLimits, JsonPatch, PatchError};
use suite::{Case, Outcome};

fn apply(patch: &Json, doc: &Json) -> Result<Applied, PatchError> {
    JsonPatch::from_json(patch)?.apply(doc, &JsonLimits::default())
}

/// Applies a patch to a store that holds `doc`, and reads back what was saved.
fn through_a_document(patch: &Json, doc: &Json, strings: Strings) -> Result<Json, String> {
    let wrong = |error: &dyn ToString| error.to_string();
    let policy = Arc::new(Policy { strings, ..Policy::default() });
    let store = "store".parse().map_err(|error| wrong(&error))?;
    let first = genesis(&store, doc, &policy).map_err(|error| wrong(&error))?;
    let changes: Vec<&[u8]> = first.iter().map(Vec::as_slice).collect();
    let load = |checkpoint: Option<&[u8]>, changes: &[&[u8]]| {
        Document::load(Arc::clone(&policy), checkpoint, changes).map_err(|error| wrong(&error))
    };
    let mut document = load(None, &changes)?;
    let base = document.state();
    let applied = apply(patch, &base.json()).map_err(|error| wrong(&error))?;
    let note = Note { time: Millis(0), message: None };
    let written = document.write(&base, &applied.json, applied.explicit.as_ref(), note);
    written.map_err(|error| wrong(&error))?;
    let saved = load(Some(&document.save()), &[])?;
    if saved.state() != document.state() {
        return Err("what was saved reads otherwise".to_owned());
    }
    Ok(saved.json())
}

/// Runs one record through a document; says what is wrong.
fn check_through(case: &Case, strings: Strings) -> Result<(), String> {
    let doc = Json::from(case.doc.clone());
    match (&case.outcome, through_a_document(&Json::from(case.patch.clone()), &doc, strings)) {
        (Outcome::Expected(expected), Ok(json)) => {
            let expected = Json::from(expected.clone());
            if json.same_value(&expected) {
                Ok(())
            } else {
                Err(format!("{json} instead of {expected}"))
            }
        }
        (Outcome::Applies, Ok(_)) | (Outcome::Error, Err(_)) => Ok(()),
        (Outcome::Error, Ok(json)) => Err(format!("{json} instead of an error")),
        (_, Err(error)) => Err(format!("refused: {error}")),
    }
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

fn run(cases: &[Case], check: impl Fn(&Case) -> Result<(), String>) {
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
    run(&cases, check);
}

#[test]
fn all_91_records_hold_through_a_document_and_back() {
    for strings in [Strings::Scalar, Strings::Text] {
        run(&suite::released(), |case| check_through(case, strings));
    }
}

#[test]
fn all_92_records_of_upstream_hold() {
    let cases = suite::upstream();
    assert_eq!(cases.len(), 92);
    run(&cases, check);
}
