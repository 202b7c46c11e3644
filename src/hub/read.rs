//! Reading the log and rebuilding stores, on blocking threads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::hub::host::{Host, blocking};
use crate::ids::{Millis, Seq, StoreName, WorkspaceId};
use crate::storage::{ChangeLog, StorageError};
use crate::workspace::{MessageId, Recovered, Unavailable, WorkspaceConfig};

/// Reads the log, no more at once than the machine can work on.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    host: Arc<dyn Host>,
    log: Arc<dyn ChangeLog>,
    readers: Arc<Semaphore>,
    /// Checkpoints are made one after another, in places of their own: nobody waits for them, and
    /// they must not make anybody wait.
    checkpointers: Arc<Semaphore>,
}

/// What the log says when a workspace is opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// The stores that it holds of the workspace, by name.
    pub(super) stored: Vec<(StoreName, Seq)>,
    /// What they take in the log, in bytes, if that was asked for.
    pub(super) held: Vec<(StoreName, u64)>,
    /// The number of this opening.
    pub(super) epoch: u32,
    /// Which place this is: see [`ChangeLog::identity`].
    pub(super) identity: [u8; 16],
}

impl Reader {
    pub(super) fn new(host: Arc<dyn Host>, log: Arc<dyn ChangeLog>) -> Self {
        // Rebuilding a store is work for a processor: more at once than there are would only hold
        // more memory.
        let readers = host.parallelism().get().max(2);
        Self {
            host,
            log,
            readers: Arc::new(Semaphore::new(readers)),
            checkpointers: Arc::new(Semaphore::new(1)),
        }
    }

    /// What a workspace is opened with.
    pub(super) async fn open(
        &self,
        workspace: WorkspaceId,
        counted: bool,
    ) -> Result<Opened, StorageError> {
        let read = move |log: &dyn ChangeLog| {
            let (stored, identity) = (log.stores(&workspace)?, log.identity()?);
            let held = if counted { log.held(&workspace)? } else { Vec::new() };
            Ok(Opened { stored, held, identity, epoch: log.opening(&workspace)? })
        };
        self.run(&self.readers, read).await.map_err(StorageError::Failed)?
    }

    /// A store, rebuilt.
    pub(super) async fn load(
        self,
        workspace: WorkspaceId,
        store: StoreName,
        rules: Arc<WorkspaceConfig>,
    ) -> Result<Box<Recovered>, Unavailable> {
        let read = move |log: &dyn ChangeLog| {
            let stored = log.read(&workspace, &store).map_err(|e| Unavailable(e.to_string()))?;
            Recovered::build(Arc::new(rules.store(&store)), stored).map(Box::new)
        };
        self.run(&self.readers, read).await.map_err(Unavailable)?
    }

    /// The commit that carried a message.
    pub(super) async fn recall(
        self,
        workspace: WorkspaceId,
        store: StoreName,
        id: MessageId,
    ) -> Result<Option<Seq>, String> {
        let read = move |log: &dyn ChangeLog| {
            log.recall(&workspace, &store, &id).map_err(|e| e.to_string())
        };
        self.run(&self.readers, read).await?
    }

    /// Replaces the beginning of a store's log by a checkpoint. Its bytes, if one stands now; the
    /// log is as it was if not.
    pub(super) async fn checkpoint(
        self,
        workspace: WorkspaceId,
        store: StoreName,
        rules: Arc<WorkspaceConfig>,
        now: Millis,
    ) -> Option<usize> {
        let done = self.make_checkpoint(&workspace, &store, rules, now).await;
        if let Err(error) = &done {
            tracing::error!(%workspace, %store, error, "a checkpoint failed: the log stays");
        }
        done.ok()
    }

    async fn make_checkpoint(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        rules: Arc<WorkspaceConfig>,
        now: Millis,
    ) -> Result<usize, String> {
        let (id, name) = (workspace.clone(), store.clone());
        let make = move |log: &dyn ChangeLog| -> Result<_, String> {
            let stored = log.read(&id, &name).map_err(|e| e.to_string())?;
            let config = rules.store(&name);
            let keep = stored.kept_after(&config.past, now);
            let recovered = Recovered::build(Arc::new(config), stored);
            // What is saved here was loaded again and compared before it comes back.
            let checkpoint = recovered.and_then(|store| store.checkpoint());
            Ok((checkpoint.map_err(|e| e.to_string())?, keep))
        };
        // One place for both steps: no more than one document is held at a time.
        let place = place(&self.checkpointers).await?;
        let (made, place) = self.run_in(place, make).await?;
        let (checkpoint, keep) = made?;
        let bytes = checkpoint.bytes.len();
        let (id, name) = (workspace.clone(), store.clone());
        let write = move |log: &dyn ChangeLog| log.checkpoint(&id, &name, &checkpoint, keep);
        let (written, _place) = self.run_in(place, write).await?;
        written.map_err(|e| e.to_string()).map(|()| bytes)
    }

    /// Runs a reading where it may block, in its turn.
    async fn run<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&dyn ChangeLog) -> T + Send + 'static,
    ) -> Result<T, String> {
        let place = place(places).await?;
        self.run_in(place, work).await.map(|(read, _place)| read)
    }

    /// The same in a place, which is held to the end of the work, also if nobody waits for it any
    /// more.
    async fn run_in<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&dyn ChangeLog) -> T + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), String> {
        let log = Arc::clone(&self.log);
        let reading = move || (work(&*log), place);
        let read = blocking(&*self.host, reading).await;
        read.map_err(|error| format!("reading the log failed: {error}"))
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, String> {
    Arc::clone(places).acquire_owned().await.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::workspace::{Commit, Dialect, Origin, Past, Stored};

    fn commit(seq: u64, time: u64) -> Commit {
        let origin =
            Origin { user: String::new(), session: None, dialect: Dialect::Json, id: None };
        Commit { seq: Seq(seq), changes: vec![], heads: vec![], time: Millis(time), origin }
    }

    #[test]
    fn a_checkpoint_keeps_the_history_that_stale_clients_need() {
        let day = limits::HISTORY_AGE_MS_MIN;
        // (commits, made at, now, kept after)
        let cases = [
            (0_u64, 0, 0, 0),
            (10, 0, 9 * day, 0),
            (1_000, 0, 9 * day, 0),
            (1_001, 0, 9 * day, 1),
            (5_000, 0, day, 0),
            (5_000, 0, day + 1, 4_000),
            (12_000, 0, 0, 2_000),
        ];
        for (commits, made, now, kept) in cases {
            let commits: Vec<_> = (1..=commits).map(|seq| commit(seq, made)).collect();
            let stored = Stored { commits, ..Stored::default() };
            assert_eq!(
                stored.kept_after(&Past::default(), Millis(now)),
                Seq(kept),
                "{cases:?} at {now}"
            );
        }
    }
}
