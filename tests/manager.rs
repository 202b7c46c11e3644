//! The behaviour of the original `WorkspaceManager`, over the library: one test for each thing that
//! its users rely on, and for each of its traps that took their data.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

#[path = "manager/channels.rs"]
mod channels;
#[path = "manager/life.rs"]
mod life;
#[path = "manager/patches.rs"]
mod patches;
#[path = "manager/saving.rs"]
mod saving;
#[path = "manager/triggers.rs"]
mod triggers;
#[path = "manager/world.rs"]
mod world;
#[path = "manager/writes.rs"]
mod writes;
