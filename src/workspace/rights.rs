//! What a session, or whoever asks, may do in a workspace.
//!
//! Rights are data: who gave them, and by what token, is not known here. A store that may not be
//! read is as if it were not there. What may be read of a store in part is a [`View`]: plain JSON
//! is cut down to it, and an edit that was made on what is left is carried over to the whole.

use std::fmt;
use std::str::FromStr;

use super::{Refusal, StoreKey, Workspace};
use crate::ids::{SessionId, StoreName};
use crate::json::{Json, Pointer};
use crate::limits;

mod gate;
mod view;

pub(super) use gate::Wanted;
pub use view::View;

/// Why a text is no [`Glob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is empty, or longer than a name.
    #[error("a pattern of names has 1 to {} bytes", limits::NAME_BYTES_MAX)]
    Length,
    /// It holds what no name holds.
    #[error("a pattern of names is made of A-Z a-z 0-9 . _ : - and *")]
    Character,
}

/// A pattern of names: those of a name, in which `*` stands for any number of any of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob(Box<str>);

impl Glob {
    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0_usize, 0_usize);
        // Where to go on if it does not fit: behind the last star, which then stands for more.
        let mut again = None;
        while let Some(byte) = name.get(seen) {
            match pattern.get(at) {
                Some(b'*') => {
                    again = Some((at.saturating_add(1), seen));
                    at = at.saturating_add(1);
                }
                Some(wanted) if wanted == byte => {
                    at = at.saturating_add(1);
                    seen = seen.saturating_add(1);
                }
                _ => match again {
                    None => return false,
                    Some((behind, from)) => {
                        at = behind;
                        seen = from.saturating_add(1);
                        again = Some((behind, seen));
                    }
                },
            }
        }
        pattern.iter().skip(at).all(|rest| *rest == b'*')
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() || text.len() > limits::NAME_BYTES_MAX {
            return Err(GlobError::Length);
        }
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-*".contains(&byte);
        if text.bytes().all(may_be) { Ok(Self(text.into())) } else { Err(GlobError::Character) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// One permission. Several add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// For the stores whose names fit one of these.
    pub stores: Vec<Glob>,
    /// Whether they may be read.
    pub read: bool,
    /// Whether they may be changed, and come to be by that.
    pub write: bool,
    /// Only at these places and below, in plain JSON; `None`: everywhere. A segment `*` stands for
    /// any one member or element; nothing else stands for an element of an array, since their
    /// numbers change.
    pub paths: Option<Vec<Pointer>>,
}

/// All that somebody may do in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights(Given);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    All,
    Grants(Vec<Grant>),
}

impl Rights {
    /// Everything: for server code, and for servers that ask nobody who he is.
    pub const fn all() -> Self {
        Self(Given::All)
    }

    /// The sum of these grants, and nothing else.
    pub const fn of(grants: Vec<Grant>) -> Self {
        Self(Given::Grants(grants))
    }

    /// Whether they are [`all`](Self::all) there are.
    pub fn is_all(&self) -> bool {
        self.0 == Given::All
    }

    /// Whether anything of a store may be read.
    pub fn reads(&self, store: &StoreName) -> bool {
        self.any(store, |grant| grant.read)
    }

    /// Whether anything of a store may be changed. What may not be read may not be changed either.
    pub fn writes(&self, store: &StoreName) -> bool {
        self.any(store, |grant| grant.write) && self.reads(store)
    }

    /// What may be read of a store.
    pub fn reading(&self, store: &StoreName) -> View {
        self.view(store, |grant| grant.read)
    }

    /// What may be changed of a store.
    pub fn writing(&self, store: &StoreName) -> View {
        if self.reads(store) { self.view(store, |grant| grant.write) } else { View::Nothing }
    }

    fn any(&self, store: &StoreName, does: impl Fn(&Grant) -> bool) -> bool {
        match &self.0 {
            Given::All => true,
            Given::Grants(grants) => grants.iter().any(|grant| does(grant) && grant.is_for(store)),
        }
    }

    fn view(&self, store: &StoreName, does: impl Fn(&Grant) -> bool) -> View {
        let Given::Grants(grants) = &self.0 else {
            return View::Whole;
        };
        let mut parts = Vec::new();
        for grant in grants.iter().filter(|grant| does(grant) && grant.is_for(store)) {
            match &grant.paths {
                None => return View::Whole,
                Some(paths) => parts.extend(paths.iter().cloned()),
            }
        }
        View::of_parts(parts)
    }
}

impl Grant {
    fn is_for(&self, store: &StoreName) -> bool {
        self.stores.iter().any(|glob| glob.matches(store.as_str()))
    }
}

#[cfg(test)]
mod tests;
