//! The load generator: clients of every dialect over real sockets, what a server spends on them,
//! and a relay that only copies, as the floor of what it could spend.
//!
//! It is a client: it knows what goes over the wire, and nothing of how a server comes to say it.
//! The command `statehouse bench` and the developer's bench of sockets are made of it.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are for people, and count in floats"
)]

pub mod board;
pub mod client;
pub mod figures;
pub mod frame;
pub mod process;
pub mod relay;
pub mod replica;
pub mod report;
pub mod run;
pub mod socket;
pub mod target;
pub mod usage;
pub mod voice;
pub mod work;

use std::time::Instant;

/// A result, or in words for a report why there is none.
pub type Outcome<T> = Result<T, String>;

/// The time, for a load generator.
#[expect(clippy::disallowed_methods, reason = "a load generator is timed by the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// An error as words for a report.
pub(crate) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
