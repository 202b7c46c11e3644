//! How JSON is written into the document of a store.

use std::fmt;
use std::str::FromStr;

use crate::json::{Identity, Key, Pointer, PointerError};

/// The rules by which JSON is written into a document.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Strings that are merged character by character.
    pub text: Vec<PathPattern>,
    /// What every other string is written as.
    pub strings: Strings,
    /// What makes two elements of an array the same.
    pub identity: Identity,
}

/// What a string is written as where no text is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strings {
    /// A scalar: small and fast; JavaScript clients see an `ImmutableString`.
    #[default]
    Scalar,
    /// A text object, replaced as a whole; JavaScript clients see a `string`.
    Text,
}

impl Policy {
    /// Whether the string at this path is merged character by character.
    pub(super) fn declares_text(&self, path: &[Segment]) -> bool {
        self.text.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether a new string at this path is written as a text object.
    pub(super) fn is_text(&self, path: &[Segment]) -> bool {
        self.strings == Strings::Text || self.declares_text(path)
    }
}

/// One step of the way from the root to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// A member of an object.
    Key(Key),
    /// An element of an array.
    Index(usize),
}

/// A JSON Pointer (RFC 6901) in which a segment `*` stands for any one member or element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Pointer);

impl PathPattern {
    fn matches(&self, path: &[Segment]) -> bool {
        let pattern = self.0.segments();
        let one = |(wanted, got): (&Key, &Segment)| match got {
            _ if **wanted == *"*" => true,
            Segment::Key(key) => wanted == key,
            Segment::Index(index) => wanted.parse() == Ok(*index),
        };
        pattern.len() == path.len() && pattern.iter().zip(path).all(one)
    }
}

impl FromStr for PathPattern {
    type Err = PointerError;

    fn from_str(pattern: &str) -> Result<Self, PointerError> {
        Ok(Self(pattern.parse()?))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_segment() {
        let pattern: PathPattern = "/notes/*/body".parse().unwrap();
        let key = |key: &str| Segment::Key(key.into());
        assert!(pattern.matches(&[key("notes"), key("a"), key("body")]));
        assert!(pattern.matches(&[key("notes"), Segment::Index(3), key("body")]));
        assert!(!pattern.matches(&[key("notes"), key("body")]));
        assert!(!pattern.matches(&[key("notes"), key("a"), key("body"), key("x")]));
    }
}
