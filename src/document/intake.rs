//! Whole documents that come in as files.

use std::collections::BTreeSet;

use automerge::{Change, ChangeHash};

use super::guard::{self, GuardLimits};
use super::{Document, DocumentError};
use crate::limits;

/// A document from a file whose bytes are sound.
#[derive(Debug)]
pub struct Foreign(Vec<Change>);

impl Foreign {
    /// Reads a document as Automerge saves it, or changes one after the other. It passes the same
    /// guard as what clients send, with room for a store that has grown for years: whoever has the
    /// file at hand can afford more than a stranger may make a server spend.
    ///
    /// Errors: [`DocumentError::Malformed`] if it is not what Automerge writes,
    /// [`DocumentError::TooMany`] if it claims more than `limits::IMPORT_...` allows.
    pub fn open(bytes: &[u8]) -> Result<Self, DocumentError> {
        let limits = GuardLimits {
            inflated_base: limits::IMPORT_INFLATED_BYTES_MAX,
            inflated_max: limits::IMPORT_INFLATED_BYTES_MAX,
            ops_base: limits::IMPORT_OPS_MAX,
            ops_max: limits::IMPORT_OPS_MAX,
            changes_base: limits::IMPORT_CHANGES_MAX,
            ..GuardLimits::default()
        };
        guard::open_chunks(bytes, &limits).map(Self)
    }

    /// The heads of the document, sorted: its changes that no other was made on.
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads: BTreeSet<ChangeHash> = self.0.iter().map(Change::hash).collect();
        for dep in self.0.iter().flat_map(Change::deps) {
            heads.remove(dep);
        }
        heads.into_iter().collect()
    }
}

impl Document {
    /// Takes in all that a foreign document has and this one has not, or nothing. Gives the
    /// changes that were new, encoded, in causal order.
    ///
    /// After an error that does not [poison](DocumentError::poisons) it, the document may hold a
    /// part of what came in: it is to be dropped.
    pub fn take_in(&mut self, foreign: Foreign) -> Result<Vec<Vec<u8>>, DocumentError> {
        let received = self.receive(foreign.0)?;
        match received.refused {
            Some(error) => Err(error),
            None => Ok(received.changes),
        }
    }
}
