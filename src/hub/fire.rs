//! Triggers' handlers: run one after another, off the way of a commit.
//!
//! A workspace has one runner, which starts with its first handler. Firings wait for it in a queue
//! with a limit. When the queue is full a firing takes the place of the newest one that waits for
//! the same handler and path, and keeps the old value of that one: the handler sees fewer steps
//! but no gap between them. If there is none to merge with, the oldest firing is dropped, and the
//! next one of the same handler says how many were.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::hub::directory::Lease;
use crate::hub::turn::Message;
use crate::hub::{lock, panic_text};
use crate::limits;
use crate::workspace::{Firing, Pattern, Refusal, TriggerId};

/// An error of a handler.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

tokio::task_local! {
    static DEPTH: u32;
}

/// How many firings are behind the code that runs now: 0 outside of a handler, 1 in the handler of
/// a client's write, and so on. A write from a handler carries it as
/// [`Author::Server`](crate::workspace::Author::Server)'s depth. A task that the handler spawns
/// does not inherit it.
pub fn depth() -> u32 {
    DEPTH.try_with(|depth| *depth).unwrap_or(0)
}

/// What a handler is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// The value before and after, where, when and by whom.
    pub firing: Firing,
    /// Firings of this handler that were dropped before this one, because too many waited.
    pub missed: u64,
}

type Run = dyn Fn(Fired) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// Code that runs when a watched value has changed.
#[derive(Clone)]
pub struct Handler(Arc<Run>);

impl Handler {
    /// A handler from an asynchronous closure. It may be stopped at any await once it has run for
    /// [`WatchOptions::ms_max`].
    pub fn new<F, R>(run: F) -> Self
    where
        F: Fn(Fired) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self(Arc::new(move |fired| run(fired).boxed()))
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

/// How a handler is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// Time one call may take, in milliseconds.
    pub ms_max: u64,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { ms_max: limits::TRIGGER_MS_MAX }
    }
}

/// A handler's registration. Dropped, the handler does not run any more; a call that has begun
/// is finished.
#[derive(Debug)]
pub struct Watch {
    trigger: TriggerId,
    watchers: Arc<Watchers>,
    lease: Lease,
}

impl Watch {
    pub(super) fn new(trigger: TriggerId, watchers: Arc<Watchers>, lease: Lease) -> Self {
        Self { trigger, watchers, lease }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Here and now, so that what waits is not run; then in the workspace, so that nothing
        // new is found.
        self.watchers.remove(self.trigger);
        self.lease.post(Message::Unwatch { trigger: self.trigger });
    }
}

/// The handlers of a workspace, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    state: Mutex<State>,
    /// Wakes the runner, the only one that waits. It remembers one call that nobody waited for,
    /// and the runner empties the queue each time: no firing is left lying.
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    watchers: BTreeMap<TriggerId, Watcher>,
    waiting: VecDeque<Firing>,
    closed: bool,
}

#[derive(Debug)]
struct Watcher {
    pattern: Pattern,
    options: WatchOptions,
    handler: Handler,
    /// Firings dropped since the last one that was run.
    missed: u64,
    /// Whether it was said that this trigger fires because of itself.
    too_deep: bool,
}

/// One call to make.
struct Call {
    fired: Fired,
    pattern: Pattern,
    options: WatchOptions,
    handler: Handler,
}

impl Watchers {
    pub(super) fn add(
        &self,
        trigger: TriggerId,
        pattern: Pattern,
        options: WatchOptions,
        handler: Handler,
    ) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        if state.watchers.len() >= limits::TRIGGERS_MAX {
            return Err(Refusal::TooMany("triggers"));
        }
        let watcher = Watcher { pattern, options, handler, missed: 0, too_deep: false };
        state.watchers.insert(trigger, watcher);
        Ok(())
    }

    fn remove(&self, trigger: TriggerId) {
        let mut state = lock(&self.state);
        let removed = state.watchers.remove(&trigger);
        state.waiting.retain(|firing| firing.trigger != trigger);
        // The handler may own guards of other handlers: it must not be dropped under the lock.
        drop(state);
        drop(removed);
    }

    /// The triggers, in the order in which they fire.
    pub(super) fn patterns(&self) -> Vec<(TriggerId, Pattern)> {
        let state = lock(&self.state);
        state.watchers.iter().map(|(id, watcher)| (*id, watcher.pattern.clone())).collect()
    }

    /// Queues a firing. It never waits: the commit is made.
    pub(super) fn push(&self, firing: Firing) {
        let mut state = lock(&self.state);
        if !state.may_fire(&firing) {
            return;
        }
        let firing = if state.waiting.len() < limits::FIRINGS_WAITING_MAX {
            firing
        } else {
            state.make_room(firing)
        };
        state.waiting.push_back(firing);
        drop(state);
        self.wake.notify_one();
    }

    /// Lets the runner end after what waits.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_one();
    }

    /// The runner: calls handlers in the order of the firings, until the queue is closed and
    /// empty.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let (call, closed) = {
                let mut state = lock(&self.state);
                (state.pop(), state.closed)
            };
            match call {
                Some(call) => call.run().await,
                None if closed => return,
                None => self.wake.notified().await,
            }
        }
    }
}

impl State {
    /// Whether the trigger still has a handler, and did not come about by firing in circles.
    fn may_fire(&mut self, firing: &Firing) -> bool {
        let Some(watcher) = self.watchers.get_mut(&firing.trigger) else { return false };
        let too_deep = firing.context.depth >= limits::TRIGGER_DEPTH_MAX;
        if too_deep && !watcher.too_deep {
            watcher.too_deep = true;
            let pattern = &watcher.pattern;
            tracing::warn!(%pattern, "a trigger fires because of what triggers write: cut off");
        }
        !too_deep
    }

    /// Takes one firing out of the full queue, and returns the one to put in.
    fn make_room(&mut self, mut firing: Firing) -> Firing {
        let same = |waiting: &Firing| {
            waiting.trigger == firing.trigger && waiting.context.path == firing.context.path
        };
        let newest = self.waiting.iter().rposition(same);
        if let Some(waiting) = newest.and_then(|at| self.waiting.remove(at)) {
            firing.old = waiting.old;
            return firing;
        }
        let oldest = self.waiting.pop_front();
        let slow = oldest.and_then(|oldest| self.watchers.get_mut(&oldest.trigger));
        if let Some(slow) = slow {
            slow.missed = slow.missed.saturating_add(1);
            if slow.missed == 1 {
                let pattern = &slow.pattern;
                tracing::error!(%pattern, "handlers are too slow: firings of a trigger are lost");
            }
        }
        firing
    }

    fn pop(&mut self) -> Option<Call> {
        loop {
            let firing = self.waiting.pop_front()?;
            let Some(watcher) = self.watchers.get_mut(&firing.trigger) else { continue };
            let fired = Fired { firing, missed: std::mem::take(&mut watcher.missed) };
            let (pattern, handler) = (watcher.pattern.clone(), watcher.handler.clone());
            return Some(Call { fired, pattern, options: watcher.options, handler });
        }
    }
}

impl Call {
    /// Calls the handler. However that ends, the next one is called.
    async fn run(self) {
        let Self { fired, pattern, options, handler } = self;
        let depth = fired.firing.context.depth.saturating_add(1);
        // Unwind safe: nothing that a handler left half done is used by the hub. The call itself
        // is inside, because a handler can panic before it returns its future.
        let call = AssertUnwindSafe(async move { (handler.0)(fired).await }).catch_unwind();
        let ms_max = options.ms_max;
        match DEPTH.scope(depth, timeout(Duration::from_millis(ms_max), call)).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::error!(%pattern, %error, "the handler of a trigger failed");
            }
            Ok(Err(panic)) => {
                let panic = panic_text(panic.as_ref());
                tracing::error!(%pattern, panic, "the handler of a trigger panicked");
            }
            Err(_elapsed) => {
                tracing::error!(%pattern, ms_max, "the handler of a trigger took too long");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Millis, Seq};
    use crate::workspace::{Context, Dialect, Origin};

    fn firing(trigger: u64, path: &str, old: i64, new: i64) -> Firing {
        let origin =
            Origin { user: String::new(), session: None, dialect: Dialect::Json, id: None };
        let context = Context {
            store: "s".parse().unwrap(),
            path: path.to_owned(),
            seq: Seq(1),
            user_id: String::new(),
            session_id: String::new(),
            origin,
            heads: Vec::new(),
            time: Millis(0),
            depth: 0,
        };
        let trigger = TriggerId(trigger);
        Firing { trigger, old: Some(old.into()), new: Some(new.into()), context }
    }

    fn full() -> Watchers {
        let watchers = Watchers::default();
        for trigger in [1, 2] {
            let handler = Handler::new(|_fired| std::future::ready(Ok(())));
            let pattern = "/*".parse().unwrap();
            watchers.add(TriggerId(trigger), pattern, WatchOptions::default(), handler).unwrap();
        }
        for n in 0..limits::FIRINGS_WAITING_MAX {
            watchers.push(firing(1, &format!("/s/{n}"), 0, 1));
        }
        watchers
    }

    fn waiting(watchers: &Watchers) -> Vec<Fired> {
        let mut state = lock(&watchers.state);
        std::iter::from_fn(|| state.pop()).map(|call| call.fired).collect()
    }

    #[test]
    fn a_full_queue_merges_with_the_newest_of_the_same_path() {
        let watchers = full();
        watchers.push(firing(1, "/s/7", 1, 2));
        watchers.push(firing(1, "/s/7", 2, 3));
        let waiting = waiting(&watchers);
        assert_eq!(waiting.len(), limits::FIRINGS_WAITING_MAX);
        let merged = Fired { firing: firing(1, "/s/7", 0, 3), missed: 0 };
        assert_eq!(waiting.last(), Some(&merged));
        assert!(waiting.iter().all(|fired| fired.missed == 0));
    }

    #[test]
    fn what_cannot_be_merged_is_dropped_oldest_first_and_counted() {
        let watchers = full();
        watchers.push(firing(2, "/s/0", 0, 1));
        watchers.push(firing(1, "/s/new", 0, 1));
        let waiting = waiting(&watchers);
        assert_eq!(waiting.len(), limits::FIRINGS_WAITING_MAX);
        assert_eq!(waiting[0], Fired { firing: firing(1, "/s/2", 0, 1), missed: 2 });
        assert!(waiting[1..].iter().all(|fired| fired.missed == 0));
    }

    #[test]
    fn what_waits_for_a_handler_goes_with_it() {
        let watchers = full();
        watchers.push(firing(2, "/s/0", 0, 1));
        watchers.remove(TriggerId(1));
        let left = waiting(&watchers);
        assert_eq!(left, [Fired { firing: firing(2, "/s/0", 0, 1), missed: 0 }]);
    }
}
