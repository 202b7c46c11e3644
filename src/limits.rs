//! Every limit of the server, with its unit. There is no queue without one.

/// Length of a workspace's or store's name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// One WebSocket frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// One message from a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Operations in one JSON patch.
pub const PATCH_OPS_MAX: usize = 10_000;
/// Nesting of a JSON value; a scalar has depth 0.
pub const JSON_DEPTH_MAX: usize = 64;
/// One store's state as compact JSON, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// One key of an object, in bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// Segments of a JSON Pointer.
pub const POINTER_SEGMENTS_MAX: usize = 64;
/// A client's own message id, in bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 64;
/// Heads in one cursor; a state with more is named by its seq alone.
pub const CURSOR_HEADS_MAX: usize = 256;

/// Stores in one workspace.
pub const STORES_MAX: usize = 10_000;
/// Commits of one store whose heads are kept, so that a stale JSON client can be answered with a
/// patch; younger than [`HISTORY_AGE_MS_MIN`] they are kept beyond this number.
pub const HISTORY_COMMITS_MIN: usize = 1_000;
/// Age up to which commits stay in the history, in milliseconds.
pub const HISTORY_AGE_MS_MIN: u64 = 24 * 60 * 60 * 1_000;
/// Commits of one store that the history never exceeds.
pub const HISTORY_COMMITS_MAX: usize = 10_000;
/// Recent commits of one store whose JSON is kept beside their heads.
pub const HISTORY_TREES_MAX: usize = 256;
/// Message ids of one store that are kept in memory; older ones are looked up in the log.
pub const MESSAGE_IDS_MAX: usize = 10_000;
/// Messages that one session may have waiting for a store to be loaded.
pub const PARKED_MESSAGES_MAX: usize = 1_024;
/// Commits after a checkpoint that ask for the next one.
pub const CHECKPOINT_COMMITS: usize = 1_000;
/// Bytes of changes after a checkpoint that ask for the next one.
pub const CHECKPOINT_BYTES: usize = 4 << 20;
/// Changes received together whose effects are followed one by one; beyond, the JSON is read anew.
pub const CHANGES_TRACED_MAX: usize = 1_000;
/// Sync messages in a row that may bring neither side anything new before a session is closed.
pub const SYNC_IDLE_ROUNDS_MAX: u32 = 64;
/// One session's presence, as compact JSON, in bytes.
pub const PRESENCE_BYTES_MAX: usize = 16 << 10;

/// Inputs that wait in the mailbox of one workspace.
pub const MAILBOX_INPUTS_MAX: usize = 1_024;
/// Inputs that one turn of a workspace takes together.
pub const TURN_INPUTS_MAX: usize = 256;
/// Appends that wait for the writer of the log.
pub const SAVES_WAITING_MAX: usize = 4_096;
/// Bytes that wait to be written to one socket.
pub const OUTBOX_BYTES_MAX: usize = 4 << 20;
/// Time in which a socket must take something from a full outbox, in milliseconds.
pub const OUTBOX_STALL_MS_MAX: u64 = 30_000;
/// Sockets that are open at the same time; more wait to be accepted.
pub const SOCKETS_MAX: usize = 50_000;
/// Time without a word from a client after which it is asked for a sign of life, in milliseconds.
pub const PING_MS: u64 = 15_000;
/// Such questions in a row that may stay unanswered before the socket counts as dead.
pub const PINGS_MISSED_MAX: u32 = 2;
/// Time that the close of a socket may take, in milliseconds.
pub const CLOSE_MS_MAX: u64 = 2_000;
/// Firings of one workspace that wait for their handlers.
pub const FIRINGS_WAITING_MAX: usize = 4_096;
/// Depth of triggers that fire because of what a trigger wrote.
pub const TRIGGER_DEPTH_MAX: u32 = 8;
/// Time one trigger handler may take, in milliseconds.
pub const TRIGGER_MS_MAX: u64 = 10_000;
/// Triggers registered in one workspace.
pub const TRIGGERS_MAX: usize = 10_000;
/// Time without sessions or calls after which a workspace is unloaded, in milliseconds.
pub const IDLE_MS_MAX: u64 = 60_000;
/// Bytes that loaded workspaces may hold together before idle ones are unloaded early.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Time that a stop waits for what is unsaved, in milliseconds.
pub const STOP_MS_MAX: u64 = 10_000;
