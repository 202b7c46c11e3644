//! The limits of a configuration: `[limits]`.

use std::fmt::Display;

use serde::Deserialize;

use super::{ConfigError, Limits};
use crate::json::JsonLimits;
use crate::limits as bounds;
use crate::workspace::WorkspaceLimits;

/// Every key of the table; what is left out is as in [`crate::limits`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    idle_ms: Option<u64>,
    memory_bytes: Option<usize>,
    stores: Option<usize>,
    document_bytes: Option<usize>,
    json_depth: Option<usize>,
    key_bytes: Option<usize>,
    patch_ops: Option<usize>,
    presence_bytes: Option<usize>,
    sockets: Option<usize>,
    request_ms: Option<u64>,
    frame_bytes: Option<usize>,
    message_bytes: Option<usize>,
    repo_message_bytes: Option<usize>,
    outbox_bytes: Option<usize>,
    outbox_stall_ms: Option<u64>,
    ping_ms: Option<u64>,
    repo_ping_ms: Option<u64>,
    drain_ms: Option<u64>,
    stop_ms: Option<u64>,
    sessions: Option<usize>,
    workspace_bytes: Option<u64>,
    requests_per_s: Option<u32>,
    sockets_per_s: Option<u32>,
    messages_per_s: Option<u32>,
}

impl LimitsTable {
    /// What the server holds its sockets to.
    pub(super) fn for_server(&self) -> Result<Limits, ConfigError> {
        use bounds as b;
        let limits = Limits {
            idle_ms: within("limits.idle_ms", self.idle_ms, b::IDLE_MS_MAX, b::IDLE_MS_CEILING)?,
            memory_bytes: within(
                "limits.memory_bytes",
                self.memory_bytes,
                b::MEMORY_BYTES_MAX,
                b::MEMORY_BYTES_CEILING,
            )?,
            sockets: within("limits.sockets", self.sockets, b::SOCKETS_MAX, b::SOCKETS_CEILING)?,
            request_ms: within(
                "limits.request_ms",
                self.request_ms,
                b::REQUEST_MS_MAX,
                b::REQUEST_MS_CEILING,
            )?,
            frame_bytes: within(
                "limits.frame_bytes",
                self.frame_bytes,
                b::FRAME_BYTES_MAX,
                b::FRAME_BYTES_CEILING,
            )?,
            message_bytes: within(
                "limits.message_bytes",
                self.message_bytes,
                b::MESSAGE_BYTES_MAX,
                b::MESSAGE_BYTES_CEILING,
            )?,
            repo_message_bytes: within(
                "limits.repo_message_bytes",
                self.repo_message_bytes,
                b::REPO_MESSAGE_BYTES_MAX,
                b::REPO_MESSAGE_BYTES_CEILING,
            )?,
            outbox_bytes: within(
                "limits.outbox_bytes",
                self.outbox_bytes,
                b::OUTBOX_BYTES_MAX,
                b::OUTBOX_BYTES_CEILING,
            )?,
            outbox_stall_ms: within(
                "limits.outbox_stall_ms",
                self.outbox_stall_ms,
                b::OUTBOX_STALL_MS_MAX,
                b::OUTBOX_STALL_MS_CEILING,
            )?,
            ping_ms: within("limits.ping_ms", self.ping_ms, b::PING_MS, b::PING_MS_CEILING)?,
            repo_ping_ms: within(
                "limits.repo_ping_ms",
                self.repo_ping_ms,
                b::REPO_PING_MS,
                b::PING_MS_CEILING,
            )?,
            ..self.for_rates()?
        };
        if limits.frame_bytes > limits.message_bytes {
            return Err(ConfigError::Value {
                key: "limits.frame_bytes",
                message: "a frame cannot be larger than the message it is part of".to_owned(),
            });
        }
        Ok(limits)
    }

    /// How often clients may come, and how the server ends.
    fn for_rates(&self) -> Result<Limits, ConfigError> {
        use bounds as b;
        Ok(Limits {
            requests_per_s: within(
                "limits.requests_per_s",
                self.requests_per_s,
                b::REQUESTS_PER_S,
                b::REQUESTS_PER_S_CEILING,
            )?,
            sockets_per_s: within(
                "limits.sockets_per_s",
                self.sockets_per_s,
                b::SOCKETS_PER_S,
                b::SOCKETS_PER_S_CEILING,
            )?,
            messages_per_s: within(
                "limits.messages_per_s",
                self.messages_per_s,
                b::MESSAGES_PER_S,
                b::MESSAGES_PER_S_CEILING,
            )?,
            drain_ms: self.drain_ms()?,
            stop_ms: within("limits.stop_ms", self.stop_ms, b::STOP_MS_MAX, b::STOP_MS_CEILING)?,
            ..Limits::default()
        })
    }

    /// Unlike the others it may be 0.
    fn drain_ms(&self) -> Result<u64, ConfigError> {
        match self.drain_ms {
            Some(0) => Ok(0),
            given => within("limits.drain_ms", given, bounds::DRAIN_MS, bounds::DRAIN_MS_CEILING),
        }
    }

    /// What a workspace holds its clients to.
    pub(super) fn for_workspace(&self) -> Result<WorkspaceLimits, ConfigError> {
        use bounds as b;
        let json = JsonLimits {
            depth_max: within(
                "limits.json_depth",
                self.json_depth,
                b::JSON_DEPTH_MAX,
                b::JSON_DEPTH_MAX,
            )?,
            key_bytes_max: within(
                "limits.key_bytes",
                self.key_bytes,
                b::KEY_BYTES_MAX,
                b::KEY_BYTES_CEILING,
            )?,
            document_bytes_max: within(
                "limits.document_bytes",
                self.document_bytes,
                b::DOCUMENT_BYTES_MAX,
                b::DOCUMENT_BYTES_CEILING,
            )?,
            patch_ops_max: within(
                "limits.patch_ops",
                self.patch_ops,
                b::PATCH_OPS_MAX,
                b::PATCH_OPS_CEILING,
            )?,
            ..JsonLimits::default()
        };
        Ok(WorkspaceLimits {
            json,
            presence_bytes_max: within(
                "limits.presence_bytes",
                self.presence_bytes,
                b::PRESENCE_BYTES_MAX,
                b::PRESENCE_BYTES_CEILING,
            )?,
            stores_max: within("limits.stores", self.stores, b::STORES_MAX, b::STORES_CEILING)?,
            bytes_max: within(
                "limits.workspace_bytes",
                self.workspace_bytes,
                b::WORKSPACE_BYTES_MAX,
                b::WORKSPACE_BYTES_MAX,
            )?,
            sessions_max: within(
                "limits.sessions",
                self.sessions,
                b::SESSIONS_MAX,
                b::SESSIONS_CEILING,
            )?,
        })
    }
}

/// The value that is given, if it lies between 1 and the ceiling; otherwise the usual one.
fn within<N: Copy + Default + Display + PartialOrd>(
    key: &'static str,
    given: Option<N>,
    usual: N,
    ceiling: N,
) -> Result<N, ConfigError> {
    let Some(given) = given else { return Ok(usual) };
    if given > N::default() && given <= ceiling {
        return Ok(given);
    }
    Err(ConfigError::Value { key, message: format!("it is 1 to {ceiling}, and not {given}") })
}
