//! The behaviour of the original `WorkspaceManager`, over the library: one test for each thing that
//! its users rely on, and for each of its traps that took their data.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

mod channels;
mod life;
mod patches;
mod saving;
mod triggers;
mod world;
mod writes;
