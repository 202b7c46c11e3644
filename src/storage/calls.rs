//! Calls of webhooks that wait in a log: what a commit has to tell somebody outside lies there
//! from the moment of the commit until it is told, or given up.

use std::sync::Arc;

use crate::ids::{StoreName, WorkspaceId};
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
