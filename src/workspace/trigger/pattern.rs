//! The patterns of triggers, in two syntaxes that cannot be mistaken for each other.
//!
//! | pattern | fires for |
//! |---|---|
//! | `/store/a/b` | that path, when its value changes by what happens at it or above it |
//! | `/store/a/*`, `/*` | every path below, at any depth (the original's meaning of `*`) |
//! | `$/store/a/*/b` | paths of that form, also when something below changes; `*`: one segment |
//! | `$/store/**` | every changed path from there on; `**`: any number of segments |

use std::fmt;
use std::str::FromStr;

use super::{Changed, compared, member_keys};
use crate::ids::StoreName;
use crate::json::{Json, Key, Pointer, PointerError};

/// Which paths a trigger watches. A full path is `/` + store + JSON Pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub(super) Form);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// One path.
    Exact(Pointer),
    /// All paths below one.
    Below(Pointer),
    /// Paths with wildcards.
    Glob(Glob),
}

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither of the two syntaxes.
    #[error("a pattern starts with '/' or '$/'")]
    Start,
    /// The path in it is no JSON Pointer.
    #[error("{0}")]
    Pointer(#[from] PointerError),
}

/// A path with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Named(Key),
    One,
    Many,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        if let Some(path) = pattern.strip_prefix('$') {
            let path: Pointer = path.parse()?;
            let step = |segment: &Key| match &**segment {
                "*" => Step::One,
                "**" => Step::Many,
                _ => Step::Named(Key::clone(segment)),
            };
            return Ok(Self(Form::Glob(Glob(path.segments().iter().map(step).collect()))));
        }
        if !pattern.starts_with('/') {
            return Err(PatternError::Start);
        }
        match pattern.strip_suffix("/*") {
            Some(prefix) => Ok(Self(Form::Below(prefix.parse()?))),
            None => Ok(Self(Form::Exact(pattern.parse()?))),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Exact(path) => path.fmt(f),
            Form::Below(path) => write!(f, "{path}/*"),
            Form::Glob(Glob(steps)) => {
                let segment = |step: &Step| match step {
                    Step::Named(key) => Key::clone(key),
                    Step::One => "*".into(),
                    Step::Many => "**".into(),
                };
                write!(f, "${}", steps.iter().map(segment).collect::<Pointer>())
            }
        }
    }
}

impl Glob {
    /// The paths of this form whose values an event changed.
    pub(super) fn matches(
        &self,
        store: &StoreName,
        event: &Changed,
        before: &Json,
        after: &Json,
    ) -> Vec<Changed> {
        let mut found = Vec::new();
        let mut states: Vec<&[Step]> = vec![&self.0];
        let full = std::iter::once(Key::from(store.as_str())).chain(event.path.segments().to_vec());
        let mut path = Pointer::root();
        for (depth, segment) in full.enumerate() {
            states = states.iter().flat_map(|state| consume(state, &segment)).collect();
            if depth > 0 {
                path.push(segment);
            }
            let is_event = path.len() == event.path.len();
            // An open end is told of the change itself, not of all that holds it.
            let ends = states.iter().any(|state| state.is_empty())
                || (is_event && states.iter().any(|state| matches!(state, [Step::Many])));
            if is_event && ends {
                found.push(event.clone());
            } else if ends {
                found.extend(compared(&path, before, after));
            }
        }
        let open = |state: &&[Step]| !state.is_empty() && !matches!(state, [Step::Many]);
        states.retain(open);
        if !states.is_empty() {
            inside(&states, &event.path, event.old.as_ref(), event.new.as_ref(), &mut found);
        }
        found
    }
}

/// The rest of a glob after one segment; `**` may end here or go on.
fn consume<'g>(state: &'g [Step], segment: &Key) -> Vec<&'g [Step]> {
    match state.split_first() {
        Some((Step::Named(key), rest)) if key == segment => vec![rest],
        Some((Step::One, rest)) => vec![rest],
        Some((Step::Many, rest)) => {
            let mut states = vec![state];
            if !rest.is_empty() {
                states.extend(consume(rest, segment));
            }
            states
        }
        _ => Vec::new(),
    }
}

/// Looks for what is left of a glob inside a value that was changed as a whole.
fn inside(
    states: &[&[Step]],
    path: &Pointer,
    old: Option<&Json>,
    new: Option<&Json>,
    found: &mut Vec<Changed>,
) {
    if old == new {
        return;
    }
    let mut keys: Vec<Key> = [old, new].into_iter().flatten().flat_map(member_keys).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let next: Vec<&[Step]> = states.iter().flat_map(|state| consume(state, &key)).collect();
        if next.is_empty() {
            continue;
        }
        let step: Pointer = [Key::clone(&key)].into_iter().collect();
        let old = old.and_then(|old| old.get(&step));
        let new = new.and_then(|new| new.get(&step));
        let path = path.child(key);
        if old != new && next.iter().any(|state| state.is_empty()) {
            found.push(Changed {
                path: path.clone(),
                old: old.cloned(),
                new: new.cloned(),
                spoken: false,
            });
        }
        inside(&next, &path, old, new, found);
    }
}
