//! Foreign changes that are damaged and carry the checksum of what they became: each is refused, or
//! what it makes of the document is there again after it was saved.

use std::sync::OnceLock;

use super::script::Script;
use crate::document::probe::{chunk_contents, damage, everything, message, seal, take_in};

/// Honest changes, in causal order, and a document of all of them.
struct Honest {
    changes: Vec<Vec<u8>>,
    whole: Vec<u8>,
}

fn honest() -> &'static Honest {
    static HONEST: OnceLock<Honest> = OnceLock::new();
    HONEST.get_or_init(|| {
        let mut doc = everything();
        let changes = doc.get_changes(&[]);
        let changes = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
        Honest { changes, whole: doc.document().save_nocompress() }
    })
}

/// The first byte says how the bytes after it are to be taken; the second, how much the document
/// holds before.
pub fn guard(bytes: &[u8]) {
    let Honest { changes, whole } = honest();
    let mut script = Script::new(bytes);
    let way = script.byte();
    let at = script.below(changes.len() + 1);
    let mut before = &changes[..at];
    let sealed = |kind, contents: &[u8]| message(&[seal(kind, contents)]);
    let message = match way % 4 {
        // Contents of a change, of one that is deflated, or of a document.
        0 => sealed(1, script.rest()),
        1 => sealed(way / 4 % 3, script.rest()),
        // An honest change, or document, damaged step by step.
        2 => {
            let chunk = changes.get(at).unwrap_or(whole);
            let kind = u8::from(at < changes.len());
            if kind == 0 {
                before = &[];
            }
            let other = &changes[script.below(changes.len())];
            let mut contents = chunk_contents(chunk).to_vec();
            while !script.is_over() {
                damage(&mut contents, other, &mut |choices| script.below(choices));
            }
            sealed(kind, &contents)
        }
        _ => script.rest().to_vec(),
    };
    let fate = take_in(before, &message);
    assert_eq!(fate.lost, None, "{:?}", fate.refused);
}
