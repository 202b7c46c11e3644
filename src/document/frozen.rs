//! A document at one moment, for whoever has much to read in it and time to do so.

use std::fmt;
use std::sync::Arc;

use automerge::{Automerge, ChangeHash};

use super::{Document, DocumentError, State, guard, knows, projection, sorted};

/// A document as it was when it was asked for. To take one is cheap, and to read in it holds
/// nobody up: the document goes on without it.
#[derive(Clone)]
pub struct Frozen(Arc<Automerge>);

impl Document {
    /// The document as it is now.
    pub fn frozen(&self) -> Frozen {
        Frozen(Arc::new(self.doc.clone()))
    }
}

impl Frozen {
    /// The heads, sorted.
    pub fn heads(&self) -> Vec<ChangeHash> {
        sorted(self.0.get_heads())
    }

    /// The state at some heads. It walks the whole document.
    ///
    /// Errors: [`DocumentError::UnknownHeads`], or what Automerge makes of them.
    pub fn state_at(&self, heads: &[ChangeHash]) -> Result<State, DocumentError> {
        if !knows(&self.0, heads) {
            return Err(DocumentError::UnknownHeads);
        }
        let root = guard::contained(|| projection::read_at(&self.0, heads))?;
        Ok(State { heads: sorted(heads.to_vec()), root })
    }

    /// The document with its whole history, as Automerge saves it.
    ///
    /// Errors: what Automerge makes of a document that it cannot save.
    pub fn save(&self) -> Result<Vec<u8>, DocumentError> {
        guard::contained(|| Ok(self.0.save()))
    }
}

impl PartialEq for Frozen {
    fn eq(&self, other: &Self) -> bool {
        self.heads() == other.heads()
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frozen").field(&self.heads()).finish()
    }
}
