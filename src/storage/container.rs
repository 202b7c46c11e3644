//! The user's own durable place for plain JSON, kept in step with the stores.
//!
//! A [`Container`] is somebody else's: it may be away, and it may change by itself. So it is never
//! what "saved" means here, that is the log's word alone; and it is never overwritten blindly. A
//! save says which state it comes after, and if that is not the newest any more, it is refused
//! with the newest: [`ContainerError::Changed`].
//!
//! Merging is done by whoever saves, because only the workspace knows the history: what changed at
//! the container is its newest JSON compared with what was last loaded or saved there. That goes
//! into the store like any client's edit, and the merged state is saved again.

pub mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use crate::ids::StoreName;
use crate::json::{Json, JsonError};

pub use http::HttpContainer;

/// Why a container could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// The address is not one that can be called.
    #[error("not an address of a container: {0}")]
    Address(String),
    /// The container did not answer, or not to the end. A save may have been done or not; saving
    /// again finds out.
    #[error("the container cannot be reached for store {store}: {reason}")]
    Unreachable {
        /// The store.
        store: StoreName,
        /// What happened.
        reason: String,
    },
    /// The container refused.
    #[error("the container answers {status} for store {store}")]
    Refused {
        /// The store.
        store: StoreName,
        /// The status of its answer.
        status: u16,
    },
    /// The container does not say which version its state is, so nothing can be saved safely.
    #[error("the container sends no strong ETag for store {store}")]
    NoVersion {
        /// The store.
        store: StoreName,
    },
    /// What the container holds is no JSON that a store can be.
    #[error("the container's state of store {store}: {error}")]
    Unreadable {
        /// The store.
        store: StoreName,
        /// What is wrong with it.
        error: JsonError,
    },
    /// The state at the container is not the one that was last seen: nothing was saved. The next
    /// save comes after this state, so merge it first.
    #[error("store {store} has changed at the container")]
    Changed {
        /// The store.
        store: StoreName,
        /// What the container holds; `None`: it holds nothing any more.
        state: Option<Json>,
    },
}

/// What a call to a container comes to. It is boxed so that a server can hold any container.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, ContainerError>> + Send + 'a>>;

/// The user's own durable place for plain JSON.
///
/// Dropping what a call returns gives it up; a save may have been done or not.
pub trait Container: fmt::Debug + Send + Sync + 'static {
    /// Whether the last call reached the container. True as long as none was made.
    fn is_connected(&self) -> bool;

    /// Reads stores. One that the container does not hold is not in the answer; one that cannot be
    /// read fails the call, so that failure is never taken for absence.
    fn load_all_stores<'a>(
        &'a self,
        stores: &'a [StoreName],
    ) -> Call<'a, BTreeMap<StoreName, Json>>;

    /// Saves stores, each as [`Container::save_store`] does. One that is refused does not keep the
    /// others from being saved; the error is the first.
    fn save_all_stores<'a>(&'a self, stores: &'a BTreeMap<StoreName, Json>) -> Call<'a, ()>;

    /// Saves a store over the state that was last seen of it: the last that was loaded, saved, or
    /// reported as [`ContainerError::Changed`]. Over any other state it saves nothing.
    fn save_store<'a>(&'a self, store: &'a StoreName, state: &'a Json) -> Call<'a, ()>;
}
