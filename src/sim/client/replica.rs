//! An Automerge document of a client, and its side of the sync dialogue: the crate's own, as
//! every client has it.

use automerge::sync::{Message, State, SyncDoc as _};
use automerge::{ActorId, AutoCommit, ChangeHash};

use super::Tools;
use crate::ids::StoreName;
use crate::sim::book::Checked;
use crate::sim::plain;

#[derive(Debug)]
pub(crate) struct Replica {
    pub(super) document: AutoCommit,
    sync: State,
}

impl Replica {
    pub(crate) fn new(actor: [u8; 16]) -> Self {
        let document = AutoCommit::new().with_actor(ActorId::from(actor));
        Self { document, sync: State::new() }
    }

    /// Starts the dialogue anew, with what stock clients keep of the last one.
    pub(crate) fn again(&mut self) {
        self.sync = State::decode(&self.sync.encode()).unwrap_or_default();
    }

    pub(crate) fn generate(&mut self) -> Option<Vec<u8>> {
        self.document.sync().generate_sync_message(&mut self.sync).map(Message::encode)
    }

    pub(crate) fn receive(&mut self, message: &[u8]) -> Checked {
        let message = Message::decode(message).map_err(|error| format!("sync: {error}"))?;
        let received = self.document.sync().receive_sync_message(&mut self.sync, message);
        received.map_err(|error| format!("a sync message cannot be taken: {error}"))
    }

    pub(crate) fn is_empty(&mut self) -> bool {
        self.document.get_heads().is_empty()
    }

    /// Writes what the user makes of the state.
    pub(crate) fn write(&mut self, tools: &mut Tools) -> Checked {
        let written = if tools.chance.one_in(4) {
            let (n, place) = (tools.chance.below(6), tools.chance.below(40));
            tools.book.count(|counts| counts.edits += 1);
            plain::write_beyond_json(&mut self.document, n, place)
        } else {
            let (_, next) = tools.edit(&plain::read(&self.document));
            plain::write(&mut self.document, &next)
        };
        written.map_err(|error| format!("cannot write: {error}"))?;
        self.document.commit();
        Ok(())
    }

    /// Holds the document against all durable changes.
    pub(crate) fn check(&mut self, tools: &Tools, store: &StoreName) -> Checked {
        if !tools.book.is_persistent(store) {
            return super::legacy::check_json(tools, store.as_str(), &plain::read(&self.document));
        }
        let mut heads: Vec<ChangeHash> = self.document.get_heads();
        heads.sort_unstable();
        let durable = tools.book.heads(store);
        // An empty document that was only begun has no state to tell of.
        let (has, is) = (plain::read(&self.document), tools.book.state(store).unwrap_or_default());
        if has != is {
            return Err(format!("at the end {store} is {is}, and its document says {has}"));
        }
        if heads != durable {
            return Err(format!(
                "at the end {store} has heads {durable:?}, its document {heads:?}"
            ));
        }
        Ok(())
    }
}
