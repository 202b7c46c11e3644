//! Every limit of the server, with its unit. There is no queue without one.
//!
//! Those that have a `_CEILING` can be set by a configuration, from 1 to the ceiling; without one
//! they are as here. What a configuration can not set is part of the protocol, or nobody's to tune.

/// Length of a workspace's or store's name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// One WebSocket frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// The largest [`FRAME_BYTES_MAX`] that a configuration may set, in bytes.
pub const FRAME_BYTES_CEILING: usize = 64 << 20;
/// One message from a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// One message from a client of the automerge-repo dialect, which sends a document as a whole, in
/// bytes.
pub const REPO_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The largest [`REPO_MESSAGE_BYTES_MAX`] that a configuration may set, in bytes.
pub const REPO_MESSAGE_BYTES_CEILING: usize = 64 << 20;
/// The largest [`MESSAGE_BYTES_MAX`] that a configuration may set, in bytes.
pub const MESSAGE_BYTES_CEILING: usize = 64 << 20;
/// Operations in one JSON patch.
pub const PATCH_OPS_MAX: usize = 10_000;
/// The largest [`PATCH_OPS_MAX`] that a configuration may set. No patch with more is even read.
pub const PATCH_OPS_CEILING: usize = 100_000;
/// Nesting of a JSON value; a scalar has depth 0. It is its own ceiling: what walks a value, here
/// and in Automerge, has room on its stack for no more.
pub const JSON_DEPTH_MAX: usize = 64;
/// One store's state as compact JSON, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// The largest [`DOCUMENT_BYTES_MAX`] that a configuration may set, in bytes.
pub const DOCUMENT_BYTES_CEILING: usize = 256 << 20;
/// One key of an object, in bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// The largest [`KEY_BYTES_MAX`] that a configuration may set, in bytes.
pub const KEY_BYTES_CEILING: usize = 64 << 10;
/// Segments of a JSON Pointer: enough for the deepest place there can be.
pub const POINTER_SEGMENTS_MAX: usize = JSON_DEPTH_MAX;
/// A client's own message id, in bytes.
pub const MESSAGE_ID_BYTES_MAX: usize = 64;
/// Heads in one cursor; a state with more is named by its seq alone.
pub const CURSOR_HEADS_MAX: usize = 256;

/// A client's name of itself in the dialect of automerge-repo, or of its session, in bytes.
pub const PEER_ID_BYTES_MAX: usize = 512;
/// The id of a storage in that dialect, in bytes.
pub const STORAGE_ID_BYTES_MAX: usize = 128;
/// Versions of that dialect that a client may offer.
pub const REPO_VERSIONS_MAX: usize = 64;
/// The text of an error in that dialect, in bytes.
pub const REPO_ERROR_BYTES_MAX: usize = 4 << 10;
/// The data of one ephemeral message, in bytes.
pub const EPHEMERAL_BYTES_MAX: usize = 64 << 10;
/// Storages that one message may name to hear of their heads, or to tell of them, and that one
/// session may want to hear of.
pub const REMOTE_STORAGES_MAX: usize = 1_000;
/// Heads of one document that one storage may be said to have.
pub const REMOTE_HEADS_MAX: usize = 1_000;

/// A file that holds the JSON Schema of a store, in bytes.
pub const SCHEMA_BYTES_MAX: u64 = 1 << 20;
/// A place, a rule, and what is wrong there, in the text of a broken rule: each, in bytes.
pub const BREACH_TEXT_BYTES_MAX: usize = 256;
/// Places of one change that are put back one by one, where each breaks a rule; of one that breaks
/// more, all is put back.
pub const MEND_PARTS_MAX: usize = 256;
/// Attempts to put back only a part of a change that broke a rule; then all of it is.
pub const MEND_ROUNDS_MAX: usize = 16;
/// Messages of one session that broke a rule and were put back, within [`MENDED_WITHIN_MS`]: then
/// the session is closed, so that two servers whose rules differ do not answer each other for ever.
pub const MENDED_MAX: u32 = 64;
/// Time after which they are counted from the beginning, in milliseconds.
pub const MENDED_WITHIN_MS: u64 = 10 * 60 * 1_000;

/// Bytes that one workspace may hold in the log, unless a configuration says less: more than any
/// disk has, and nothing is counted.
pub const WORKSPACE_BYTES_MAX: u64 = 1 << 50;
/// Stores in one workspace.
pub const STORES_MAX: usize = 10_000;
/// The largest [`STORES_MAX`] that a configuration may set. The answer to a hello that asks for
/// all of them still fits an outbox of [`OUTBOX_BYTES_MAX`].
pub const STORES_CEILING: usize = 16_000;
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
/// Bytes of messages that one session may have under way before it is read on.
pub const SESSION_WAITING_BYTES_MAX: usize = 8 << 20;
/// The same, as a number of messages.
pub const SESSION_WAITING_MESSAGES_MAX: usize = 64;
/// Actors of one store whose owners are remembered; beyond, those of the owners with the most are
/// forgotten first, and belong to whoever uses them next.
pub const ACTORS_MAX: usize = 100_000;
/// Messages that one session may have waiting for a store to be loaded.
pub const PARKED_MESSAGES_MAX: usize = 1_024;
/// Commits after a checkpoint that ask for the next one.
pub const CHECKPOINT_COMMITS: usize = 1_000;
/// Bytes of changes after a checkpoint that ask for the next one.
pub const CHECKPOINT_BYTES: usize = 4 << 20;
/// JSON, in bytes, below which reading a document anew is not worth thinking about.
pub const READ_ANEW_BYTES_MIN: u64 = 64 << 10;
/// Heads of one document: changes that nobody has merged yet. Every commit notes them all.
pub const DOCUMENT_HEADS_MAX: usize = 1_000;
/// Changes of one message that are refused before the rest is not even tried.
pub const CHANGES_REFUSED_MAX: u32 = 16;
/// Size from which a change is deflated, in bytes; to set up for it costs as much as to take in a
/// small change.
pub const CHANGE_DEFLATED_BYTES_MIN: usize = 1 << 10;
/// Operations of a change that is made again instead of received. Each may walk over all that was
/// deleted at its place, and to receive a change walks over it once.
pub const REENACTED_OPS_MAX: usize = 16;
/// Elements in a row that a stale edit may delete without being merged by Automerge: each is looked
/// up.
pub const UNDISTURBED_DELETES_MAX: usize = 64;
/// About what it costs to make an operation again, in nanoseconds (Automerge 0.12.0).
pub const REENACTED_OP_NS: u64 = 15_000;
/// Changes of one document that are received before the next is made again, after one that came out
/// otherwise: that costs as much as several received.
pub const REENACTMENT_PAUSE_CHANGES: u32 = 256;
/// Changes received since the last copy of a document before the next copy is made; a change that
/// goes wrong costs that many to be done again.
pub const SHIELD_CHANGES_MAX: usize = 64;
/// The same, in bytes of changes.
pub const SHIELD_BYTES_MAX: usize = 1 << 20;
/// Changes after which a document is saved anew for the next client that has nothing of it; one
/// more for every 64 that it has.
pub const SAVED_CHANGES_MAX: usize = 256;
/// Changes of one session and store that wait for ancestors.
pub const ORPHANS_MAX: usize = 10_000;
/// The same, in bytes.
pub const ORPHAN_BYTES_MAX: usize = 8 << 20;
/// Documents that one automerge-repo session waits for because they do not exist.
pub const DOCUMENTS_WANTED_MAX: usize = 10_000;
/// Runs of clients whose ephemeral messages are told from repetitions at the same time.
pub const EPHEMERAL_SOURCES_MAX: usize = 10_000;
/// Heads of other places, of all stores together, that one workspace remembers.
pub const REMOTE_HEADS_KEPT_MAX: usize = 50_000;
/// Stores that one session may have open.
pub const SESSION_STORES_MAX: usize = 4_096;
/// Changes of one session that wait for ancestors, in all stores, in bytes.
pub const SESSION_ORPHAN_BYTES_MAX: usize = 16 << 20;
/// Stores in which one session of the automerge-repo dialect may show itself.
pub const PRESENCE_STORES_MAX: usize = 64;
/// Sync messages in a row that may bring neither side anything new before a session is closed.
pub const SYNC_IDLE_ROUNDS_MAX: u32 = 64;
/// Hashes in one list of a sync message, and dependencies of one change.
pub const SYNC_HASHES_MAX: usize = 10_000;
/// Descriptions of what the sender has in one sync message; Automerge sends one.
pub const SYNC_HAVES_MAX: usize = 16;
/// One received change, inflated, in bytes.
pub const CHANGE_INFLATED_BYTES_MAX: usize = 8 << 20;
/// All of one sync message inflated, however small it is, in bytes.
pub const MESSAGE_INFLATED_BYTES_BASE: usize = 16 << 20;
/// Bytes that a sync message may hold inflated beyond the base, for each of its bytes.
pub const MESSAGE_INFLATED_BYTES_PER_BYTE: usize = 16;
/// All of one sync message inflated, however large it is, in bytes.
pub const MESSAGE_INFLATED_BYTES_MAX: usize = 64 << 20;
/// Operations in one sync message, however small it is. One costs up to 738 bytes.
pub const MESSAGE_OPS_BASE: u64 = 90_000;
/// Operations that a sync message may hold beyond the base in changes, for each of its bytes.
pub const CHANGE_OPS_PER_BYTE: u64 = 4;
/// Operations that a sync message may hold beyond the base in a document, for each of its bytes.
pub const DOCUMENT_OPS_PER_BYTE: u64 = 16;
/// Operations in one sync message that have a byte of their own when inflated: characters that are
/// pasted at once, however well they deflate.
pub const TEXT_OPS_MAX: u64 = 210_000;
/// Operations in one sync message, however large it is.
pub const MESSAGE_OPS_MAX: u64 = 6_000_000;
/// Changes that documents in one sync message hold, however small it is.
pub const MESSAGE_CHANGES_BASE: u64 = 20_000;
/// Changes that documents in one sync message hold beyond the base, for each of its bytes.
pub const MESSAGE_CHANGES_PER_BYTE: u64 = 1;
/// Numbers of operations that a change may leave out after those it depends on. All are 32 bits
/// wide, and a document in which they are used up cannot be written to any more.
pub const OP_GAP_MAX: u64 = 1 << 24;
/// Actors named in one received change or document.
pub const MESSAGE_ACTORS_MAX: usize = 100_000;
/// One actor's name, in bytes; Automerge makes them 16 long.
pub const ACTOR_BYTES_MAX: usize = 128;
/// The message of a change, or what stands beside its operations, in bytes.
pub const CHANGE_NOTE_BYTES_MAX: usize = 64 << 10;
/// One session's presence, as compact JSON, in bytes.
pub const PRESENCE_BYTES_MAX: usize = 16 << 10;
/// The largest [`PRESENCE_BYTES_MAX`] that a configuration may set, in bytes.
pub const PRESENCE_BYTES_CEILING: usize = 1 << 20;

/// Inputs that wait in the mailbox of one workspace.
pub const MAILBOX_INPUTS_MAX: usize = 1_024;
/// Inputs that one turn of a workspace takes together.
pub const TURN_INPUTS_MAX: usize = 256;
/// Appends that wait for the writer of the log.
pub const SAVES_WAITING_MAX: usize = 4_096;
/// What a message that waits is taken to need beside what it carries, in bytes.
pub const MESSAGE_FRAMING_BYTES: usize = 256;
/// Bytes that wait to be written to one socket.
pub const OUTBOX_BYTES_MAX: usize = 4 << 20;
/// Answers that nobody would repeat may take so many times [`OUTBOX_BYTES_MAX`] before the client
/// counts as slow: a client that asks for all it has at once must get it.
pub const OUTBOX_ANSWERS_MAX: usize = 16;
/// The largest [`OUTBOX_BYTES_MAX`] that a configuration may set, in bytes.
pub const OUTBOX_BYTES_CEILING: usize = 1 << 30;
/// Time in which a socket must take something of what is written to it, in milliseconds.
pub const OUTBOX_STALL_MS_MAX: u64 = 30_000;
/// The largest [`OUTBOX_STALL_MS_MAX`] that a configuration may set, in milliseconds.
pub const OUTBOX_STALL_MS_CEILING: u64 = 60 * 60 * 1_000;
/// Sockets that are open at the same time; more wait to be accepted.
pub const SOCKETS_MAX: usize = 50_000;
/// The largest [`SOCKETS_MAX`] that a configuration may set.
pub const SOCKETS_CEILING: usize = 1_000_000;
/// Sessions of one workspace at the same time.
pub const SESSIONS_MAX: usize = SOCKETS_MAX;
/// The largest [`SESSIONS_MAX`] that a configuration may set.
pub const SESSIONS_CEILING: usize = SOCKETS_CEILING;
/// HTTP requests from one address, and of one user, in a second.
pub const REQUESTS_PER_S: u32 = 2_000;
/// The largest [`REQUESTS_PER_S`] that a configuration may set.
pub const REQUESTS_PER_S_CEILING: u32 = 1_000_000;
/// New sessions of sockets from one address in a second.
pub const SOCKETS_PER_S: u32 = 1_000;
/// The largest [`SOCKETS_PER_S`] that a configuration may set.
pub const SOCKETS_PER_S_CEILING: u32 = 1_000_000;
/// Messages that are read from one socket in a second.
pub const MESSAGES_PER_S: u32 = 20_000;
/// The largest [`MESSAGES_PER_S`] that a configuration may set.
pub const MESSAGES_PER_S_CEILING: u32 = 10_000_000;
/// What may come at once of what is limited by the second, in seconds' worth.
pub const RATE_BURST_S: u32 = 10;
/// Buckets that the addresses and users of all requests share.
pub const RATE_BUCKETS: u64 = 1 << 16;
/// Sockets that are open at the same time where those who run the server ask.
pub const ADMIN_SOCKETS_MAX: usize = 64;
/// Time in which a client must send the head of its next HTTP request, from the moment that it
/// could, in milliseconds.
pub const REQUEST_MS_MAX: u64 = 15_000;
/// The largest [`REQUEST_MS_MAX`] that a configuration may set, in milliseconds.
pub const REQUEST_MS_CEILING: u64 = 10 * 60 * 1_000;
/// Time in which a client must say who it is where that is asked of it, in milliseconds.
pub const HELLO_MS_MAX: u64 = 10_000;
/// One token, in bytes.
pub const AUTH_TOKEN_BYTES_MAX: usize = 8 << 10;
/// What a clock of another machine may be wrong, in milliseconds: a token counts that much longer,
/// and that much earlier.
pub const AUTH_LEEWAY_MS: u64 = 5_000;
/// Grants in one token, and patterns of one kind in one grant.
pub const AUTH_GRANTS_MAX: usize = 64;
/// The name of a user, or the id of a token, in bytes.
pub const AUTH_USER_BYTES_MAX: usize = 256;
/// A secret that signs tokens, in bytes (RFC 7518, section 3.2).
pub const AUTH_SECRET_BYTES_MIN: usize = 32;
/// A file or an answer with keys, or with the revoked, in bytes.
pub const AUTH_FILE_BYTES_MAX: u64 = 4 << 20;
/// Keys in one set.
pub const AUTH_KEYS_MAX: usize = 64;
/// Time after which the list of the revoked, and what an open socket may, is looked at again, in
/// milliseconds.
pub const AUTH_CHECK_MS: u64 = 1_000;
/// Age at which a set of keys is asked for again, in milliseconds.
pub const JWKS_AGE_MS_MAX: u64 = 10 * 60 * 1_000;
/// Time after which it is asked for again because a token names a key that is not in it, in
/// milliseconds.
pub const JWKS_REFRESH_MS_MIN: u64 = 30_000;
/// Time that the answer with a set of keys may take, in milliseconds.
pub const JWKS_FETCH_MS_MAX: u64 = 5_000;
/// Time in which a ticket must be used, in milliseconds.
pub const TICKET_MS_MAX: u64 = 30_000;
/// Tickets of one user that are waiting to be used.
pub const TICKETS_PER_USER_MAX: usize = 64;
/// Tickets of all users that are waiting to be used.
pub const TICKETS_MAX: usize = 10_000;
/// Time in which the body of an HTTP request must be there, from its first byte, in milliseconds.
pub const BODY_MS_MAX: u64 = 120_000;
/// Bytes of a body beyond its limit that are read and thrown away, so that the answer is heard.
pub const BODY_SURPLUS_BYTES_MAX: usize = 64 << 20;
/// What a client that is told to come later is told to wait, in seconds.
pub const RETRY_AFTER_S: u64 = 1;
/// Entity tags in one condition of an HTTP request; those beyond are as if they were not there.
pub const CONDITION_TAGS_MAX: usize = 16;
/// Heads that are written out in an entity tag, or in the id of an event; of a state with more
/// there is only a hash, or the seq.
pub const TAG_HEADS_MAX: usize = 8;
/// JSON, in bytes, beyond which an answer is written where it holds up nothing else.
pub const ANSWER_INLINE_BYTES_MAX: usize = 256 << 10;
/// Requests for old states and whole documents that are worked on at the same time.
pub const PAST_READERS_MAX: usize = 2;
/// Commits in one answer with changes, unless the request says another number.
pub const CHANGES_DEFAULT: usize = 100;
/// Commits in one answer with changes.
pub const CHANGES_MAX: usize = 1_000;
/// Patches in one answer with changes, in bytes of text; the last may go beyond.
pub const CHANGES_BYTES_MAX: usize = 4 << 20;
/// JSON that is read from the document for one answer with changes, in bytes; the last may go
/// beyond.
pub const CHANGES_READ_BYTES_MAX: usize = 32 << 20;
/// Stores that one event stream may name.
pub const EVENT_STORES_MAX: usize = 64;
/// Time without an event after which a stream says that it is alive, in milliseconds.
pub const EVENT_HEARTBEAT_MS: u64 = 15_000;
/// What an event stream tells its client to wait before it connects again, in milliseconds.
pub const EVENT_RETRY_MS: u64 = 1_000;
/// Time for which a browser may remember what pages of an origin may do, in seconds.
pub const PREFLIGHT_S: u64 = 600;
/// Time without a word from a client after which it is asked for a sign of life, in milliseconds.
pub const PING_MS: u64 = 15_000;
/// The same in the automerge-repo dialect, whose stock server asks as often.
pub const REPO_PING_MS: u64 = 5_000;
/// The largest [`PING_MS`] that a configuration may set, in milliseconds.
pub const PING_MS_CEILING: u64 = 60 * 60 * 1_000;
/// Such questions in a row that may stay unanswered before the socket counts as dead.
pub const PINGS_MISSED_MAX: u32 = 2;
/// Time that the close of a socket may take, in milliseconds.
pub const CLOSE_MS_MAX: u64 = 2_000;
/// Time that a closed socket waits for its client to take the last word, in milliseconds. This is
/// the real limit of the wait; the next one only bounds what it costs.
pub const LINGER_MS_MAX: u64 = 2_000;
/// Bytes that a closed socket still reads, to throw them away: more than the rest of the largest
/// message that can be under way.
pub const LINGER_BYTES_MAX: u64 = 2 * REPO_MESSAGE_BYTES_CEILING as u64;
/// Pause after a failed accept, in milliseconds: most likely no file descriptor is free.
pub const ACCEPT_PAUSE_MS: u64 = 200;
/// Bytes that are read from a socket at once.
pub const READ_BYTES: usize = 4 << 10;
/// Payload of a client's data frame beyond which it is read in pieces of this size, in bytes. A
/// multiple of 4, the length of a mask (RFC 6455, section 5.3), and below 64 KiB.
pub const PIECE_BYTES: usize = 1 << 10;
/// Payload of a frame that the server sends, in bytes; a larger message goes out as fragments of
/// this size (RFC 6455, section 5.4).
pub const FRAGMENT_BYTES: usize = 4 << 10;
/// Fragments of one message; where it would take more, they are larger. Stock clients in
/// JavaScript refuse a message of more than 16,384.
pub const FRAGMENTS_MAX: usize = 4 << 10;
/// Bytes of frames that are gathered before the kernel is given them.
pub const WRITE_BYTES: usize = 16 << 10;
/// Firings of one workspace that wait for their handlers.
pub const FIRINGS_WAITING_MAX: usize = 4_096;
/// Depth of triggers that fire because of what a trigger wrote.
pub const TRIGGER_DEPTH_MAX: u32 = 8;
/// Time one trigger handler may take, in milliseconds.
pub const TRIGGER_MS_MAX: u64 = 10_000;
/// Triggers registered in one workspace.
pub const TRIGGERS_MAX: usize = 10_000;
/// The values that one call of a webhook may tell, as compact JSON, in bytes; beyond, it says that
/// they were left out.
pub const CALL_BYTES_MAX: usize = 256 << 10;
/// Lanes of webhooks that are served at the same time; with new calls that are remembered one by
/// one, beyond which the log is asked for all.
pub const CALL_LANES_MAX: usize = 10_000;
/// The name of a webhook, in bytes.
pub const WEBHOOK_NAME_BYTES_MAX: usize = 128;
/// Calls of one webhook that are made at the same time.
pub const CALLS_RUNNING_MAX: usize = 16;
/// Calls of one lane that are read from the log at once.
pub const CALLS_READ_MAX: usize = 16;
/// Time in which the receiver of a call must have answered, in milliseconds.
pub const CALL_MS_MAX: u64 = 15_000;
/// What is read of a receiver's answer, in bytes: nothing in it matters.
pub const CALL_ANSWER_BYTES_MAX: usize = 16 << 10;
/// Time until a call that failed is made again, in milliseconds; it doubles with each failure.
pub const CALL_PAUSE_MS_MIN: u64 = 1_000;
/// The longest such time, in milliseconds.
pub const CALL_PAUSE_MS_MAX: u64 = 10 * 60 * 1_000;
/// Age of a commit from which on a call of a webhook that fails is given up, in milliseconds.
pub const CALL_GIVE_UP_MS: u64 = 3 * 24 * 60 * 60 * 1_000;
/// Calls that one commit makes of one webhook; one that changes more places makes a single one, of
/// the store.
pub const CALLS_OF_COMMIT_MAX: usize = 1_000;
/// Calls of webhooks that were given up and are kept to look at.
pub const CALLS_GIVEN_UP_MAX: usize = 10_000;
/// Calls that were given up in one answer to those who run the server.
pub const GIVEN_UP_PAGE_MAX: usize = 100;
/// Time for which what was counted of the calls that wait is told again, in milliseconds: it is
/// read from the disk.
pub const BACKLOG_AGE_MS: u64 = 10_000;
/// Time that an answer waits for it, in milliseconds; then it tells what was counted before.
pub const BACKLOG_READ_MS_MAX: u64 = 1_000;
/// The body of a request on the address of `[admin]`, in bytes.
pub const ADMIN_BODY_BYTES_MAX: usize = 16 << 10;
/// Time that a command waits for the answer on the address of `[admin]`, in milliseconds.
pub const ADMIN_ANSWER_MS_MAX: u64 = 30_000;
/// Revocations that are remembered where there is no file for them.
pub const REVOKED_MAX: usize = 10_000;
/// Time without sessions or calls after which a workspace is unloaded, in milliseconds.
pub const IDLE_MS_MAX: u64 = 60_000;
/// The largest [`IDLE_MS_MAX`] that a configuration may set, in milliseconds.
pub const IDLE_MS_CEILING: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Bytes that loaded workspaces may hold together before idle ones are unloaded early.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;
/// The largest [`MEMORY_BYTES_MAX`] that a configuration may set, in bytes: all that a machine can
/// have.
pub const MEMORY_BYTES_CEILING: usize = usize::MAX;
/// Time that a stop waits for what is unsaved, in milliseconds.
pub const STOP_MS_MAX: u64 = 10_000;
/// The largest [`STOP_MS_MAX`] that a configuration may set, in milliseconds.
pub const STOP_MS_CEILING: u64 = 60 * 60 * 1_000;
/// Time that a server which is asked to stop goes on as before, but for saying that it is not
/// ready, in milliseconds: so long does a load balancer in front of it take to notice.
pub const DRAIN_MS: u64 = 0;
/// The largest [`DRAIN_MS`] that a configuration may set, in milliseconds.
pub const DRAIN_MS_CEILING: u64 = 10 * 60 * 1_000;
/// Commits of one store that are read at once when a log is examined.
pub const EXAMINED_COMMITS: u64 = 16;
/// Findings in one store that are told one by one; beyond, only their number is.
pub const STORE_FINDINGS_MAX: usize = 100;
/// Messages of SQLite's own check that are passed on.
pub const SQLITE_FINDINGS_MAX: usize = 100;
/// Operations in one file that is imported. One costs up to 738 bytes while it is read.
pub const IMPORT_OPS_MAX: u64 = 6_000_000;
/// Changes in one file that is imported.
pub const IMPORT_CHANGES_MAX: u64 = 2_000_000;
/// One file that is imported, inflated, in bytes.
pub const IMPORT_INFLATED_BYTES_MAX: usize = 1 << 30;
/// One file that is imported, in bytes.
pub const IMPORT_FILE_BYTES_MAX: u64 = 1 << 30;
/// Messages that wait for one socket of the load generator's relay; then their authors wait.
pub const BENCH_RELAY_MESSAGES_MAX: usize = 4_096;
/// The longest message that the relay gives by itself, in bytes.
pub const BENCH_RELAY_GIFT_BYTES_MAX: usize = 256 << 20;
/// What the relay sets aside for reading from a socket, in bytes.
pub const BENCH_RELAY_READ_BYTES: usize = 4 << 10;
