//! The one table of the codes that clients are told: for errors, and for closing a socket.
//!
//! Clients decide by them what to do, so a code once given out keeps its meaning for ever.

use crate::document::DocumentError;
use crate::json::{JsonError, PatchError, PatchErrorKind};
use crate::workspace::Refusal;

/// Why a socket is closed: a WebSocket close code, and a word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// The close code (RFC 6455, section 7.4, and 4000 to 4999 for our own).
    pub code: u16,
    /// The reason that stands beside it.
    pub reason: &'static str,
}

impl Closing {
    /// The client has said goodbye.
    pub const NORMAL: Self = Self { code: 1000, reason: "goodbye" };
    /// What came is not WebSocket, or not the dialect.
    pub const PROTOCOL: Self = Self { code: 1002, reason: "protocol" };
    /// A binary frame where the dialect is spoken in text frames.
    pub const BINARY: Self = Self { code: 1003, reason: "binary-frame" };
    /// A text frame where the dialect is spoken in binary frames.
    pub const TEXT: Self = Self { code: 1003, reason: "text-frame" };
    /// A text frame that is not UTF-8.
    pub const NOT_UTF8: Self = Self { code: 1007, reason: "not-utf8" };
    /// A frame or message beyond the limit.
    pub const TOO_LARGE: Self = Self { code: 1009, reason: "too-large" };
    /// The server failed; the client has done nothing wrong.
    pub const INTERNAL: Self = Self { code: 1011, reason: "internal" };
    /// The server stops; connect again.
    pub const RESTART: Self = Self { code: 1012, reason: "shutting-down" };
    /// The token does not count any more: come with another one.
    pub const EXPIRED: Self = Self { code: 4003, reason: "expired" };
    /// The token was taken back.
    pub const REVOKED: Self = Self { code: 4004, reason: "revoked" };
    /// The client did not say who it is, or not in time, or what it showed is not valid.
    pub const UNAUTHORIZED: Self = Self { code: 4004, reason: "unauthorized" };
    /// The client may do nothing in this workspace.
    pub const FORBIDDEN: Self = Self { code: 4004, reason: "forbidden" };
    /// The client does not read what it is sent.
    pub const SLOW: Self = Self { code: SLOW, reason: "slow" };

    /// How a session ends for this reason.
    pub fn of(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::ShuttingDown => return Self::RESTART,
            Refusal::Replaced => REPLACED,
            Refusal::Unavailable(_)
            | Refusal::NotSaved(_)
            | Refusal::Stale
            | Refusal::NoProgress
            | Refusal::Document(DocumentError::NoProgress | DocumentError::UnknownHeads) => RESYNC,
            Refusal::Document(DocumentError::Diverged) => INTERNAL,
            Refusal::BadMessage(_)
            | Refusal::NoStore
            | Refusal::Forbidden
            | Refusal::Unmet
            | Refusal::Patch(_)
            | Refusal::Json(_)
            | Refusal::ActorTaken(_)
            | Refusal::NotAnObject
            | Refusal::TooMany(_)
            | Refusal::Document(
                DocumentError::Malformed(_)
                | DocumentError::TooMany(_)
                | DocumentError::TooDeep
                | DocumentError::TooLarge
                | DocumentError::Json(_)
                | DocumentError::ReservedKey
                | DocumentError::Refused(_)
                | DocumentError::Full
                | DocumentError::Unfit(_),
            ) => POLICY,
        };
        Self { code, reason: error_code(refusal) }
    }
}

const POLICY: u16 = 1008;
const INTERNAL: u16 = 1011;
/// Nothing is wrong with the client: connect again and say hello.
const RESYNC: u16 = 4000;
const SLOW: u16 = 4001;
/// The same client has a newer connection.
const REPLACED: u16 = 4002;

/// The code of a reason to refuse.
pub const fn error_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::BadMessage(_) => "bad-message",
        Refusal::NoStore => "no-store",
        Refusal::Forbidden => "forbidden",
        Refusal::Unavailable(_) => "unavailable",
        Refusal::NotSaved(_) => "not-saved",
        Refusal::Stale => "stale",
        Refusal::Unmet => "precondition-failed",
        Refusal::Patch(error) => patch_code(error),
        Refusal::Json(error) => json_code(error),
        Refusal::ActorTaken(_) => "actor-taken",
        Refusal::Document(error) => document_code(error),
        Refusal::NotAnObject => "not-an-object",
        Refusal::NoProgress => "resync",
        Refusal::Replaced => "replaced",
        Refusal::TooMany(_) => "too-many",
        Refusal::ShuttingDown => "shutting-down",
    }
}

/// What a client is told of a reason to refuse, for people. What a disk or its data are like is for
/// the log.
pub fn told(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Unavailable(_) => "the store cannot be loaded at present".to_owned(),
        Refusal::NotSaved(_) => "the change could not be saved".to_owned(),
        Refusal::Document(DocumentError::Diverged) => "the server failed".to_owned(),
        Refusal::BadMessage(_)
        | Refusal::NoStore
        | Refusal::Forbidden
        | Refusal::Stale
        | Refusal::Unmet
        | Refusal::Patch(_)
        | Refusal::Json(_)
        | Refusal::ActorTaken(_)
        | Refusal::Document(_)
        | Refusal::NotAnObject
        | Refusal::NoProgress
        | Refusal::Replaced
        | Refusal::TooMany(_)
        | Refusal::ShuttingDown => refusal.to_string(),
    }
}

const fn patch_code(error: &PatchError) -> &'static str {
    match &error.kind {
        PatchErrorKind::TestFailed => "test-failed",
        PatchErrorKind::TooManyOps => "too-many-ops",
        PatchErrorKind::NoSuchPath | PatchErrorKind::BadIndex | PatchErrorKind::NotAContainer => {
            "bad-path"
        }
        PatchErrorKind::Malformed(_)
        | PatchErrorKind::Pointer(_)
        | PatchErrorKind::MoveIntoSelf => "bad-patch",
        PatchErrorKind::Limit(error) => json_code(error),
    }
}

const fn json_code(error: &JsonError) -> &'static str {
    match error {
        JsonError::Syntax(_) => "bad-message",
        JsonError::TooDeep => "too-deep",
        JsonError::TooLarge => "too-large",
        JsonError::KeyTooLong => "key-too-long",
        JsonError::ForbiddenKey(_) => "forbidden-key",
    }
}

const fn document_code(error: &DocumentError) -> &'static str {
    match error {
        DocumentError::Malformed(_) => "bad-sync",
        DocumentError::TooMany(_) => "too-many",
        DocumentError::TooDeep => "too-deep",
        DocumentError::TooLarge => "too-large",
        DocumentError::Json(error) => json_code(error),
        DocumentError::ReservedKey => "reserved-key",
        DocumentError::UnknownHeads => "stale",
        DocumentError::NoProgress => "resync",
        DocumentError::Refused(_) => "refused",
        DocumentError::Full => "workspace-full",
        DocumentError::Unfit(_) => "schema-violation",
        DocumentError::Diverged => "internal",
    }
}

/// Every reason there is. A new one does not compile in the tables above until it has a code;
/// it belongs here too.
#[cfg(test)]
pub(crate) fn every_refusal() -> Vec<Refusal> {
    use crate::document::Breach;
    use crate::json::PointerError;
    use crate::workspace::ActorTaken;

    let patch = |kind| Refusal::Patch(PatchError { op: 0, kind });
    vec![
        Refusal::BadMessage(String::new()),
        Refusal::NoStore,
        Refusal::Forbidden,
        Refusal::Unavailable(String::new()),
        Refusal::NotSaved(String::new()),
        Refusal::Stale,
        Refusal::Unmet,
        Refusal::ActorTaken(ActorTaken { actor: [7; 16].as_slice().into() }),
        Refusal::NotAnObject,
        Refusal::NoProgress,
        Refusal::Replaced,
        Refusal::TooMany("stores"),
        Refusal::ShuttingDown,
        patch(PatchErrorKind::Malformed("".into())),
        patch(PatchErrorKind::Pointer(PointerError::NoSlash)),
        patch(PatchErrorKind::TooManyOps),
        patch(PatchErrorKind::TestFailed),
        patch(PatchErrorKind::NoSuchPath),
        patch(PatchErrorKind::BadIndex),
        patch(PatchErrorKind::NotAContainer),
        patch(PatchErrorKind::MoveIntoSelf),
        patch(PatchErrorKind::Limit(JsonError::TooLarge)),
        Refusal::Json(JsonError::Syntax(String::new())),
        Refusal::Json(JsonError::TooDeep),
        Refusal::Json(JsonError::TooLarge),
        Refusal::Json(JsonError::KeyTooLong),
        Refusal::Json(JsonError::ForbiddenKey(String::new())),
        Refusal::Document(DocumentError::Malformed(String::new())),
        Refusal::Document(DocumentError::TooMany("operations")),
        Refusal::Document(DocumentError::TooDeep),
        Refusal::Document(DocumentError::TooLarge),
        Refusal::Document(DocumentError::Json(JsonError::KeyTooLong)),
        Refusal::Document(DocumentError::ReservedKey),
        Refusal::Document(DocumentError::UnknownHeads),
        Refusal::Document(DocumentError::NoProgress),
        Refusal::Document(DocumentError::Refused(String::new())),
        Refusal::Document(DocumentError::Full),
        Refusal::Document(DocumentError::Unfit(Box::new(Breach::elsewhere()))),
        Refusal::Document(DocumentError::Diverged),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients are written against this list: a line may be added, never changed.
    #[test]
    fn the_codes_are_these() {
        let mut codes: Vec<String> = every_refusal()
            .iter()
            .map(|refusal| format!("{} {}", error_code(refusal), Closing::of(refusal).code))
            .collect();
        codes.sort_unstable();
        codes.dedup();
        let expected = [
            "actor-taken 1008",
            "bad-message 1008",
            "bad-patch 1008",
            "bad-path 1008",
            "bad-sync 1008",
            "forbidden 1008",
            "forbidden-key 1008",
            "internal 1011",
            "key-too-long 1008",
            "no-store 1008",
            "not-an-object 1008",
            "not-saved 4000",
            "precondition-failed 1008",
            "refused 1008",
            "replaced 4002",
            "reserved-key 1008",
            "resync 4000",
            "schema-violation 1008",
            "shutting-down 1012",
            "stale 4000",
            "test-failed 1008",
            "too-deep 1008",
            "too-large 1008",
            "too-many 1008",
            "too-many-ops 1008",
            "unavailable 4000",
            "workspace-full 1008",
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn what_the_disk_says_is_told_to_nobody() {
        for why in [Refusal::Unavailable, Refusal::NotSaved] {
            let refusal = why("disk I/O error in /var/lib".to_owned());
            assert!(!told(&refusal).contains("disk"), "{}", told(&refusal));
        }
    }

    /// A control frame has room for 125 bytes, two of them the code.
    #[test]
    fn a_reason_fits_a_close_frame() {
        for refusal in every_refusal() {
            assert!(Closing::of(&refusal).reason.len() <= 123);
        }
    }
}
