//! The deterministic first change of a store.
//!
//! Two replicas that each create the same list hide one of the lists when they merge. So the
//! initial state of a store is one change that is the same wherever it is made: time 0, number 1,
//! and an actor that is the hash of all it depends on. Another initial state is another actor,
//! never the same actor and number with other bytes.

use std::sync::Arc;

use automerge::{Change, ChangeHash};
use sha2::{Digest as _, Sha256};

use super::{Document, DocumentError, Note, Policy, Strings};
use crate::ids::{Millis, StoreName};
use crate::json::Json;

/// What a genesis says of itself in its change.
const MESSAGE: &str = "statehouse genesis";

/// The heads before the first commit of a store, given the changes of that commit: those of the
/// genesis, if it carries one.
pub fn genesis_heads(changes: &[Vec<u8>]) -> Vec<ChangeHash> {
    let first = changes.first().and_then(|bytes| Change::from_bytes(bytes.clone()).ok());
    first
        .filter(|change| change.message() == Some(MESSAGE))
        .map_or_else(Vec::new, |genesis| vec![genesis.hash()])
}

/// Whether a change says that it is a genesis and does something. The log takes what stands first
/// at its word, so only the store itself may say so.
pub(super) fn claims_to_be(change: &Change) -> bool {
    change.message() == Some(MESSAGE) && !change.is_empty()
}

/// The genesis of a store, encoded; none if its initial state is the empty object.
pub fn genesis(
    store: &StoreName,
    initial: &Json,
    policy: &Arc<Policy>,
) -> Result<Option<Vec<u8>>, DocumentError> {
    let actor = actor(store, initial, policy);
    let mut document = Document::load(Arc::clone(policy), None, &[])?;
    document.sign_as(&actor);
    let nothing = document.state();
    let note = Note { time: Millis(0), message: Some(MESSAGE) };
    Ok(document.write(&nothing, initial, None, note)?.change.map(|(_, bytes)| bytes))
}

/// Begins a document that has no genesis, because its initial state is the empty object: by one
/// change that changes nothing and is the same wherever it is made. Clients of automerge-repo take
/// a document without changes for none at all.
pub fn begin(
    document: &mut Document,
    store: &StoreName,
    initial: &Json,
) -> Result<Vec<u8>, DocumentError> {
    let actor = actor(store, initial, &document.policy);
    let note = Note { time: Millis(0), message: Some(MESSAGE) };
    document.write_nothing(&actor, note).ok_or(DocumentError::Diverged)
}

fn actor(store: &StoreName, initial: &Json, policy: &Policy) -> Vec<u8> {
    let strings = match policy.strings {
        Strings::Scalar => "scalar",
        Strings::Text => "text",
    };
    let text: Vec<String> = policy.text.iter().map(ToString::to_string).collect();
    let mut hash = Sha256::new();
    for part in ["statehouse genesis 1", store.as_str(), &initial.to_string(), strings] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    for pattern in text {
        hash.update([0]);
        hash.update(pattern);
    }
    hash.finalize().iter().copied().take(16).collect()
}
