//! What a hub takes from the machine that it runs on: the clock, chance, and threads for what
//! blocks. All else it does is decided by what comes in, so that a simulation needs no other door.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::{clock, panic_text};
use crate::ids::Millis;

/// Work that blocks the thread it runs on.
pub type Work = Box<dyn FnOnce() + Send>;

/// The machine that a hub runs on. Its calls return at once.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// What the clock on the wall says; it may jump.
    fn now(&self) -> Millis;

    /// Time that has passed since some moment, never going back: what takes how long is measured
    /// with it, and nothing is decided. A machine that says always the same measures nothing.
    fn passed(&self) -> Duration {
        Duration::ZERO
    }

    /// 16 random bytes.
    fn random(&self) -> [u8; 16];

    /// How much work can be done at once.
    fn parallelism(&self) -> NonZeroUsize;

    /// Runs the writer of the log, which blocks whenever it is polled. Dropped unfinished, it
    /// fails all saves.
    fn run_writer(&self, writer: BoxFuture<'static, ()>);

    /// Runs work that blocks.
    fn run_blocking(&self, work: Work);
}

/// The real machine. What blocks runs on threads; it must be called within a tokio runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Host for Machine {
    fn now(&self) -> Millis {
        clock::now()
    }

    fn passed(&self) -> Duration {
        clock::passed()
    }

    fn random(&self) -> [u8; 16] {
        rand::random()
    }

    fn parallelism(&self) -> NonZeroUsize {
        available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) {
        let life = move || futures_executor::block_on(writer);
        if let Err(error) = thread::Builder::new().name("statehouse-log".to_owned()).spawn(life) {
            tracing::error!(%error, "the thread that writes the log could not be started");
        }
    }

    fn run_blocking(&self, work: Work) {
        drop(spawn_blocking(work));
    }
}

/// Runs work that blocks and waits for what comes of it. A panic is one more way to fail.
pub(crate) async fn blocking<T: Send + 'static>(
    host: &dyn Host,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (reply, done) = oneshot::channel();
    host.run_blocking(Box::new(move || {
        // Unwind safe: what a panic left half done is dropped here.
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody waits any more if the reader's task is gone.
        drop(reply.send(result.map_err(|panic| format!("panic: {}", panic_text(panic.as_ref())))));
    }));
    done.await.unwrap_or_else(|_gone| Err("there is no thread for it any more".to_owned()))
}
