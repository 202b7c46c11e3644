//! A collaborative state server, as a library.
//!
//! A *workspace* holds named *stores*: JSON documents that several devices, tabs, agents and
//! servers edit at once, also offline. Each store is an Automerge document. Clients that speak
//! plain JSON (a snapshot, then numbered JSON patches, RFC 6902) and clients that speak Automerge
//! edit the same store live, and all edits merge.
//!
//! # The nouns
//!
//! - [`json`]: plain JSON as a persistent tree; pointers, patches, and differences by identity.
//! - [`document`]: an Automerge document and the JSON it stands for; the bridge between the two.
//! - [`workspace`]: the one state machine: stores, sessions, seqs and heads, triggers.
//! - [`protocol`]: all that may be said over a socket, and how it is written.
//! - [`storage`]: what "saved" means: a durable log of commits and checkpoints.
//! - [`hub`]: where workspaces live: one task each, one writer for all of them; the machine.
//! - [`server`]: sockets, configuration.
//! - [`manager`]: the library surface for one embedded workspace.
//!
//! Beside them stands [`mod@bench`], clients that measure a server over its sockets.
//!
//! A module imports only those above it in this list; `ids` and `limits` are open to all. The
//! first four are pure: they await nothing, read no clock, open no file, draw no random number.
//!
//! # The walk of one patch
//!
//! 1. `server/socket.rs`: a frame comes in; its size is held against [`limits`].
//! 2. `protocol/json.rs`: text becomes a [`workspace::Request`].
//! 3. `hub/turn.rs`: it is taken from the workspace's mailbox as a [`workspace::Input`], with all
//!    else that waits there, as one turn.
//! 4. `workspace/edit.rs`: from which state does this client speak? `workspace/session.rs` and
//!    `workspace/history.rs` know.
//! 5. `json/patch.rs`: the patch is applied to that state, all or nothing.
//! 6. `document/projection/inbound.rs`: what differs is written as one Automerge change at the
//!    heads of that state.
//! 7. `document/projection/outbound.rs`: what the document says has changed is carried over to the
//!    JSON tree, and `json/diff.rs` tells the clients; `workspace/store.rs` gives it the next seq.
//! 8. `workspace/trigger.rs`: which patterns does it touch, and with which values?
//! 9. `workspace/outbox.rs`: Save goes first; what tells of the commit waits for it.
//! 10. `hub/save.rs` and `storage/sqlite.rs` make it durable; then `hub/deliver.rs` tells every
//!     other session, and `hub/fire.rs` runs the handlers.
//!
//! A CRDT client differs in 4 to 6 (`document/guard.rs`, `document/sync.rs`); one of automerge-repo
//! also in 1 and 2 (`server/tongue.rs`, `protocol/repo.rs`).

pub mod bench;
pub mod document;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hub;
pub mod ids;
pub mod json;
pub mod limits;
pub mod manager;
#[cfg(planted)]
pub mod planted;
pub mod protocol;
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
pub mod storage;
pub mod workspace;
