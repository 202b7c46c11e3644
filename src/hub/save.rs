//! Saving: one thread writes the log for all workspaces.
//!
//! Whatever waits when the thread comes back from the disk, from whichever workspace, goes there
//! together. Nothing waits for company: a lone edit is written at once, and the more there is to
//! write, the more of it shares the cost of one sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use crate::hub::calls::NewCalls;
use crate::hub::{Host, Meter, panic_text, walk};
use crate::ids::{StoreName, WorkspaceId};
use crate::limits;
use crate::storage::{AppendTo, ChangeLog, StorageError};
use crate::workspace::Append;

/// The stores of a save that did not become durable, and why.
pub(super) type Failed = Vec<(StoreName, String)>;

/// One save of one workspace.
#[derive(Debug)]
pub(super) struct Job {
    appends: Vec<AppendTo>,
    /// When it was made, by [`Host::passed`].
    made: Duration,
    reply: oneshot::Sender<Failed>,
    /// The turn that it was made in.
    span: Span,
}

impl Job {
    pub(super) fn new(
        workspace: &WorkspaceId,
        appends: Vec<Append>,
        made: Duration,
        reply: oneshot::Sender<Failed>,
    ) -> Self {
        let to = |append| AppendTo { workspace: workspace.clone(), append };
        let appends = appends.into_iter().map(to).collect();
        Self { appends, made, reply, span: Span::current() }
    }
}

/// The way to the writing thread. The thread ends when this is dropped and all that waited is
/// written, or when it is told to.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Work>,
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Work {
    /// Write this.
    Save(Job),
    /// Let go of the log, and say so.
    End(oneshot::Sender<()>),
}

impl Writer {
    pub(super) fn start(press: Press) -> Self {
        let (queue, work) = mpsc::channel(limits::SAVES_WAITING_MAX);
        // Without the thread the queue is closed: every save fails, and says so.
        let host = Arc::clone(&press.host);
        host.run_writer(press.run(work).boxed());
        Self { queue }
    }

    /// Hands on a save; gives it back if there is no room. If the thread is gone the save is
    /// dropped, and with it its reply: that tells the workspace.
    pub(super) fn try_send(&self, job: Job) -> Result<(), Job> {
        match self.queue.try_send(Work::Save(job)) {
            Err(TrySendError::Full(Work::Save(job))) => Err(job),
            _ => Ok(()),
        }
    }

    /// Waits for room for one save; `None` if the thread is gone.
    pub(super) async fn room(&self) -> Option<mpsc::Permit<'_, Work>> {
        self.queue.reserve().await.ok()
    }

    /// Ends the thread after what waits, so that the log can be opened elsewhere.
    pub(super) async fn end(&self) {
        let (ended, end) = oneshot::channel();
        // If the thread is gone already, neither of the two is any news.
        if self.queue.send(Work::End(ended)).await.is_ok() && end.await.is_err() {
            tracing::debug!("the thread that writes the log had ended before");
        }
    }

    /// Saves that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity().saturating_sub(self.queue.capacity())
    }
}

/// What the thread works with.
pub(super) struct Press {
    pub(super) log: Arc<dyn ChangeLog>,
    pub(super) host: Arc<dyn Host>,
    pub(super) meter: Arc<Meter>,
    pub(super) calls: Arc<NewCalls>,
}

impl Press {
    /// The life of the thread.
    async fn run(self, mut queue: mpsc::Receiver<Work>) {
        let mut end = None;
        while end.is_none()
            && let Some(first) = queue.recv().await
        {
            let mut together = Vec::new();
            let mut next = Some(first);
            while let Some(work) = next {
                match work {
                    Work::Save(job) => together.push(job),
                    Work::End(ended) => end = Some(ended),
                }
                // The limit only matters if they come in faster than they can be taken out.
                let more = end.is_none() && together.len() < limits::SAVES_WAITING_MAX;
                next = if more { queue.try_recv().ok() } else { None };
            }
            if !together.is_empty() {
                self.save(together);
            }
        }
        drop(self);
        let heard = end.is_none_or(|ended| ended.send(()).is_ok());
        if !heard {
            tracing::debug!("the thread that writes the log ended later than anybody waited");
        }
    }

    /// Appends the commits of all jobs as one batch, and answers each.
    fn save(&self, jobs: Vec<Job>) {
        let mut batch = Vec::with_capacity(jobs.len());
        let mut replies = Vec::with_capacity(jobs.len());
        let mut causes = Vec::new();
        for job in jobs {
            let stores: Vec<StoreName> =
                job.appends.iter().map(|to| to.append.store.clone()).collect();
            batch.extend(job.appends);
            replies.push((stores, job.made, job.reply));
            causes.extend(Some(job.span).filter(|span| !span.is_disabled()));
        }
        let commits = batch.iter().map(|to| to.append.commits.len()).sum();
        let began = self.host.passed();
        let results = walk::save(&causes, commits).in_scope(|| append(&*self.log, &batch));
        let ended = self.host.passed();
        // Also of what failed: it may have happened.
        self.calls.add(&batch);
        self.meter.transaction(commits, ended.saturating_sub(began));
        let mut results = batch.iter().zip(results);
        for (stores, made, reply) in replies {
            let failed = stores.into_iter().filter_map(|store| {
                let Some((to, result)) = results.next() else {
                    return Some((store, "the log gave no answer".to_owned()));
                };
                self.count(&to.append, result.is_ok(), ended.saturating_sub(made));
                result.err().map(|why| (store, why))
            });
            // Nobody waits for the reply if the workspace is gone with the runtime; the commits
            // are in the log all the same.
            drop(reply.send(failed.collect()));
        }
    }

    fn count(&self, append: &Append, durable: bool, took: Duration) {
        if !durable {
            return self.meter.unsaved(append.commits.len());
        }
        for commit in &append.commits {
            let bytes = commit.changes.iter().map(Vec::len).sum();
            self.meter.saved(commit.origin.dialect, bytes, took);
        }
    }
}

/// One result for each entry of the batch.
fn append(log: &dyn ChangeLog, batch: &[AppendTo]) -> Vec<Result<(), String>> {
    let mut result = append_once(log, batch);
    if let Err(StorageError::Failed(why)) = &result {
        // It may or may not have reached the disk. The same bytes again are harmless if it did:
        // the log knows them.
        tracing::warn!(why, "an append to the log failed and is tried once more");
        result = append_once(log, batch);
    }
    match result {
        Ok(results) => results.into_iter().map(|r| r.map_err(|e| e.to_string())).collect(),
        // A damaged page fails every batch that touches it: only what lies on it shall fail.
        Err(StorageError::Damaged(_)) if batch.len() > 1 => {
            batch.chunks(1).flat_map(|entry| append(log, entry)).collect()
        }
        Err(error) => {
            tracing::error!(%error, entries = batch.len(), "an append to the log failed");
            batch.iter().map(|_entry| Err(error.to_string())).collect()
        }
    }
}

/// A panic of the log is one more way to fail: the thread must outlive it.
fn append_once(
    log: &dyn ChangeLog,
    batch: &[AppendTo],
) -> Result<Vec<Result<(), StorageError>>, StorageError> {
    catch_unwind(AssertUnwindSafe(|| log.append(batch))).unwrap_or_else(|panic| {
        Err(StorageError::Failed(format!("panic: {}", panic_text(panic.as_ref()))))
    })
}
