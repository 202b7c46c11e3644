//! What comes into a store from a file, while no workspace has it open.

use std::sync::Arc;

use super::actors::ANONYMOUS;
use super::commit::{Commit, Dialect, Origin};
use super::config::StoreConfig;
use super::recover::{Recovered, Stored, Unavailable};
use crate::document::{Breach, DocumentError, Foreign, Note};
use crate::ids::{Millis, Seq};
use crate::json::{Json, JsonLimits, Object};

/// What comes in.
#[derive(Debug)]
pub enum Content {
    /// A state: the store becomes it, by one change over what differs.
    Json(Json),
    /// An Automerge document: it merges with what there is.
    Automerge(Foreign),
}

/// Who brings it in, and when.
#[derive(Debug, Clone, Copy)]
pub struct Carrier {
    /// 16 random bytes: the Automerge actor of what is written for a JSON state.
    pub actor: [u8; 16],
    /// The time that the commit is noted with.
    pub now: Millis,
}

impl Recovered {
    /// A store that the log does not have, to take in what comes from elsewhere. Its seqs begin in
    /// an epoch of their own, because clients may know the store from where it comes from: the
    /// numbers that they have must not name other states here.
    pub fn founded(
        mut config: StoreConfig,
        epoch: u32,
        content: &Content,
    ) -> Result<Self, Unavailable> {
        // What comes in is looked at when it is there, and not refused.
        config.gate = None;
        if matches!(content, Content::Automerge(_)) {
            // The document is the beginning, and brings its own if it had one.
            config.initial = Json::Object(Object::new());
        }
        let stored = Stored { start: Seq::start_of(epoch), ..Stored::default() };
        Self::build(Arc::new(config), stored)
    }

    /// A rule of the store that its state does not keep; what comes from elsewhere is not refused
    /// for that.
    pub fn breach(&self) -> Option<Breach> {
        let gate = self.0.config.gate.as_ref()?;
        gate.breaches(&self.0.document.json()).into_iter().next()
    }

    /// Makes what comes in the next commit; `None` if there is nothing in it that the store does
    /// not have. After an error the store is to be dropped.
    pub fn take_in(
        &mut self,
        content: Content,
        carrier: Carrier,
        limits: &JsonLimits,
    ) -> Result<Option<Commit>, DocumentError> {
        let store = &mut self.0;
        let before = store.document.json();
        store.document.hold_to(limits);
        let (changes, dialect) = match content {
            Content::Json(json) => {
                json.check(limits)?;
                store.sign_as(&carrier.actor);
                let base = store.document.state();
                let note = Note { time: carrier.now, message: None };
                let written = store.document.write(&base, &json, None, note)?;
                (written.change.map(|(_, bytes)| bytes).into_iter().collect(), Dialect::Server)
            }
            // Its changes stay as their authors made them, who go on to own their actors.
            Content::Automerge(foreign) => (store.document.take_in(foreign)?, Dialect::Crdt),
        };
        let is_new = store.seq() == Seq(store.seq().0 & !u64::from(u32::MAX));
        if changes.is_empty() && !is_new {
            return Ok(None);
        }
        let origin = Origin { user: ANONYMOUS.to_owned(), session: None, dialect, id: None };
        Ok(Some(store.commit(before, changes, origin, carrier.now).commit))
    }
}
