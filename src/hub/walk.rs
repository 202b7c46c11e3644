//! The spans of a walk: from what a client said, over the turn that took it, to the save.
//!
//! A turn takes what many have said and what the log has answered, and a save what many turns have
//! made, so each span goes on from the first of those that led to it and is linked to the others.
//! Nothing that a client chose stands in them: no names, no values, no users. Where nobody collects
//! them they cost a look.

use tracing::{Span, debug_span};

/// The target of the spans of a walk, for filters of `tracing`. They are of the level `DEBUG`.
pub const TARGET: &str = "statehouse::walk";

/// A message of a session.
pub(super) fn message(bytes: usize) -> Span {
    debug_span!(target: TARGET, "message", bytes)
}

/// A turn of a workspace, for what these have asked; none if nobody has asked for it.
pub(super) fn turn(causes: &[Span], inputs: usize) -> Span {
    let Some((first, others)) = causes.split_first() else { return Span::none() };
    after(debug_span!(target: TARGET, parent: first, "turn", inputs), others)
}

/// A transaction of the log, for the turns that wait for it.
pub(super) fn save(causes: &[Span], commits: usize) -> Span {
    let Some((first, others)) = causes.split_first() else { return Span::none() };
    let workspaces = causes.len();
    after(debug_span!(target: TARGET, parent: first, "save", workspaces, commits), others)
}

fn after(span: Span, others: &[Span]) -> Span {
    for other in others {
        span.follows_from(other);
    }
    span
}
