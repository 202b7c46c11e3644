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
use tokio::sync::oneshot;

use crate::hub::Host;
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

    /// Looks at what waits.
    pub(in crate::server) async fn refresh(&self) {
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
        let (reply, answer) = oneshot::channel();
        let log = Arc::clone(&self.log);
        self.host.run_blocking(Box::new(move || {
            // If nobody waits any more, the server is about to end.
            drop(reply.send(question(&*log)));
        }));
        let gone = |_gone| Err(StorageError::Failed("the log gave no answer".to_owned()));
        answer.await.unwrap_or_else(gone)
    }
}
