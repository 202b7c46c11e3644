//! Why a workspace refuses what it is asked.

use super::actors::ActorTaken;
use crate::document::DocumentError;
use crate::json::{JsonError, PatchError};

/// A reason to refuse; nothing has changed where one is given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The message could not be understood.
    #[error("{0}")]
    BadMessage(String),
    /// There is no such store, and none is created.
    #[error("there is no such store")]
    NoStore,
    /// What is there may be read, but this may not be done with it.
    #[error("you may not do this here")]
    Forbidden,
    /// The store cannot be read from the log at the moment.
    #[error("the store cannot be loaded: {0}")]
    Unavailable(String),
    /// The change was made but could not be saved, so it was taken back.
    #[error("the change could not be saved: {0}")]
    NotSaved(String),
    /// The seq or cursor that the edit was made on is not known (any more).
    #[error("the state the edit was made on is not known")]
    Stale,
    /// What the writer made a condition of the change is not so.
    #[error("the store is not as the request demands")]
    Unmet,
    /// The JSON patch cannot be applied.
    #[error("{0}")]
    Patch(#[from] PatchError),
    /// The JSON value is not acceptable.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// The change was made under an actor that belongs to somebody else.
    #[error(transparent)]
    ActorTaken(#[from] ActorTaken),
    /// The document refused.
    #[error("{0}")]
    Document(DocumentError),
    /// `updateState` needs an object on both sides.
    #[error("only an object can be updated member by member")]
    NotAnObject,
    /// A sync dialogue that brings neither side anything new, or whose messages were lost.
    #[error("the sync dialogue cannot go on: connect again")]
    NoProgress,
    /// The same client has come again, and this session was its older one.
    #[error("the same client has connected again")]
    Replaced,
    /// A limit was reached.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The workspace is being shut.
    #[error("the workspace is shutting down")]
    ShuttingDown,
}
