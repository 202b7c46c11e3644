//! What is wrong with a state, by the rules of its store.

use std::fmt;

use crate::json::{Key, Pointer};
use crate::limits;

/// A place in a state, and the rule that it breaks.
///
/// Two are [the same](Self::is) if they break the same rule at the same place, whatever stands
/// there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The place.
    pub place: Pointer,
    /// The member of the object there that is missing, or one too many.
    pub member: Option<Key>,
    /// The rule; where a schema holds it, the pointer into the schema (RFC 6901).
    pub rule: Box<str>,
    /// What is wrong, in words that repeat no value of the state.
    pub said: Box<str>,
}

impl Breach {
    /// Whether both break the same rule at the same place.
    pub fn is(&self, other: &Self) -> bool {
        self.sign() == other.sign()
    }

    /// What makes it that breach and no other.
    pub fn sign(&self) -> (&Pointer, Option<&Key>, &str) {
        (&self.place, self.member.as_ref(), &self.rule)
    }

    /// The smallest part of a state that can mend it: the place, or the member.
    pub fn part(&self) -> Pointer {
        self.member
            .as_ref()
            .map_or_else(|| self.place.clone(), |member| self.place.child(Key::clone(member)))
    }

    /// That some rule is broken, for those who may not see where.
    pub fn elsewhere() -> Self {
        Self {
            place: Pointer::root(),
            member: None,
            rule: "".into(),
            said: "the state that would come of it is not one that the store may have".into(),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, rule, said, .. } = self;
        if rule.is_empty() {
            return f.write_str(short(said));
        }
        let (place, rule) = (place.to_string(), &**rule);
        let (place, rule, said) = (short(&place), short(rule), short(said));
        write!(f, "\"{place}\" breaks the rule \"{rule}\": {said}")
    }
}

/// The beginning of a text that may be as long as a client makes it.
fn short(text: &str) -> &str {
    let end = text.floor_char_boundary(limits::BREACH_TEXT_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}
