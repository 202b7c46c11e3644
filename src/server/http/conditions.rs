//! What a request demands beside what it says: `If-Match`, `If-None-Match` (RFC 9110, section 13),
//! `Prefer` (RFC 7240) and `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use automerge::ChangeHash;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::tag::Tag;
use crate::limits;
use crate::server::problem::Problem;
use crate::workspace::MessageId;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The conditions of a request.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) matches: Tags,
    pub(super) none_matches: Tags,
    /// Whether an edit that is not made on the newest state is refused, where it would be merged.
    pub(super) strict: bool,
    /// The client's own name of the request.
    pub(super) id: Option<MessageId>,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Tags {
    /// There is no such header.
    #[default]
    Absent,
    /// `*`: any state at all.
    Any,
    /// Any of these.
    These(Vec<Listed>),
}

/// One tag of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Marked as weak (`W/`): it never matches where an edit depends on it.
    weak: bool,
    /// `None`: it was not made here, and matches nothing.
    tag: Option<Tag>,
}

impl Conditions {
    /// Reads the headers of a request.
    ///
    /// Errors: 400 `bad-header`, where one of them cannot be read.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            matches: Tags::read(headers, &header::IF_MATCH)?,
            none_matches: Tags::read(headers, &header::IF_NONE_MATCH)?,
            strict: prefers_strict(headers),
            id: idempotency_key(headers)?,
        })
    }
}

impl Conditions {
    /// The same, with tags that nobody here has made.
    pub(super) fn without_tags(mut self) -> Self {
        for tags in [&mut self.matches, &mut self.none_matches] {
            if let Tags::These(tags) = tags {
                for listed in tags {
                    listed.tag = None;
                }
            }
        }
        self
    }
}

impl Tags {
    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        let mut present = false;
        for value in headers.get_all(name) {
            let mut rest = value.to_str().map_err(|_opaque| bad_tags(name))?.trim();
            present = true;
            if rest == "*" {
                return Ok(Self::Any);
            }
            while !rest.is_empty() {
                let (tag, after) = listed(rest).ok_or_else(|| bad_tags(name))?;
                tags.push(tag);
                rest = after;
            }
        }
        tags.truncate(limits::CONDITION_TAGS_MAX);
        Ok(if present { Self::These(tags) } else { Self::Absent })
    }

    /// The tags that match when compared strongly.
    pub(super) fn strong(&self) -> impl Iterator<Item = &Tag> {
        self.all().iter().filter(|listed| !listed.weak).filter_map(|listed| listed.tag.as_ref())
    }

    /// All tags that are known, weak ones too.
    pub(super) fn known(&self) -> impl Iterator<Item = &Tag> {
        self.all().iter().filter_map(|listed| listed.tag.as_ref())
    }

    /// Whether one of them matches this state when compared strongly, or is `*`.
    pub(super) fn hold_strongly(&self, heads: &[ChangeHash]) -> bool {
        *self == Self::Any || self.strong().any(|tag| tag.names(heads))
    }

    /// Whether one of them matches this state when compared weakly, or is `*`.
    pub(super) fn hold(&self, heads: &[ChangeHash]) -> bool {
        *self == Self::Any || self.known().any(|tag| tag.names(heads))
    }

    fn all(&self) -> &[Listed] {
        match self {
            Self::Absent | Self::Any => &[],
            Self::These(tags) => tags,
        }
    }
}

/// The first tag of a list, and what stands after the comma behind it.
fn listed(text: &str) -> Option<(Listed, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
    let after = after.trim_start();
    let after = if after.is_empty() { after } else { after.strip_prefix(',')?.trim_start() };
    Some((Listed { weak, tag: Tag::read(opaque) }, after))
}

fn bad_tags(name: &HeaderName) -> Problem {
    bad_header(format!("{name} is `*` or a list of entity tags in quotes"))
}

fn bad_header(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", detail)
}

/// Preferences that are not known are to be ignored, so those that cannot be read are too.
fn prefers_strict(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    let mut handling = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("handling").then_some(value)
    });
    // The first of each name counts (RFC 7240, section 2).
    handling.next().is_some_and(|value| value.eq_ignore_ascii_case("strict"))
}

/// The draft wants a string in quotes; many clients leave the quotes out.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<MessageId>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim);
    let key = text.and_then(|text| match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').filter(|key| !key.contains(['"', '\\'])),
        None => Some(text),
    });
    match key.and_then(MessageId::new) {
        Some(id) => Ok(Some(id)),
        None => Err(bad_header(format!(
            "an idempotency-key has 1 to {} bytes, without quotes and backslashes inside",
            limits::MESSAGE_ID_BYTES_MAX
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;
    use crate::workspace::Cursor;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn read(pairs: &[(&'static str, &str)]) -> Result<Conditions, &'static str> {
        Conditions::read(&headers(pairs)).map_err(|problem| problem.code())
    }

    fn state(head: u8) -> (String, Cursor) {
        let cursor = Cursor { seq: Seq(3), heads: vec![ChangeHash([head; 32])] };
        let header = Tag::of(cursor.clone()).header().unwrap();
        (header.to_str().unwrap().to_owned(), cursor)
    }

    #[test]
    fn tags_are_a_star_or_a_list() {
        let ((one, cursor), (two, other)) = (state(1), state(2));
        assert_eq!(read(&[]).unwrap().matches, Tags::Absent);
        assert_eq!(read(&[("if-match", " * ")]).unwrap().matches, Tags::Any);
        let list = format!("{one} , W/{two},\"strange\"");
        let conditions = read(&[("if-match", &list), ("if-none-match", &two)]).unwrap();
        assert_eq!(conditions.matches.strong().collect::<Vec<_>>(), [&Tag::of(cursor.clone())]);
        assert!(conditions.matches.hold(&cursor.heads) && conditions.matches.hold(&other.heads));
        assert!(!conditions.none_matches.hold(&cursor.heads));
        let twice = read(&[("if-match", &one), ("if-match", &two)]).unwrap();
        assert_eq!(twice.matches.strong().count(), 2, "a list may come in several headers");
        for bad in ["abc", "\"abc", "\"a\" \"b\"", "*, \"a\"", "w/\"a\""] {
            assert_eq!(read(&[("if-match", bad)]).unwrap_err(), "bad-header", "{bad}");
        }
    }

    #[test]
    fn strictness_is_one_preference_among_others() {
        for strict in ["handling=strict", "wait=5, Handling=\"strict\"; x=1", "handling = strict"] {
            assert!(read(&[("prefer", strict)]).unwrap().strict, "{strict}");
        }
        for lenient in ["", "strict", "handling=lenient, handling=strict", "xhandling=strict"] {
            assert!(!read(&[("prefer", lenient)]).unwrap().strict, "{lenient}");
        }
    }

    #[test]
    fn a_key_is_text_with_or_without_quotes() {
        for key in ["8e03978e-40d5", "\"8e03978e-40d5\""] {
            let id = read(&[("idempotency-key", key)]).unwrap().id;
            assert_eq!(id.unwrap().as_str(), "8e03978e-40d5");
        }
        for bad in ["", "\"\"", "\"a", "\"a\"b\"", &"x".repeat(65)] {
            assert_eq!(read(&[("idempotency-key", bad)]).unwrap_err(), "bad-header", "{bad}");
        }
    }
}
