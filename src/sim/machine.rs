//! The machine of a simulated server: its clock, its chance, and threads that are none.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use crate::hub::Host;
use crate::hub::host::Work;
use crate::ids::Millis;

/// What the clock says when a world begins.
const BEGINNING_MS: i64 = 1_700_000_000_000;

/// A clock that may jump.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    ahead_ms: AtomicI64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), ahead_ms: AtomicI64::new(0) }
    }

    /// Simulated time since the world began, in milliseconds.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sets the clock to so many milliseconds before or after what is right.
    pub(super) fn set_ahead(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::Relaxed);
    }

    fn now(&self) -> Millis {
        let elapsed = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        let now = BEGINNING_MS.saturating_add(elapsed).saturating_add(ahead);
        Millis(u64::try_from(now).unwrap_or(0))
    }
}

/// A machine on which what blocks takes simulated time, and everything else none.
#[derive(Debug)]
pub(super) struct SimMachine {
    pub(super) clock: Arc<Clock>,
    pub(super) chance: Mutex<Chance>,
    /// How long the disk takes at most, in milliseconds.
    pub(super) disk_ms_max: Arc<AtomicU64>,
}

impl SimMachine {
    fn draw<T>(&self, from: impl FnOnce(&mut Chance) -> T) -> T {
        from(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host for SimMachine {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn random(&self) -> [u8; 16] {
        self.draw(Chance::bytes)
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) {
        let (chance, ms_max) = (self.draw(Chance::fork), Arc::clone(&self.disk_ms_max));
        drop(tokio::spawn(slowed(writer, chance, ms_max)));
    }

    fn run_blocking(&self, work: Work) {
        let ms_max = self.disk_ms_max.load(Ordering::Relaxed);
        let time = self.draw(|chance| chance.time(ms_max));
        drop(tokio::spawn(async move {
            sleep(time).await;
            work();
        }));
    }
}

/// Polls a future only some time after it was woken: as a thread that is busy with the disk.
async fn slowed(mut future: BoxFuture<'static, ()>, mut chance: Chance, ms_max: Arc<AtomicU64>) {
    let bell = Arc::new(Bell(Notify::new()));
    let waker = Waker::from(Arc::clone(&bell));
    while poll_once(future.as_mut(), &waker).is_pending() {
        bell.0.notified().await;
        sleep(chance.time(ms_max.load(Ordering::Relaxed))).await;
    }
}

fn poll_once(future: Pin<&mut (dyn Future<Output = ()> + Send)>, waker: &Waker) -> Poll<()> {
    future.poll(&mut Context::from_waker(waker))
}

struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}
