//! The law of the bridge: whatever happens to a document, the JSON beside it is what the document
//! says, and who has the JSON from before can follow.

use std::sync::Arc;

use super::script::Script;
use crate::document::probe::{NOTE, check, document, load, news, raw_edit};
use crate::document::{Document, State};
use crate::json::JsonLimits;

/// Things that happen in one run.
const STEPS_MAX: usize = 64;

/// Two replicas of a document, of which one thing after the other happens to one.
pub fn projection(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let policy = Arc::new(script.policy());
    let initial = script.json();
    if initial.check(&JsonLimits::default()).is_err() {
        return;
    }
    let mut replicas = [1, 2].map(|actor| document(&policy, &initial, &[actor; 16]));
    let mut versions = [vec![replicas[0].state()], vec![replicas[1].state()]];
    for number in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        let number = u8::try_from(number).unwrap();
        let kind = script.byte();
        let replica = usize::from(kind & 1);
        let before = replicas[replica].json();
        match (kind >> 1) % 8 {
            0..3 => write(&mut replicas[replica], &versions[replica], &mut script),
            3..5 => {
                let (place, kind) = (script.place(), script.byte());
                raw_edit(&mut replicas[replica], &[200, number], &place, kind);
            }
            5 | 6 => {
                let news = news(&replicas[1 - replica], &replicas[replica]);
                replicas[replica].receive(news).unwrap();
            }
            _ => {
                let saved = replicas[replica].save();
                let again = load(&policy, Some(&saved), &[]).unwrap();
                assert_eq!(again.state(), replicas[replica].state());
                replicas[replica] = again;
                replicas[replica].sign_as(&[100, number]);
            }
        }
        check(&replicas[replica], &before);
        versions[replica].push(replicas[replica].state());
    }
    for replica in [0, 1] {
        let before = replicas[replica].json();
        let news = news(&replicas[1 - replica], &replicas[replica]);
        replicas[replica].receive(news).unwrap();
        check(&replicas[replica], &before);
    }
    assert_eq!(replicas[0].state(), replicas[1].state());
}

/// A JSON client edits one of the states that it has seen.
pub(super) fn write(document: &mut Document, versions: &[State], script: &mut Script<'_>) {
    let back = script.below(versions.len());
    let base = &versions[versions.len() - 1 - back];
    let mut next = base.json();
    script.edit(&mut next);
    // What the limits forbid is refused before it comes here.
    if next.check(&JsonLimits::default()).is_err() {
        return;
    }
    let at_once = base.heads() == document.heads();
    // An object with the reserved key is the one thing that is refused.
    let written = document.write(base, &next, None, NOTE);
    assert!(written.is_err() || !at_once || document.json() == next);
}
