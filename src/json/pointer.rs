//! JSON Pointer (RFC 6901): the name of one place in a JSON value.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::tree::Key;
use crate::limits;

/// Why a text is not a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Every segment starts with `/`; only the whole value is named by the empty text.
    #[error("a pointer is empty or starts with '/'")]
    NoSlash,
    /// `~` may only stand in `~0` (for `~`) and `~1` (for `/`).
    #[error("'~' in a pointer is followed by '0' or '1'")]
    BadEscape,
    /// More than [`limits::POINTER_SEGMENTS_MAX`] segments.
    #[error("a pointer has at most {} segments", limits::POINTER_SEGMENTS_MAX)]
    TooLong,
}

/// A place in a JSON value: the keys and indices to follow from the root, unescaped.
///
/// `""` is the whole value and has no segments; `"/"` is the member whose key is empty.
///
/// ```
/// use statehouse::json::Pointer;
///
/// let pointer: Pointer = "/m~0n/a~1b/0".parse()?;
/// assert_eq!(pointer.last(), Some("0"));
/// assert_eq!(pointer.parent().unwrap().to_string(), "/m~0n/a~1b");
/// # Ok::<_, statehouse::json::PointerError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pointer {
    segments: Vec<Key>,
}

impl Pointer {
    /// The whole value: `""`.
    pub const fn root() -> Self {
        Self { segments: Vec::new() }
    }

    /// Reads a pointer as RFC 6901 writes it.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        let segments = text.strip_prefix('/').ok_or(PointerError::NoSlash)?.split('/');
        let segments = segments
            .take(limits::POINTER_SEGMENTS_MAX + 1)
            .map(unescape)
            .collect::<Result<Vec<_>, _>>()?;
        if segments.len() > limits::POINTER_SEGMENTS_MAX {
            return Err(PointerError::TooLong);
        }
        Ok(Self { segments })
    }

    /// The segments from the root on, unescaped.
    pub fn segments(&self) -> &[Key] {
        &self.segments
    }

    /// How many segments it has; the whole value has none.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether it names the whole value.
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether it has no segments, which is to say that it names the whole value.
    pub fn is_empty(&self) -> bool {
        self.is_root()
    }

    /// Goes one step down.
    ///
    /// The limit on segments holds for what is parsed; a path that follows a tree is as long as
    /// the tree is deep.
    pub fn push(&mut self, segment: impl Into<Key>) {
        self.segments.push(segment.into());
    }

    /// Goes one step up, and returns the segment it came from; the root stays where it is.
    pub fn pop(&mut self) -> Option<Key> {
        self.segments.pop()
    }

    /// The place one step down.
    #[must_use]
    pub fn child(&self, segment: impl Into<Key>) -> Self {
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend_from_slice(&self.segments);
        segments.push(segment.into());
        Self { segments }
    }

    /// The place one step up; the root has none.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.segments.split_last()?;
        Some(Self { segments: parent.to_vec() })
    }

    /// The last segment; the root has none.
    pub fn last(&self) -> Option<&str> {
        self.segments.last().map(|key| &**key)
    }

    /// Whether `self` is `prefix` or lies beneath it.
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.segments.starts_with(&prefix.segments)
    }
}

/// Reads a segment as the index of an array (RFC 6901, section 4): digits without a leading zero.
///
/// `-`, the place after the last element, is no index here: only one who adds knows what it means.
pub fn array_index(segment: &str) -> Option<usize> {
    let digits = segment.bytes().all(|b| b.is_ascii_digit());
    let canonical = segment == "0" || !segment.starts_with('0');
    // What overflows is beyond the end of every array.
    if digits && canonical { segment.parse().ok() } else { None }
}

fn unescape(segment: &str) -> Result<Key, PointerError> {
    if !segment.contains('~') {
        return Ok(segment.into());
    }
    let mut plain = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(PointerError::BadEscape),
            },
            c => c,
        });
    }
    Ok(plain.into())
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        Self::parse(text)
    }
}

impl FromIterator<Key> for Pointer {
    fn from_iter<I: IntoIterator<Item = Key>>(segments: I) -> Self {
        Self { segments: segments.into_iter().collect() }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;

        for segment in &self.segments {
            f.write_char('/')?;
            for c in segment.chars() {
                match c {
                    '~' => f.write_str("~0")?,
                    '/' => f.write_str("~1")?,
                    c => f.write_char(c)?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::arbitrary;

    fn segments(text: &str) -> Vec<String> {
        let pointer = Pointer::parse(text).unwrap();
        pointer.segments().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_empty_pointer_is_the_whole_and_a_slash_is_the_empty_key() {
        assert_eq!(segments(""), [""; 0]);
        assert_eq!(segments("/"), [""]);
        assert_eq!(segments("/foo/0"), ["foo", "0"]);
        assert_eq!(segments("//"), ["", ""]);
    }

    #[test]
    fn escapes_are_read_once_and_from_the_left() {
        assert_eq!(segments("/a~1b"), ["a/b"]);
        assert_eq!(segments("/m~0n"), ["m~n"]);
        assert_eq!(segments("/~01"), ["~1"]);
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert_eq!(Pointer::parse("a"), Err(PointerError::NoSlash));
        assert_eq!(Pointer::parse("#/a"), Err(PointerError::NoSlash));
        for text in ["/~", "/a~", "/~2", "/~~0"] {
            assert_eq!(Pointer::parse(text), Err(PointerError::BadEscape), "{text}");
        }
        let longest = "/x".repeat(limits::POINTER_SEGMENTS_MAX);
        assert_eq!(Pointer::parse(&longest).unwrap().len(), limits::POINTER_SEGMENTS_MAX);
        assert_eq!(Pointer::parse(&(longest + "/x")), Err(PointerError::TooLong));
    }

    #[test]
    fn an_index_has_one_spelling() {
        assert_eq!(array_index("0"), Some(0));
        assert_eq!(array_index("10"), Some(10));
        for text in ["", "-", "00", "01", "+1", "-1", "1.0", "1e0", "٣", "99999999999999999999"] {
            assert_eq!(array_index(text), None, "{text}");
        }
    }

    #[test]
    fn a_place_lies_beneath_its_ancestors_only() {
        let place = Pointer::parse("/a/b").unwrap();
        assert!(place.starts_with(&Pointer::root()) && place.starts_with(&place));
        assert!(place.starts_with(&Pointer::parse("/a").unwrap()));
        assert!(!place.starts_with(&Pointer::parse("/a/b/c").unwrap()));
        assert!(!Pointer::parse("/ab").unwrap().starts_with(&Pointer::parse("/a").unwrap()));
        assert_eq!(Pointer::root().parent(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(segments in prop::collection::vec(arbitrary::key(), 0..9)) {
            let pointer: Pointer = segments.into_iter().collect();
            prop_assert_eq!(Pointer::parse(&pointer.to_string()).unwrap(), pointer);
        }

        #[test]
        fn what_is_read_is_written_back(text in "(/[a~/01é]{0,4}){0,4}") {
            if let Ok(pointer) = Pointer::parse(&text) {
                prop_assert_eq!(pointer.to_string(), text);
            }
        }
    }
}
