//! Calls of webhooks that wait in a log: what a commit has to tell somebody outside lies there
//! from the moment of the commit until it is told, or given up.

use std::sync::Arc;

use serde::Deserialize;

use crate::ids::{Millis, StoreName, WorkspaceId};
use crate::workspace::Call;

/// Names a call in its log; rises from call to call, and no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Calls that are made one after another: those of one webhook for one store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The webhook.
    pub webhook: Arc<str>,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The store.
    pub store: StoreName,
}

/// A call that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingCall {
    /// Its name.
    pub id: CallId,
    /// The call.
    pub call: Call,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was told: nothing of it is kept.
    Told,
    /// It could not be told. It is kept to look at, the newest
    /// [`CALLS_GIVEN_UP_MAX`](crate::limits::CALLS_GIVEN_UP_MAX) of them.
    GivenUp,
}

/// What is kept of one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The webhook.
    pub webhook: Arc<str>,
    /// Calls that wait.
    pub waiting: usize,
    /// Calls that were given up.
    pub given_up: usize,
    /// When the commit was made that the oldest waiting call tells of.
    pub oldest: Option<Millis>,
}

/// A call that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUpCall {
    /// Its name.
    pub id: CallId,
    /// Where it was to be made.
    pub lane: Lane,
    /// The call.
    pub call: Call,
}

/// Some of the calls that were given up, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GivenUpPage {
    /// The calls, in the order of their ids; those that are damaged are not among them.
    pub calls: Vec<GivenUpCall>,
    /// The last one that was looked at, damaged or not, if there may be more behind it.
    pub next: Option<CallId>,
}

/// What came of a wish to make calls again that were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retried {
    /// Calls that wait again.
    pub waiting: usize,
    /// Calls that stay given up, because nobody asks for their webhooks.
    pub left: usize,
}

/// When the commit was made, by what a call [tells](Call::told) of it.
pub fn time_of(told: &str) -> Option<Millis> {
    #[derive(Deserialize)]
    struct Told {
        time: u64,
    }
    serde_json::from_str(told).ok().map(|Told { time }| Millis(time))
}
