//! What is counted of the calls of webhooks, and what of them is kept.
//!
//! A webhook is known to those who scrape by its place in the configuration, from 0: its name and
//! its address are nobody's business there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::hub::Host;
use crate::hub::host::blocking;
use crate::limits;
use crate::server::config::WebhookConfig;
use crate::storage::{ChangeLog, Lane, StorageError};

/// What became of one attempt to make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Told,
    /// It did not, and the call is made again.
    Failed,
    /// It did not, and the call is not made again.
    GivenUp,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// Which webhook.
type Trigger = [(&'static str, String); 1];

/// Which webhook, and what became of the attempt.
type Attempt = (Trigger, [(&'static str, &'static str); 1]);

/// The log of the calls, and the numbers of it.
#[derive(Debug)]
pub(in crate::server) struct Ledger {
    log: Arc<dyn ChangeLog>,
    host: Arc<dyn Host>,
    /// The place of each webhook in the configuration.
    places: BTreeMap<Arc<str>, Trigger>,
    attempts: Family<Attempt, Counter>,
    seconds: Family<Trigger, Histogram, fn() -> Histogram>,
    waiting: Family<Trigger, Gauge>,
    given_up: Family<Trigger, Gauge>,
    oldest: Family<Trigger, Gauge>,
    /// When what waits was looked at; held by who looks, and nobody waits for it.
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Ledger {
    pub(super) fn new(
        webhooks: &[WebhookConfig],
        log: Arc<dyn ChangeLog>,
        host: Arc<dyn Host>,
    ) -> Self {
        let place = |(place, webhook): (usize, &WebhookConfig)| {
            (Arc::clone(&webhook.name), [("trigger", place.to_string())])
        };
        // From 1 ms, a receiver next door, to 16 s, as long as is waited.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-3, 2.0, 15));
        let this = Self {
            log,
            host,
            places: webhooks.iter().enumerate().map(place).collect(),
            attempts: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            waiting: Family::default(),
            given_up: Family::default(),
            oldest: Family::default(),
            looked: Arc::default(),
        };
        // They are there from now on, if only with 0.
        for place in this.places.values() {
            for outcome in [Outcome::Told, Outcome::Failed, Outcome::GivenUp] {
                drop(this.attempts.get_or_create(&(place.clone(), [("result", outcome.as_str())])));
            }
            drop(this.seconds.get_or_create(place));
        }
        this.note_backlog(&BTreeMap::new());
        this
    }

    /// Lets all of it be scraped.
    pub(in crate::server) fn register(&self, registry: &mut Registry) {
        let attempts = "Attempts to call a webhook, by its place in the configuration";
        registry.register("webhook_calls", attempts, self.attempts.clone());
        registry.register_with_unit(
            "webhook_call",
            "Time of one attempt to call a webhook",
            Unit::Seconds,
            self.seconds.clone(),
        );
        let waiting = "Calls of webhooks that wait to be made";
        registry.register("webhook_calls_waiting", waiting, self.waiting.clone());
        let kept = "Calls of webhooks that were given up and are kept";
        registry.register("webhook_calls_given_up", kept, self.given_up.clone());
        registry.register_with_unit(
            "webhook_oldest_call_age",
            "Age of the commit that the oldest waiting call tells of",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    /// The webhooks that are configured.
    pub(in crate::server) fn webhooks(&self) -> Vec<Arc<str>> {
        self.places.keys().map(Arc::clone).collect()
    }

    /// Counts an attempt.
    pub(super) fn count(&self, lane: &Lane, outcome: Outcome, took: Duration) {
        if let Some(place) = self.places.get(&lane.webhook) {
            self.attempts.get_or_create(&(place.clone(), [("result", outcome.as_str())])).inc();
            self.seconds.get_or_create(place).observe(took.as_secs_f64());
        }
    }

    /// Looks at what waits, if that was not done a moment ago. A disk that is slow is waited for
    /// only so long; the numbers of before are told until it has answered.
    pub(in crate::server) async fn refresh(self: &Arc<Self>) {
        let Ok(mut looked) = Arc::clone(&self.looked).try_lock_owned() else { return };
        let age = Duration::from_millis(limits::BACKLOG_AGE_MS);
        if looked.is_some_and(|looked| looked.elapsed() < age) {
            return;
        }
        let this = Arc::clone(self);
        let looking = tokio::spawn(async move {
            this.look().await;
            *looked = Some(Instant::now());
        });
        let patience = Duration::from_millis(limits::BACKLOG_READ_MS_MAX);
        if timeout(patience, looking).await.is_err() {
            tracing::warn!("the calls of webhooks take long to count: older numbers are told");
        }
    }

    async fn look(&self) {
        match self.ask(ChangeLog::backlog).await {
            Ok(backlog) => {
                let by_name = backlog.into_iter().map(|of| {
                    let age = of.oldest.map_or(0, |time| self.host.now().0.saturating_sub(time.0));
                    (of.webhook, [of.waiting as u64, of.given_up as u64, age / 1_000])
                });
                self.note_backlog(&by_name.collect());
            }
            Err(error) => tracing::error!(%error, "the calls of webhooks cannot be counted"),
        }
    }

    /// Of webhooks that are not configured any more nothing is told.
    fn note_backlog(&self, backlog: &BTreeMap<Arc<str>, [u64; 3]>) {
        for (name, place) in &self.places {
            let numbers = backlog.get(name).copied().unwrap_or_default();
            let gauges = [&self.waiting, &self.given_up, &self.oldest];
            for (gauge, number) in gauges.into_iter().zip(numbers) {
                gauge.get_or_create(place).set(number.cast_signed());
            }
        }
    }

    /// Asks the log, which blocks.
    pub(in crate::server) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn ChangeLog) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let log = Arc::clone(&self.log);
        let answer = blocking(&*self.host, move || question(&*log)).await;
        answer.unwrap_or_else(|error| Err(StorageError::Failed(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;
    use tokio::time::sleep;

    use super::*;
    use crate::hub::host::Work;
    use crate::ids::Millis;
    use crate::storage::memory::MemoryLog;

    /// A machine whose disk does its work when it is told to.
    #[derive(Debug, Default)]
    struct Slow(Mutex<Vec<Waiting>>);

    struct Waiting(Work);

    impl std::fmt::Debug for Waiting {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Waiting(..)")
        }
    }

    impl Host for Slow {
        fn now(&self) -> Millis {
            Millis(0)
        }

        fn random(&self) -> [u8; 16] {
            [0; 16]
        }

        fn parallelism(&self) -> NonZeroUsize {
            NonZeroUsize::MIN
        }

        fn run_writer(&self, writer: BoxFuture<'static, ()>) {
            drop(writer);
        }

        fn run_blocking(&self, work: Work) {
            self.0.lock().unwrap().push(Waiting(work));
        }
    }

    fn ledger() -> (Arc<Ledger>, Arc<Slow>) {
        let host = Arc::new(Slow::default());
        let log = Arc::new(MemoryLog::default());
        (Arc::new(Ledger::new(&[], log, Arc::<Slow>::clone(&host))), host)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_disk_is_asked_once_and_waited_for_a_moment() {
        let (ledger, host) = ledger();
        let waiting = || host.0.lock().unwrap().len();
        let began = Instant::now();
        ledger.refresh().await;
        assert_eq!(began.elapsed(), Duration::from_millis(limits::BACKLOG_READ_MS_MAX));
        for _ in 0..3 {
            sleep(Duration::from_millis(limits::BACKLOG_AGE_MS)).await;
            ledger.refresh().await;
        }
        assert_eq!(waiting(), 1, "while it is at it, it is not asked again");
        let work = host.0.lock().unwrap().pop().unwrap();
        (work.0)();
        sleep(Duration::from_millis(1)).await;
        ledger.refresh().await;
        assert_eq!(waiting(), 0, "it has answered a moment ago");
        sleep(Duration::from_millis(limits::BACKLOG_AGE_MS)).await;
        ledger.refresh().await;
        assert_eq!(waiting(), 1);
    }

    #[tokio::test]
    async fn a_question_that_panics_is_an_error() {
        let (ledger, host) = ledger();
        let asking = ledger.ask(|_| -> Result<(), _> { panic!("on purpose") });
        let answering = async {
            let work = host.0.lock().unwrap().pop().unwrap();
            (work.0)();
        };
        let (answer, ()) = tokio::join!(biased; asking, answering);
        assert!(matches!(answer, Err(StorageError::Failed(why)) if why.contains("on purpose")));
    }
}
