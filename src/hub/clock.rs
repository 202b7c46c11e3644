//! The only file that reads the clock.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ids::Millis;

/// What the clock on the wall says.
#[expect(clippy::disallowed_methods, reason = "this is where time enters the program")]
pub fn now() -> Millis {
    // A clock before 1970 is a clock that was never set: the start of time is as good an answer.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Time that has passed since this was asked first. It never goes back, and names no moment.
#[expect(clippy::disallowed_methods, reason = "this is where time enters the program")]
pub fn passed() -> Duration {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
    let beginning = *BEGINNING;
    Instant::now().saturating_duration_since(beginning)
}
