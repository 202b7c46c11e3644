//! A stock Automerge peer, for tests: the crate's own side of the dialogue.

use automerge::sync::{Message, State, SyncDoc as _};

use crate::document::{Document, projection};

/// What a stock peer knows of the other side.
#[derive(Debug, Default)]
pub(crate) struct StockSession(State);

impl StockSession {
    /// Connects again with what stock clients keep of a dialogue.
    pub(crate) fn again(&self) -> Self {
        Self(State::decode(&self.0.encode()).unwrap())
    }

    pub(crate) fn generate(&mut self, document: &Document) -> Option<Vec<u8>> {
        document.doc.generate_sync_message(&mut self.0).map(Message::encode)
    }

    pub(crate) fn receive(&mut self, document: &mut Document, message: &[u8]) {
        let message = Message::decode(message).unwrap();
        document.doc.receive_sync_message(&mut self.0, message).unwrap();
        document.root = projection::read(&document.doc).unwrap();
        document.shield = None;
        document.saved = None;
    }
}
