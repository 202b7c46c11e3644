//! The Automerge sync exchange of one session with one store.

use automerge::ChangeHash;
use automerge::sync::{State, SyncDoc as _};

use super::{Document, DocumentError, guard};
use crate::limits;

/// What one session is known to have of one document. It starts anew with every connection:
/// messages that a cut lost would otherwise be counted as received, and the dialogue would hang.
#[derive(Debug, Default)]
pub struct SyncSession {
    state: State,
    /// The heads of both sides when the last message had been taken.
    stand: (Vec<ChangeHash>, Vec<ChangeHash>),
    /// Messages in a row that changed neither.
    idle_rounds: u32,
}

impl SyncSession {
    /// A dialogue in which nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message, and returns the changes that were new, encoded, in causal order.
    pub fn receive(
        &mut self,
        document: &mut Document,
        message: &[u8],
    ) -> Result<Vec<Vec<u8>>, DocumentError> {
        let (message, changes) = guard::open_message(message)?;
        let their_heads = message.heads.clone();
        let new = if changes.is_empty() {
            guard::contained(|| {
                Ok(document.doc.receive_sync_message(&mut self.state, message)?)
            })?;
            Vec::new()
        } else {
            let mut state = self.state.clone();
            let new = document
                .receive_and(changes, |doc| Ok(doc.receive_sync_message(&mut state, message)?))?;
            self.state = state;
            new
        };
        self.note_progress((document.heads(), their_heads))?;
        Ok(new)
    }

    /// The next message to send; `None` when there is nothing to say, or the last message has not
    /// been answered yet.
    pub fn generate(&mut self, document: &Document) -> Option<Vec<u8>> {
        document.doc.generate_sync_message(&mut self.state).map(automerge::sync::Message::encode)
    }

    fn note_progress(
        &mut self,
        stand: (Vec<ChangeHash>, Vec<ChangeHash>),
    ) -> Result<(), DocumentError> {
        self.idle_rounds = if stand == self.stand { self.idle_rounds.saturating_add(1) } else { 0 };
        self.stand = stand;
        if self.idle_rounds > limits::SYNC_IDLE_ROUNDS_MAX {
            return Err(DocumentError::NoProgress);
        }
        Ok(())
    }
}
