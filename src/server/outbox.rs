//! What waits to be written to one socket.
//!
//! The hub never waits for a socket, so the queue has a limit in bytes, and what does not fit is
//! dropped. Only what can be said again is: states, patches, sync messages, presence. Answers to
//! the client's own messages stay, because nobody would repeat them; the reader pauses instead, so
//! that there are no more of them. When the socket has taken what is left, the workspace is asked
//! to resync the session.
//!
//! Between the two lies a trap: a patch that was on its way before the workspace heard of the
//! resync would be applied to a state with a gap. So a store that lost a patch lets none through
//! until a snapshot of it passes, wherever that came from. It is the same with the news of an
//! Automerge store; there the gap is closed by a message that follows from heads which the client
//! is known to have.
//!
//! Sync messages of one store that wait together go out as one: a slow client is told the same in
//! fewer words, and has less to answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use automerge::ChangeHash;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::metrics::SocketMeter;
use super::tongue::Tongue;
use crate::document::SyncMessage;
use crate::hub::{Channel, Outgoing};
use crate::ids::StoreName;
use crate::limits;
use crate::protocol::codes::Closing;
use crate::workspace::{Delivery, Refusal, RepoDelivery};

/// What a snapshot that waits takes of the limit, in bytes. It shares its tree with the store and
/// becomes text only when it is written. Weighed by its text, the answer to one hello could be too
/// large for the queue, and so would be the resync after it, for ever.
const SNAPSHOT_BYTES: usize = 256;

/// The queue between the hub and the writer of one socket.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: usize,
    tongue: Tongue,
    /// Messages that were dropped.
    dropped: Counter,
    /// Rung when an empty queue gets something; the writer then takes all there is.
    filled: Notify,
    /// Rung when the reader may go on.
    relieved: Notify,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Arc<Outgoing>,
    /// What it takes of the limit.
    weight: usize,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Waiting>,
    /// Weight of `messages` and of what the writer has taken but not yet written, in bytes.
    bytes: usize,
    /// Whether the writer has taken something that is not yet written.
    writing: bool,
    /// Stores that lost something and have seen nothing since that closes the gap.
    gaps: BTreeMap<StoreName, Gap>,
    loss: Loss,
    ping: bool,
    close: Option<Closing>,
}

/// What the client has of a store of which it lost something.
#[derive(Debug)]
enum Gap {
    /// JSON that a snapshot replaces.
    Json,
    /// A document with these heads.
    Since(Vec<ChangeHash>),
}

/// Whether something was dropped, and who knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Loss {
    #[default]
    None,
    /// Nobody knows yet.
    Unreported,
    /// The writer knows, and asks for a resync when it has written the rest.
    Taken,
}

/// What the writer has to do next, in the order of the fields.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ping: bool,
    pub(super) messages: Vec<Waiting>,
    /// Something was dropped after these messages: ask for a resync of JSON stores, and of these
    /// from the heads beside them.
    pub(super) resync: Option<Vec<(StoreName, Vec<ChangeHash>)>>,
    /// The last word.
    pub(super) close: Option<Closing>,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize, tongue: Tongue) -> Self {
        let (filled, relieved) = (Notify::new(), Notify::new());
        let (queue, dropped) = (Mutex::default(), Counter::default());
        Self { queue, bytes_max, tongue, dropped, filled, relieved }
    }

    /// Counts here what is dropped.
    pub(super) fn counting(self, meter: &SocketMeter) -> Self {
        Self { dropped: meter.dropped.clone(), ..self }
    }

    /// How the socket is spoken to.
    pub(super) fn tongue(&self) -> &Tongue {
        &self.tongue
    }

    /// All that waits, as soon as there is something.
    pub(super) async fn batch(&self) -> Batch {
        loop {
            let taken = self.lock().take();
            if let Some(batch) = taken {
                return Batch { messages: joined(batch.messages), ..batch };
            }
            self.filled.notified().await;
        }
    }

    /// The socket has taken a message of the batch.
    pub(super) fn written(&self, message: &Waiting) {
        let mut queue = self.lock();
        queue.bytes = queue.bytes.saturating_sub(message.weight);
        self.relieve(queue);
    }

    /// The socket has taken the whole batch, and if the batch said so, the workspace was asked for
    /// a resync.
    pub(super) fn batch_done(&self) {
        let mut queue = self.lock();
        queue.writing = false;
        if queue.loss == Loss::Taken {
            queue.loss = Loss::None;
        }
        self.relieve(queue);
    }

    /// Waits while the client is too slow to be told what its own messages would cause.
    pub(super) async fn has_room(&self) {
        loop {
            let relieved = self.relieved.notified();
            if self.lock().has_room(self.bytes_max) {
                return;
            }
            relieved.await;
        }
    }

    /// Whether the writer has something in hand.
    pub(super) fn is_writing(&self) -> bool {
        self.lock().writing
    }

    /// Asks the client for a sign of life.
    pub(super) fn ping(&self) {
        self.lock().ping = true;
        self.filled.notify_one();
    }

    /// Makes this the last word; what came before is still written. The first last word counts.
    pub(super) fn end(&self, last: Closing) {
        self.lock().close.get_or_insert(last);
        self.filled.notify_one();
        self.relieved.notify_waiters();
    }

    fn relieve(&self, queue: MutexGuard<'_, Queue>) {
        let room = queue.has_room(self.bytes_max);
        drop(queue);
        if room {
            self.relieved.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No critical section can leave the queue half changed, so a poisoned one is as good.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Outbox {
    fn deliver(&self, message: &Arc<Outgoing>) {
        let weight = match message.delivery() {
            Delivery::Snapshot { .. } => SNAPSHOT_BYTES,
            _ => self.tongue.weight(message),
        };
        let waiting = Waiting { message: Arc::clone(message), weight };
        let mut queue = self.lock();
        let had_work = queue.has_work();
        if !queue.push(waiting, self.bytes_max) {
            self.dropped.inc();
        }
        let wake = !had_work && queue.has_work();
        #[cfg(planted)]
        let wake = wake
            && !(crate::planted::is("lost-wake-up") && queue.gaps.is_empty() && weight % 16 == 0);
        drop(queue);
        if wake {
            self.filled.notify_one();
        }
    }

    fn close(&self, refusal: &Refusal) {
        self.end(Closing::of(refusal));
    }
}

impl Queue {
    fn has_work(&self) -> bool {
        !self.messages.is_empty()
            || self.ping
            || self.loss == Loss::Unreported
            || self.close.is_some()
    }

    fn has_room(&self, bytes_max: usize) -> bool {
        self.close.is_some() || (self.loss == Loss::None && self.bytes <= bytes_max / 2)
    }

    fn take(&mut self) -> Option<Batch> {
        if !self.has_work() {
            return None;
        }
        let resync = self.loss == Loss::Unreported;
        if resync {
            self.loss = Loss::Taken;
        }
        let missed = |(store, gap): (&StoreName, &Gap)| match gap {
            Gap::Json => None,
            Gap::Since(heads) => Some((store.clone(), heads.clone())),
        };
        self.writing = true;
        Some(Batch {
            ping: std::mem::take(&mut self.ping),
            messages: std::mem::take(&mut self.messages).into(),
            resync: resync.then(|| self.gaps.iter().filter_map(missed).collect()),
            close: self.close,
        })
    }

    /// Whether the message will be written, or nothing will.
    fn push(&mut self, waiting: Waiting, bytes_max: usize) -> bool {
        if self.close.is_some() {
            return true;
        }
        if self.is_beyond_a_gap(waiting.message.delivery()) {
            return false;
        }
        let after = self.bytes.saturating_add(waiting.weight);
        // An empty queue takes a message of any size: there is no smaller way to say it.
        let fits = self.bytes == 0 || after <= bytes_max;
        if !fits {
            match loss_of(waiting.message.delivery()) {
                Some(lost) => {
                    self.lose(lost);
                    return false;
                }
                // The reader has long paused: the answers are to what was said before, such as a
                // hello in many stores or requests for many documents at once. The last one may be
                // as large as a document: a client that never got it could never come to have it.
                None if self.bytes > bytes_max.saturating_mul(limits::OUTBOX_ANSWERS_MAX) => {
                    self.close = Some(Closing::SLOW);
                    return true;
                }
                None => {}
            }
        }
        if let Some(store) = closes_gap(waiting.message.delivery()) {
            self.gaps.remove(store);
        }
        self.bytes = after;
        self.messages.push_back(waiting);
        true
    }

    /// Whether this goes on from something that was dropped.
    fn is_beyond_a_gap(&self, delivery: &Delivery) -> bool {
        #[cfg(planted)]
        if crate::planted::is("gap-let-through") {
            return false;
        }
        match delivery {
            Delivery::Patch { store, .. } => self.gaps.contains_key(store),
            Delivery::Sync { store, message } => {
                message.since().is_some() && !message.opens() && self.gaps.contains_key(store)
            }
            _ => false,
        }
    }

    fn lose(&mut self, lost: Lost) {
        match lost {
            Lost::ForEver => return,
            Lost::ForNow => {}
            Lost::OfStore(store, gap) => {
                self.gaps.entry(store).or_insert(gap);
            }
        }
        self.loss = Loss::Unreported;
    }
}

/// What is lost with a message that is dropped.
enum Lost {
    /// Something of a moment that passes.
    ForEver,
    /// What a resync says again.
    ForNow,
    /// The same, and until then the store has a gap.
    OfStore(StoreName, Gap),
}

/// What dropping a message loses; `None`: nobody would say it again, it must not be dropped.
fn loss_of(delivery: &Delivery) -> Option<Lost> {
    Some(match delivery {
        Delivery::Snapshot { store, .. } | Delivery::Patch { store, .. } => {
            Lost::OfStore(store.clone(), Gap::Json)
        }
        Delivery::Sync { store, message } => {
            Lost::OfStore(store.clone(), Gap::Since(message.since()?.to_vec()))
        }
        Delivery::Presence { .. }
        | Delivery::Repo(RepoDelivery::Presence { .. } | RepoDelivery::RemoteHeads { .. }) => {
            Lost::ForNow
        }
        Delivery::Repo(RepoDelivery::Ephemeral(_)) => Lost::ForEver,
        Delivery::Repo(RepoDelivery::Joined { .. } | RepoDelivery::Unavailable { .. })
        | Delivery::Ready { .. }
        | Delivery::Ack { .. }
        | Delivery::Nack { .. }
        | Delivery::Error { .. } => return None,
    })
}

/// The store that the client has whole again with this message.
fn closes_gap(delivery: &Delivery) -> Option<&StoreName> {
    match delivery {
        Delivery::Snapshot { store, .. } => Some(store),
        Delivery::Sync { store, message } if message.opens() => Some(store),
        _ => None,
    }
}

/// Sync messages of one store that go on from each other.
struct Chain {
    /// Where the first of them stands.
    place: usize,
    message: SyncMessage,
    grown: bool,
}

impl Chain {
    fn settle(self, store: StoreName, messages: &mut [Waiting]) {
        if let Some(place) = messages.get_mut(self.place).filter(|_| self.grown) {
            let message = Arc::new(self.message);
            place.message = Arc::new(Outgoing::new(Delivery::Sync { store, message }));
        }
    }
}

/// Joins sync messages of one store that go on from each other, in the place of the first.
fn joined(messages: Vec<Waiting>) -> Vec<Waiting> {
    if messages.len() < 2 {
        return messages;
    }
    let mut out: Vec<Waiting> = Vec::with_capacity(messages.len());
    let mut chains: BTreeMap<StoreName, Chain> = BTreeMap::new();
    for waiting in messages {
        if let Delivery::Sync { store, message } = waiting.message.delivery() {
            if let Some(chain) = chains.get_mut(store)
                && chain.message.extend(message)
            {
                chain.grown = true;
                if let Some(first) = out.get_mut(chain.place) {
                    first.weight = first.weight.saturating_add(waiting.weight);
                }
                continue;
            }
            let message = SyncMessage::clone(message);
            let next = Chain { place: out.len(), message, grown: false };
            if let Some(chain) = chains.insert(store.clone(), next) {
                chain.settle(store.clone(), &mut out);
            }
        }
        out.push(waiting);
    }
    for (store, chain) in chains {
        chain.settle(store, &mut out);
    }
    out
}

#[cfg(test)]
mod tests;
