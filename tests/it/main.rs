//! End-to-end tests: the real binary, real sockets, real signals.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic_in_result_fn,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that meets what it does not expect stops there, and says what it met"
)]

mod api;
mod auth;
mod backup;
mod bench;
mod bombs;
mod burst;
mod cli;
mod client;
mod contract;
mod crdt;
mod decay;
mod doctor;
mod drain;
mod events;
#[cfg(target_os = "linux")]
mod faults;
mod gates;
mod guide;
mod http;
mod kill;
mod limits;
mod listing;
mod memory;
mod metrics;
mod node;
#[cfg(feature = "otel")]
mod otel;
mod patches;
mod rates;
mod readme;
mod repo;
mod samod;
mod server;
mod slow;
mod transcript;
mod transcripts;
mod webhooks;
