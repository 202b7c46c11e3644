//! Which workspaces are loaded, and who keeps them so.
//!
//! Whoever wants a workspace takes a [`Lease`] on it under the directory's lock. If there was no
//! task for the workspace, one starts with the first lease and opens it: everybody else's messages
//! wait in the same mailbox, so a workspace is never opened twice at a time, and a failure to open
//! reaches all who wait. A task may end only if, under the same lock, there is no lease and no
//! message. So no message can meet a workspace that is being unloaded.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::hub::turn::{Message, Task};
use crate::hub::{Phase, Shared, lock};
use crate::ids::{StoreName, WorkspaceId};
use crate::limits;
use crate::workspace::SaveId;

/// How long the memory limit is not looked at again: unloading takes a moment.
const RELIEF_PAUSE: Duration = Duration::from_millis(100);

/// The loaded workspaces.
#[derive(Debug)]
pub(super) struct Directory {
    slots: Mutex<Slots>,
    /// What all workspaces hold in memory, in bytes.
    bytes: AtomicUsize,
    /// Counts turns of all workspaces: a clock for "least recently used".
    turns: AtomicU64,
    /// A turn ended with more in memory than there should be.
    pressure: Notify,
}

#[derive(Debug)]
struct Slots {
    loaded: BTreeMap<WorkspaceId, Arc<Slot>>,
    /// Cloned into every task, never sent on; `None` once the directory is closed.
    ending: Option<mpsc::Sender<Infallible>>,
    ended: Option<mpsc::Receiver<Infallible>>,
}

/// What the outside knows of a workspace's task.
#[derive(Debug)]
pub(super) struct Slot {
    mailbox: mpsc::Sender<Message>,
    runtime: Handle,
    /// Holders of a [`Lease`].
    leases: AtomicUsize,
    /// The directory's turn in which the workspace was used last.
    used: AtomicU64,
    bytes: AtomicUsize,
    /// Whether the workspace could be unloaded as far as it knows itself.
    idle: AtomicBool,
    evict: Notify,
    /// Stores with commits on their way to the log.
    unsaved: Mutex<BTreeMap<SaveId, Vec<StoreName>>>,
}

/// Keeps a workspace loaded. New ones come from the directory or from one that still lives.
#[derive(Debug)]
pub(super) struct Lease {
    slot: Arc<Slot>,
}

impl Directory {
    pub(super) fn new() -> Self {
        let (ending, ended) = mpsc::channel(1);
        let slots = Slots { loaded: BTreeMap::new(), ending: Some(ending), ended: Some(ended) };
        Self {
            slots: Mutex::new(slots),
            bytes: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            pressure: Notify::new(),
        }
    }

    /// A lease on a workspace, whose task is started if there is none; `None` if the directory is
    /// closed.
    pub(super) fn lease(&self, id: &WorkspaceId, shared: &Arc<Shared>) -> Option<Lease> {
        let mut slots = lock(&self.slots);
        let ending = slots.ending.clone()?;
        let running = slots.loaded.get(id).filter(|slot| !slot.mailbox.is_closed());
        if let Some(slot) = running {
            return Some(Lease::on(slot));
        }
        let (mailbox, inbox) = mpsc::channel(limits::MAILBOX_INPUTS_MAX);
        let slot = Arc::new(Slot::new(mailbox));
        let lease = Lease::on(&slot);
        if let Some(dead) = slots.loaded.insert(id.clone(), Arc::clone(&slot)) {
            self.bytes.fetch_sub(dead.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        let task = Task::new(id.clone(), Arc::clone(shared), slot, inbox);
        tokio::spawn(async move {
            task.run().await;
            drop(ending);
        });
        Some(lease)
    }

    /// Takes an idle workspace out of the directory, unless somebody holds a lease on it or has
    /// sent it something. After `true` nobody can reach its task any more.
    pub(super) fn unload(&self, id: &WorkspaceId, slot: &Arc<Slot>) -> bool {
        let mut slots = lock(&self.slots);
        // The order of these two matters: who dropped a lease has sent before, and is seen here.
        let wanted = slot.leases.load(Ordering::Acquire) > 0 || !slot.is_unread();
        if wanted {
            return false;
        }
        slots.loaded.remove(id);
        drop(slots);
        self.bytes.fetch_sub(slot.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        true
    }

    /// Notes what a turn left behind.
    pub(super) fn note_turn(&self, slot: &Slot, bytes: usize, idle: bool, bytes_max: usize) {
        slot.used.store(self.turns.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot.idle.store(idle, Ordering::Relaxed);
        // A workspace's own bytes are written by its task alone: added before they are taken off,
        // the sum is never too small.
        let added = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = slot.bytes.swap(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
        if added.saturating_add(bytes).saturating_sub(before) > bytes_max {
            self.pressure.notify_one();
        }
    }

    /// Loaded workspaces, and what they hold in memory in bytes.
    pub(super) fn holding(&self) -> (usize, usize) {
        (lock(&self.slots).loaded.len(), self.bytes.load(Ordering::Relaxed))
    }

    /// Grants no lease any more. The receiver that is returned the first time ends when all tasks
    /// have.
    pub(super) fn close(&self) -> Option<mpsc::Receiver<Infallible>> {
        let mut slots = lock(&self.slots);
        slots.ending = None;
        slots.ended.take()
    }

    /// Stores with commits that have not become durable.
    pub(super) fn unsaved(&self) -> Vec<(WorkspaceId, StoreName)> {
        let slots = lock(&self.slots);
        let mut unsaved = Vec::new();
        for (id, slot) in &slots.loaded {
            let mut stores: Vec<_> = lock(&slot.unsaved).values().flatten().cloned().collect();
            stores.sort();
            stores.dedup();
            unsaved.extend(stores.into_iter().map(|store| (id.clone(), store)));
        }
        unsaved
    }

    /// Tells the least recently used of the idle workspaces to unload, enough of them to come
    /// below `bytes_max`.
    fn evict(&self, bytes_max: usize) {
        let mut excess = self.bytes.load(Ordering::Relaxed).saturating_sub(bytes_max);
        let mut idle: Vec<Arc<Slot>> = {
            let slots = lock(&self.slots);
            slots.loaded.values().filter(|slot| slot.is_idle()).cloned().collect()
        };
        idle.sort_by_key(|slot| slot.used.load(Ordering::Relaxed));
        for slot in idle {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(slot.bytes.load(Ordering::Relaxed));
            slot.evict.notify_one();
        }
    }
}

/// Starts the task that unloads idle workspaces whenever all together hold too much, until the hub
/// stops.
pub(super) fn relieve(shared: &Arc<Shared>) {
    let ending = lock(&shared.directory.slots).ending.clone();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        relieve_until_stopped(shared).await;
        drop(ending);
    });
}

async fn relieve_until_stopped(shared: Arc<Shared>) {
    let mut phase = shared.phase.subscribe();
    let relieving = async {
        loop {
            shared.directory.pressure.notified().await;
            shared.directory.evict(shared.config.memory_bytes_max);
            tokio::time::sleep(RELIEF_PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        _stopping = phase.wait_for(|phase| *phase != Phase::Running) => {}
        () = relieving => {}
    }
}

impl Slot {
    fn new(mailbox: mpsc::Sender<Message>) -> Self {
        Self {
            mailbox,
            runtime: Handle::current(),
            leases: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            idle: AtomicBool::new(false),
            evict: Notify::new(),
            unsaved: Mutex::new(BTreeMap::new()),
        }
    }

    fn is_unread(&self) -> bool {
        self.mailbox.capacity() == self.mailbox.max_capacity()
    }

    fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed) && self.leases.load(Ordering::Relaxed) == 0
    }

    /// Waits until the workspace should make room for others.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// Commits are on their way to the log.
    pub(super) fn note_saving(&self, save: SaveId, stores: Vec<StoreName>) {
        lock(&self.unsaved).insert(save, stores);
    }

    /// A save was answered; what is left of it is given.
    pub(super) fn note_saved(&self, save: SaveId, left: Vec<StoreName>) {
        let mut unsaved = lock(&self.unsaved);
        if left.is_empty() {
            unsaved.remove(&save);
        } else {
            unsaved.insert(save, left);
        }
    }
}

impl Lease {
    fn on(slot: &Arc<Slot>) -> Self {
        slot.leases.fetch_add(1, Ordering::Relaxed);
        Self { slot: Arc::clone(slot) }
    }

    /// The way to the workspace, for as long as this lease lives or is on that way itself.
    pub(super) fn mailbox(&self) -> &mpsc::Sender<Message> {
        &self.slot.mailbox
    }

    /// Sends a message that must not be lost from where nobody can wait. It comes after all that
    /// was sent before through this lease.
    pub(super) fn post(&self, message: Message) {
        // A closed mailbox means that the workspace's task is gone, and with it what the message
        // was to end.
        if let Err(TrySendError::Full(message)) = self.slot.mailbox.try_send(message) {
            let lease = Self::on(&self.slot);
            self.slot.runtime.spawn(async move {
                if lease.slot.mailbox.send(message).await.is_err() {
                    tracing::debug!("a workspace ended before a last message to it");
                }
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Release: whoever sees the count without this lease sees what was sent under it.
        self.slot.leases.fetch_sub(1, Ordering::Release);
    }
}
