//! Triggers: patterns over paths, and what is told when a value there changes.
//!
//! Values are compared, not operations: a trigger fires when the value at a path that it watches
//! is another after the commit, however that came about, and once per path and commit.

use std::collections::{BTreeMap, BTreeSet};

use super::commit::Origin;
use crate::ids::{Millis, Seq, StoreName};
use crate::json::{Json, JsonLimits, JsonOp, JsonPatch, Key, Pointer};

mod pattern;

use pattern::Form;
pub use pattern::{Pattern, PatternError};

/// Names a trigger; triggers fire in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId(pub u64);

/// One match of a trigger: a value changed at a path it watches.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// The trigger.
    pub trigger: TriggerId,
    /// The value before; `None`: there was none.
    pub old: Option<Json>,
    /// The value now; `None`: there is none any more.
    pub new: Option<Json>,
    /// Where, when and by whom.
    pub context: Context,
}

/// Where, when and by whom a value was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The store.
    pub store: StoreName,
    /// The path that changed: `/` + store + JSON Pointer.
    pub path: String,
    /// The seq of the commit.
    pub seq: Seq,
    /// Whose workspace it is.
    pub user_id: String,
    /// The session of the workspace.
    pub session_id: String,
    /// Who made the commit, and in which dialect.
    pub origin: Origin,
    /// The heads of the document after the commit, sorted.
    pub heads: Vec<automerge::ChangeHash>,
    /// When the workspace took the commit.
    pub time: Millis,
    /// Firings behind the write that fired this: 0 for a client's.
    pub depth: u32,
}

/// A value that is another after a commit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Changed {
    /// Where, in the store.
    pub(super) path: Pointer,
    pub(super) old: Option<Json>,
    pub(super) new: Option<Json>,
    /// Whether the client named this very path, rather than one that follows from its edit.
    spoken: bool,
}

/// What a commit changed, in the order in which it is told.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    before: &'a Json,
    after: &'a Json,
    events: Vec<Changed>,
}

impl<'a> Changes<'a> {
    /// `patch` turns `before` into `after`; `spoken` are the paths that the edit itself named.
    pub(super) fn new(
        before: &'a Json,
        after: &'a Json,
        patch: &JsonPatch,
        spoken: &[Pointer],
    ) -> Self {
        let derived = events_of(before, patch);
        let mut events: Vec<Changed> = Vec::new();
        for path in spoken {
            if events.iter().any(|event| event.path == *path) {
                continue;
            }
            // Where an element was added or removed, only the patch knows which one it was.
            let known = derived.iter().find(|event| event.path == *path).cloned();
            let event = known.or_else(|| compared(path, before, after));
            events.extend(event.map(|event| Changed { spoken: true, ..event }));
        }
        for event in derived {
            if events.iter().all(|told| told.path != event.path) {
                events.push(event);
            }
        }
        Self { before, after, events }
    }

    /// What concerns one pattern, each path once, in the order in which it is told.
    pub(super) fn of(&self, store: &StoreName, pattern: &Pattern) -> Vec<Changed> {
        let mut found = self.ranked(store, pattern);
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, changed)| changed).collect()
    }

    /// Which triggers fire, and for what: path by path, and there in the order of their ids.
    pub(super) fn matches(
        &self,
        store: &StoreName,
        triggers: &BTreeMap<TriggerId, Pattern>,
    ) -> Vec<(TriggerId, Changed)> {
        let of = |(trigger, pattern): (&TriggerId, &Pattern)| {
            let trigger = *trigger;
            let ranked = self.ranked(store, pattern).into_iter();
            ranked.map(move |(rank, changed)| (rank, trigger, changed))
        };
        let mut found: Vec<(usize, TriggerId, Changed)> = triggers.iter().flat_map(of).collect();
        found.sort_by_key(|(rank, trigger, _)| (*rank, *trigger));
        found.into_iter().map(|(_, trigger, changed)| (trigger, changed)).collect()
    }

    /// What concerns one pattern, each path once, with its place in the order.
    fn ranked(&self, store: &StoreName, pattern: &Pattern) -> Vec<(usize, Changed)> {
        let mut paths = BTreeSet::new();
        let mut found = self.matches_of(store, pattern);
        found.retain(|(_, changed)| paths.insert(changed.path.clone()));
        found
    }

    fn matches_of(&self, store: &StoreName, pattern: &Pattern) -> Vec<(usize, Changed)> {
        let ranked = self.events.iter().enumerate();
        match &pattern.0 {
            Form::Exact(path) => {
                let Some(path) = below_store(path, store) else {
                    return Vec::new();
                };
                ranked
                    .filter_map(|(rank, event)| Some((rank, self.at(&path, event)?)))
                    .take(1)
                    .collect()
            }
            Form::Below(prefix) => ranked
                .flat_map(|(rank, event)| {
                    self.below(prefix, store, event).into_iter().map(move |c| (rank, c))
                })
                .collect(),
            Form::Glob(glob) => ranked
                .flat_map(|(rank, event)| {
                    let changed = glob.matches(store, event, self.before, self.after);
                    changed.into_iter().map(move |changed| (rank, changed))
                })
                .collect(),
        }
    }

    /// An exact path hears of what happened at it or above it.
    fn at(&self, path: &Pointer, event: &Changed) -> Option<Changed> {
        if event.path == *path {
            return Some(event.clone());
        }
        path.starts_with(&event.path).then(|| compared(path, self.before, self.after)).flatten()
    }

    /// `prefix/*` hears of every path below the prefix, and of what changed there because
    /// something at the prefix or above it was replaced.
    fn below(&self, prefix: &Pointer, store: &StoreName, event: &Changed) -> Vec<Changed> {
        let Some(prefix) = below_store(prefix, store) else {
            // `/*` hears of the store itself, too.
            return if prefix.is_root() { self.unless_told(event, &|_| true) } else { Vec::new() };
        };
        if event.path.len() > prefix.len() && event.path.starts_with(&prefix) {
            let is_below = |path: &Pointer| path.len() > prefix.len() && path.starts_with(&prefix);
            return self.unless_told(event, &is_below);
        }
        if prefix.starts_with(&event.path) {
            let old = self.before.get(&prefix);
            let new = self.after.get(&prefix);
            return members_changed(&prefix, old, new);
        }
        Vec::new()
    }

    /// An edit that named a path tells what is below it with it.
    fn unless_told(&self, event: &Changed, heard: &dyn Fn(&Pointer) -> bool) -> Vec<Changed> {
        let told = self.events.iter().any(|other| {
            other.spoken
                && other.path != event.path
                && event.path.starts_with(&other.path)
                && heard(&other.path)
        });
        if told && !event.spoken { Vec::new() } else { vec![event.clone()] }
    }
}

/// The part of a full path that lies in the store; `None` if it names another store, or none.
fn below_store(path: &Pointer, store: &StoreName) -> Option<Pointer> {
    let (first, rest) = path.segments().split_first()?;
    (**first == *store.as_str()).then(|| rest.iter().cloned().collect())
}

/// The paths of a patch with the values there, each path once.
fn events_of(before: &Json, patch: &JsonPatch) -> Vec<Changed> {
    let mut events: Vec<Changed> = Vec::new();
    let mut tree = before.clone();
    for op in &patch.ops {
        let (path, old, new) = match op {
            JsonOp::Add { path, value } => (path, None, Some(value.clone())),
            JsonOp::Remove { path } => (path, tree.get(path).cloned(), None),
            JsonOp::Replace { path, value } => (path, tree.get(path).cloned(), Some(value.clone())),
            JsonOp::Move { .. } | JsonOp::Copy { .. } | JsonOp::Test { .. } => continue,
        };
        match events.iter_mut().find(|event| event.path == *path) {
            Some(event) => event.new.clone_from(&new),
            None => events.push(Changed { path: path.clone(), old, new, spoken: false }),
        }
        let step = JsonPatch { ops: vec![op.clone()] };
        if let Ok(applied) = step.apply(&tree, &ANY) {
            tree = applied.json;
        }
    }
    events.retain(|event| event.old != event.new);
    events
}

/// What is in a store already was held against the limits when it came.
const ANY: JsonLimits = JsonLimits {
    depth_max: usize::MAX,
    key_bytes_max: usize::MAX,
    document_bytes_max: usize::MAX,
    patch_ops_max: usize::MAX,
    forbid_prototype_keys: false,
};

fn compared(path: &Pointer, before: &Json, after: &Json) -> Option<Changed> {
    let (old, new) = (before.get(path), after.get(path));
    (old != new).then(|| Changed {
        path: path.clone(),
        old: old.cloned(),
        new: new.cloned(),
        spoken: false,
    })
}

/// The members of a value that differ.
fn members_changed(path: &Pointer, old: Option<&Json>, new: Option<&Json>) -> Vec<Changed> {
    let mut keys: Vec<Key> = Vec::new();
    for value in [old, new].into_iter().flatten() {
        keys.extend(member_keys(value));
    }
    keys.sort_unstable();
    keys.dedup();
    let member = |value: Option<&Json>, key: &Key| {
        value
            .and_then(|value| value.get(&[Key::clone(key)].into_iter().collect::<Pointer>()))
            .cloned()
    };
    keys.into_iter()
        .map(|key| Changed {
            path: path.child(Key::clone(&key)),
            old: member(old, &key),
            new: member(new, &key),
            spoken: false,
        })
        .filter(|changed| changed.old != changed.new)
        .collect()
}

fn member_keys(value: &Json) -> Vec<Key> {
    match value {
        Json::Object(object) => object.iter().map(|(key, _)| Key::clone(key)).collect(),
        Json::Array(array) => (0..array.len()).map(|index| index.to_string().into()).collect(),
        _ => Vec::new(),
    }
}

fn passes_array(path: &Pointer, base: &Json) -> bool {
    let mut at = path.parent();
    while let Some(place) = at {
        if matches!(base.get(&place), Some(Json::Array(_))) {
            return true;
        }
        at = place.parent();
    }
    false
}

/// The paths that an edit names: where it adds, replaces and removes, and where it moves from. If
/// the edit was made on an older state, those through arrays may mean other elements by now.
pub(super) fn spoken_paths(patch: &JsonPatch, base: &Json, is_current: bool) -> Vec<Pointer> {
    let mut paths = Vec::new();
    for op in &patch.ops {
        match op {
            JsonOp::Add { path, .. } | JsonOp::Replace { path, .. } | JsonOp::Remove { path } => {
                paths.push(path.clone());
            }
            JsonOp::Move { from, path } => paths.extend([from.clone(), path.clone()]),
            JsonOp::Copy { path, .. } => paths.push(path.clone()),
            JsonOp::Test { .. } => {}
        }
    }
    // `-` names no element that could be looked up; the patch of the commit knows the index.
    paths.retain(|path| {
        let appends = path.last() == Some("-")
            && matches!(
                path.parent().and_then(|list| base.get(&list).cloned()),
                Some(Json::Array(_))
            );
        !appends && (is_current || !passes_array(path, base))
    });
    paths
}
