//! Deliveries: from a workspace to the channels of its sessions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use axum::extract::ws::Utf8Bytes;

use crate::hub::panic_text;
use crate::ids::SessionId;
use crate::limits;
use crate::protocol;
use crate::workspace::{Delivery, Refusal};

/// A way to reach one client: a WebSocket, an event stream, an adapter to a messenger.
///
/// It is called from the workspace's task, so it must not block: it queues, within a limit. What
/// does not fit it drops, except answers to the client's own edits, which nobody would say again;
/// once the client takes something again it calls
/// [`Attached::resync`](crate::hub::Attached::resync). A store of which a patch was dropped must
/// let none through before a snapshot of it has passed: it would be applied to a state with a gap.
/// So must a store of which sync messages were dropped, until one that
/// [opens](crate::document::SyncMessage::opens) passes; `resync` is told the heads from the first
/// one dropped.
pub trait Channel: Send + Sync + Debug {
    /// Queues a message for the client.
    fn deliver(&self, message: &Arc<Outgoing>);

    /// Ends the channel after what was delivered before; nothing is delivered after.
    fn close(&self, refusal: &Refusal);
}

/// A message on its way to any number of clients.
#[derive(Debug)]
pub struct Outgoing {
    delivery: Delivery,
    text: OnceLock<Option<Utf8Bytes>>,
    sync: OnceLock<Vec<u8>>,
}

impl Outgoing {
    /// A message that is not encoded yet.
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery, text: OnceLock::new(), sync: OnceLock::new() }
    }

    /// What is said.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The message in the JSON dialect, if it has a word for it. It is encoded once, when the first
    /// channel asks; all others share the bytes.
    pub fn text(&self) -> Option<&Utf8Bytes> {
        self.text.get_or_init(|| protocol::json::encode(&self.delivery).map(Into::into)).as_ref()
    }

    /// About how many bytes it takes to say this without JSON.
    pub fn weight(&self) -> usize {
        let payload = match &self.delivery {
            Delivery::Sync { message, .. } => message.payload_len(),
            Delivery::Repo(said) => said.payload_len(),
            Delivery::Error { .. } => limits::REPO_ERROR_BYTES_MAX,
            Delivery::Snapshot { .. }
            | Delivery::Patch { .. }
            | Delivery::Ready { .. }
            | Delivery::Ack { .. }
            | Delivery::Nack { .. }
            | Delivery::Presence { .. } => 0,
        };
        payload.saturating_add(limits::MESSAGE_FRAMING_BYTES)
    }

    /// The Automerge sync message, if it is one; encoded once as well.
    pub fn sync_bytes(&self) -> Option<&[u8]> {
        let Delivery::Sync { message, .. } = &self.delivery else { return None };
        Some(self.sync.get_or_init(|| message.encode()))
    }
}

/// The channels of a workspace's sessions.
#[derive(Debug, Default)]
pub(super) struct Channels {
    channels: BTreeMap<SessionId, Arc<dyn Channel>>,
}

impl Channels {
    pub(super) fn insert(&mut self, session: SessionId, channel: Arc<dyn Channel>) {
        self.channels.insert(session, channel);
    }

    /// Whether the session was there.
    pub(super) fn remove(&mut self, session: SessionId) -> bool {
        self.channels.remove(&session).is_some()
    }

    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.channels.contains_key(&session)
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Delivers to the sessions in order. Returns those whose channel broke; they are removed.
    pub(super) fn deliver(&mut self, to: &[SessionId], delivery: Delivery) -> Vec<SessionId> {
        let message = Arc::new(Outgoing::new(delivery));
        let mut broken = Vec::new();
        for session in to {
            let Some(channel) = self.channels.get(session) else { continue };
            if !contained(*session, || channel.deliver(&message)) {
                self.channels.remove(session);
                broken.push(*session);
            }
        }
        broken
    }

    /// Ends a session's channel.
    pub(super) fn close(&mut self, session: SessionId, refusal: &Refusal) {
        if let Some(channel) = self.channels.remove(&session) {
            contained(session, || channel.close(refusal));
        }
    }

    /// Ends all channels.
    pub(super) fn close_all(&mut self, refusal: &Refusal) {
        for (session, channel) in std::mem::take(&mut self.channels) {
            contained(session, || channel.close(refusal));
        }
    }
}

/// Calls into a channel, which may be anybody's code: if it panics, only its session ends.
fn contained(session: SessionId, call: impl FnOnce()) -> bool {
    // Unwind safe: a channel that panicked is not called again.
    let done = catch_unwind(AssertUnwindSafe(call));
    if let Err(panic) = &done {
        let panic = panic_text(panic.as_ref());
        tracing::error!(%session, panic, "the channel of a session panicked: it is detached");
    }
    done.is_ok()
}
