//! Names and numbers that arrive as text: parsed once, valid for ever.

mod document;
mod secret;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use document::{DocumentId, DocumentIdError};
pub(crate) use document::{checked_bytes, checked_text};

pub use secret::Secret;

use crate::limits;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters, or more than [`limits::NAME_BYTES_MAX`].
    #[error("a name has 1 to {} characters", limits::NAME_BYTES_MAX)]
    Length,
    /// The name holds a character outside `A-Z a-z 0-9 . _ : -`.
    #[error("a name is made of letters, digits, '.', '_', ':' and '-' only")]
    Character,
    /// `.` and `..` are no names: they mean something else in every path.
    #[error("'.' and '..' are not names")]
    Dots,
}

fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(NameError::Length);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if name.bytes().all(valid) { Ok(()) } else { Err(NameError::Character) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check_name(name)?;
                Ok(Self(name.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// The name of a workspace: `[A-Za-z0-9._:-]{1,128}`, and not `.` or `..`.
    WorkspaceId
}

name! {
    /// The name of a store in a workspace: `[A-Za-z0-9._:-]{1,128}`, and not `.` or `..`.
    ///
    /// No name needs escaping in a JSON Pointer, so `/store/path` is never ambiguous.
    StoreName
}

/// One attached client, from attach to detach; never used twice while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// The position of a commit in the log of its store: `epoch * 2^32 + n`.
///
/// The first commit of a store in epoch 0 is 1; 0 is the state before it. The epoch rises when a
/// store is restored from a backup, so no number ever names two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The state before the first commit of `epoch`.
    pub const fn start_of(epoch: u32) -> Self {
        Self((epoch as u64) << 32)
    }

    /// The epoch this position belongs to.
    pub const fn epoch(self) -> u64 {
        self.0 >> 32
    }

    /// The position of the commit after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_contract_says() {
        for good in ["a", "chartState", "A.b_c:d-9", &"x".repeat(128)] {
            assert_eq!(good.parse::<StoreName>().unwrap().as_str(), good);
        }
        let refused = |name: &str| name.parse::<WorkspaceId>().unwrap_err();
        assert_eq!(refused(""), NameError::Length);
        assert_eq!(refused(&"x".repeat(129)), NameError::Length);
        assert_eq!(refused(".."), NameError::Dots);
        for bad in ["a/b", "a~b", "a b", "ä", "a\0"] {
            assert_eq!(refused(bad), NameError::Character, "{bad:?}");
        }
    }

    #[test]
    fn an_epoch_is_the_upper_half_of_a_seq() {
        let seq = Seq::start_of(3).next();
        assert_eq!((seq.epoch(), seq.0), (3, 3 * (1 << 32) + 1));
    }
}
