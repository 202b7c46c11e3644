//! Webhooks: what commits have changed is told to somebody outside, at least once, and in the order
//! of the commits of a store.
//!
//! What there is to tell lies in the log since the moment of its commit. Each lane (one webhook,
//! one store) is served by itself: its calls are made one after another, oldest first, and one that
//! fails is made again, later and later, before any that came after it. Lanes do not wait for each
//! other. A call that was made is taken out of the log; if the server dies in between, it is made
//! again, under the same id.

mod address;
mod ledger;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(super) use self::ledger::Ledger;
pub(super) use self::target::{check_address, key_of};

use self::ledger::Outcome;
use self::target::Target;
use super::config::{WebhookConfig, WebhookRules};
use crate::hub::{Host, NewCalls};
use crate::ids::Millis;
use crate::limits;
use crate::storage::{ChangeLog, Lane, Settled, StorageError, WaitingCall, time_of};
use crate::workspace::Call;

/// All webhooks of a server.
#[derive(Debug)]
pub(super) struct Webhooks {
    ledger: Arc<Ledger>,
    host: Arc<dyn Host>,
    targets: BTreeMap<Arc<str>, Target>,
    give_up_ms: u64,
}

/// How far a lane was served.
enum Served {
    /// Nothing waits any more.
    All,
    Some,
    /// Its oldest call could not be made; the receiver may have said when to come back.
    Failed(Option<Duration>),
}

impl Webhooks {
    pub(super) fn new(
        rules: &WebhookRules,
        webhooks: &[WebhookConfig],
        log: Arc<dyn ChangeLog>,
        host: Arc<dyn Host>,
    ) -> Result<Self, reqwest::Error> {
        let ledger = Ledger::new(webhooks, log, Arc::clone(&host));
        let client = target::client(rules.allow_private)?;
        let target = |webhook: &WebhookConfig| {
            (Arc::clone(&webhook.name), Target::new(webhook, client.clone()))
        };
        Ok(Self {
            ledger: Arc::new(ledger),
            host,
            targets: webhooks.iter().map(target).collect(),
            give_up_ms: rules.give_up_ms,
        })
    }

    /// What is kept and counted of the calls.
    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Makes calls until the sender of `ending` is dropped. What was made is noted then.
    pub(super) async fn run(self, news: Arc<NewCalls>, mut ending: watch::Receiver<()>) {
        let this = Arc::new(self);
        let mut serving = JoinSet::new();
        let mut busy = BTreeSet::new();
        // Lanes that got calls while they were being served.
        let mut again = BTreeSet::new();
        // Where to go on reading which lanes there are; `None`: all are known.
        let mut unread = Some(None);
        let mut next = BTreeSet::new();
        loop {
            if let Some(after) = &unread
                && busy.len() < limits::CALL_LANES_MAX
            {
                let page = tokio::select! {
                    biased;
                    _dropped = ending.changed() => break,
                    page = this.lanes(after.clone()) => page,
                };
                let is_full = page.len() >= limits::CALL_LANES_MAX;
                unread = page.last().cloned().filter(|_| is_full).map(Some);
                next.extend(page);
            }
            for lane in next {
                if !this.targets.contains_key(&lane.webhook) {
                    tracing::warn!(?lane, "calls wait for a webhook that is not configured");
                } else if busy.insert(lane.clone()) {
                    serving.spawn(Arc::clone(&this).serve(lane, ending.clone()));
                } else {
                    again.insert(lane);
                }
            }
            next = tokio::select! {
                biased;
                _dropped = ending.changed() => break,
                heard = news.next() => {
                    if heard.others {
                        unread = Some(None);
                    }
                    heard.lanes
                }
                Some(done) = serving.join_next() => match done {
                    Ok(lane) => {
                        busy.remove(&lane);
                        again.take(&lane).into_iter().collect()
                    }
                    // Only a runtime that ends stops a lane like this.
                    Err(_cancelled) => break,
                }
            };
        }
        while serving.join_next().await.is_some() {}
    }

    /// Lanes in which anything waits, in their order, after this one.
    async fn lanes(self: &Arc<Self>, after: Option<Lane>) -> Vec<Lane> {
        loop {
            let from = after.clone();
            match self.ledger.ask(move |log| log.lanes(from.as_ref(), limits::CALL_LANES_MAX)).await
            {
                Ok(lanes) => return lanes,
                Err(error) => tracing::error!(%error, "the calls of webhooks cannot be read"),
            }
            sleep(Duration::from_millis(limits::CALL_PAUSE_MS_MIN)).await;
        }
    }

    /// Serves a lane until nothing waits there; gives it back.
    async fn serve(self: Arc<Self>, lane: Lane, mut ending: watch::Receiver<()>) -> Lane {
        let mut failures = 0_u32;
        loop {
            let turn = AssertUnwindSafe(self.turn(&lane, &mut ending));
            let served = turn.catch_unwind().await.unwrap_or_else(|_panic| {
                tracing::error!(?lane, "the calls of a webhook panicked");
                Ok(Served::Failed(None))
            });
            let wanted = match served {
                Ok(Served::All) => return lane,
                Ok(Served::Some) => {
                    failures = 0;
                    continue;
                }
                Ok(Served::Failed(wanted)) => wanted,
                Err(error) => {
                    tracing::error!(?lane, %error, "the calls of a webhook cannot be read");
                    None
                }
            };
            failures = failures.saturating_add(1);
            tokio::select! {
                biased;
                _dropped = ending.changed() => return lane,
                () = sleep(self.pause(failures).max(wanted.unwrap_or_default())) => {}
            }
        }
    }

    /// Makes the oldest calls of a lane, as far as they can be made.
    async fn turn(
        self: &Arc<Self>,
        lane: &Lane,
        ending: &mut watch::Receiver<()>,
    ) -> Result<Served, StorageError> {
        let Some(target) = self.targets.get(&lane.webhook) else { return Ok(Served::All) };
        let _place = target.place().await;
        let from = lane.clone();
        let waiting = self.ledger.ask(move |log| log.calls(&from, limits::CALLS_READ_MAX)).await?;
        let mut settled = Vec::new();
        let mut served = if waiting.is_empty() { Served::All } else { Served::Some };
        for WaitingCall { id, call } in waiting {
            let began = self.host.passed();
            let made = tokio::select! {
                biased;
                _dropped = ending.changed() => {
                    served = Served::All;
                    break;
                }
                made = target.call(lane, &call, self.host.now()) => made,
            };
            let took = self.host.passed().saturating_sub(began);
            let Err(why) = made else {
                self.ledger.count(lane, Outcome::Told, took);
                settled.push((id, Settled::Told));
                continue;
            };
            let (webhook, seq) = (&*lane.webhook, call.seq);
            let is_old = age_ms(&call, self.host.now()) >= self.give_up_ms;
            if why.is_final || is_old {
                tracing::error!(webhook, %seq, %why, "a call of a webhook is given up");
                self.ledger.count(lane, Outcome::GivenUp, took);
                settled.push((id, Settled::GivenUp));
                if why.is_final {
                    continue;
                }
                // The next may be as old, and each is tried; others are let in between.
                break;
            }
            self.ledger.count(lane, Outcome::Failed, took);
            tracing::warn!(webhook, %seq, %why, "a call of a webhook failed and is made again");
            served = Served::Failed(why.wanted);
            break;
        }
        if !settled.is_empty() {
            self.ledger.ask(move |log| log.settle(&settled)).await?;
        }
        Ok(served)
    }

    /// Time until the next attempt: twice as long each time, and so that receivers that come back
    /// are not called by everybody at the same moment.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        let full = limits::CALL_PAUSE_MS_MIN.saturating_mul(doubled);
        let full = full.min(limits::CALL_PAUSE_MS_MAX);
        let [one, two, ..] = self.host.random();
        let part = u64::from(u16::from_be_bytes([one, two])).saturating_mul(full) >> 16;
        Duration::from_millis((full / 2).saturating_add(part / 2))
    }
}

/// How long ago the commit was that a call tells of, in milliseconds.
fn age_ms(call: &Call, now: Millis) -> u64 {
    now.0.saturating_sub(time_of(&call.told).unwrap_or(now).0)
}
