//! The query of a request, as far as it is about a store. Members that nobody here knows are for
//! somebody else.

use std::collections::BTreeMap;

use automerge::ChangeHash;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::tag::Tag;
use crate::ids::Seq;
use crate::json::Pointer;
use crate::limits;
use crate::server::Seats;
use crate::server::problem::Problem;
use crate::workspace::At;

/// `?path=` and `?at=`.
#[derive(Debug, Default)]
pub(in crate::server) struct StoreQuery {
    /// A place in the state (RFC 6901).
    pub(super) path: Option<Pointer>,
    /// A state that the store was in.
    pub(super) at: Option<At>,
}

/// `?since=` and `?limit=`.
#[derive(Debug)]
pub(in crate::server) struct ChangesQuery {
    /// The seq of the state before the first commit that is wanted.
    pub(super) since: Seq,
    /// Commits in the answer, at most.
    pub(super) limit: usize,
}

impl StoreQuery {
    /// Holds that a writing request has no member of the query that would mean nothing.
    ///
    /// Errors: 400 `bad-query`, since to leave it out would write to another place.
    pub(super) fn is_only_of(&self, may_have_path: bool) -> Result<(), Problem> {
        if self.at.is_some() {
            return Err(Problem::bad_query("what was cannot be written: use If-Match"));
        }
        if self.path.is_some() && !may_have_path {
            return Err(Problem::bad_query("a patch names its places itself"));
        }
        Ok(())
    }
}

impl FromRequestParts<Seats> for StoreQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let mut members = members(parts, seats).await?;
        let path = members.remove("path").map(|text| pointer(&text)).transpose()?;
        let at = members.remove("at").map(|text| position(&text)).transpose()?;
        Ok(Self { path, at })
    }
}

impl FromRequestParts<Seats> for ChangesQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, seats: &Seats) -> Result<Self, Problem> {
        let mut members = members(parts, seats).await?;
        let since = members.remove("since").and_then(|text| number(&text)).map(Seq);
        let since = since.ok_or_else(|| Problem::bad_query("`since` is a seq"))?;
        let limit = match members.remove("limit") {
            None => limits::CHANGES_DEFAULT,
            Some(text) => number(&text)
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| (1..=limits::CHANGES_MAX).contains(limit))
                .ok_or_else(|| {
                    let max = limits::CHANGES_MAX;
                    Problem::bad_query(format!("`limit` is a number from 1 to {max}"))
                })?,
        };
        Ok(Self { since, limit })
    }
}

/// The members of the query, unescaped; of those with the same name the last.
pub(in crate::server) async fn members(
    parts: &mut Parts,
    seats: &Seats,
) -> Result<BTreeMap<String, String>, Problem> {
    let read = Query::<BTreeMap<String, String>>::from_request_parts(parts, seats).await;
    read.map(|Query(members)| members).map_err(|error| Problem::bad_query(error.body_text()))
}

/// A place in a state.
pub(in crate::server) fn pointer(text: &str) -> Result<Pointer, Problem> {
    text.parse().map_err(|error| Problem::bad_query(format!("`path`: {error}")))
}

/// Digits only: no sign, no blanks.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A seq, an entity tag, or heads in hex with commas between them.
fn position(text: &str) -> Result<At, Problem> {
    if let Some(seq) = number(text) {
        return Ok(At::Seq(Seq(seq)));
    }
    let at = match Tag::read(text.trim_matches('"')) {
        Some(Tag::Whole(cursor)) => Some(At::Heads(cursor.heads)),
        Some(Tag::Hashed { seq, .. }) => Some(At::Seq(seq)),
        None => heads(text).map(At::Heads),
    };
    at.ok_or_else(|| Problem::bad_query("`at` is a seq, an entity tag, or heads"))
}

fn heads(text: &str) -> Option<Vec<ChangeHash>> {
    let heads: Vec<&str> = text.split(',').collect();
    if heads.len() > limits::DOCUMENT_HEADS_MAX {
        return None;
    }
    heads.into_iter().map(|head| head.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Cursor;

    #[test]
    fn a_position_is_a_seq_a_tag_or_heads() {
        let at = |text: &str| position(text).map_err(|problem| problem.code());
        assert_eq!(at("12"), Ok(At::Seq(Seq(12))));
        let heads = vec![ChangeHash([1; 32]), ChangeHash([2; 32])];
        let hex = heads.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(at(&hex), Ok(At::Heads(heads.clone())));
        let tag = Tag::of(Cursor { seq: Seq(7), heads: heads.clone() }).header().unwrap();
        let quoted = tag.to_str().unwrap();
        assert_eq!(at(quoted), Ok(At::Heads(heads.clone())));
        assert_eq!(at(quoted.trim_matches('"')), Ok(At::Heads(heads)));
        for bad in ["", "-1", "+1", "1.0", "99999999999999999999", "abc", "0x1", "{}"] {
            assert_eq!(at(bad), Err("bad-query"), "{bad:?}");
        }
    }
}
