//! Which elements of an array are the same element.

use std::collections::BTreeMap;

use crate::json::pointer::{Pointer, PointerError, array_index};
use crate::json::tree::{Json, Key};

/// Members that identify an object if nothing else is configured; the first that fits is taken.
const USUAL_KEYS: [&str; 4] = ["id", "_id", "key", "uuid"];

/// Which member identifies the elements of an array.
///
/// For the arrays that a pattern names, the member that is configured. For all others, the first of
/// `id`, `_id`, `key` and `uuid` that tells at least half of the objects apart. An identity is a
/// string or an integer. Where two elements have the same one it identifies neither; they are
/// compared as a whole, as are elements without one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Patterns and members; what has fewer wildcards comes first.
    configured: Vec<(Pointer, Key)>,
}

impl Identity {
    /// The configured members, by the pattern of the arrays they are for: a JSON Pointer in which
    /// `*` stands for any one segment, such as `/pages/*/shapes`. Where several patterns match,
    /// the one with the fewest `*` counts.
    pub fn new<P: AsRef<str>, K: AsRef<str>>(
        members: impl IntoIterator<Item = (P, K)>,
    ) -> Result<Self, PointerError> {
        let parse = |(pattern, key): (P, K)| {
            Ok((Pointer::parse(pattern.as_ref())?, Key::from(key.as_ref())))
        };
        let mut configured = members.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        configured.sort_by_key(|(pattern, _)| {
            pattern.segments().iter().filter(|segment| &***segment == "*").count()
        });
        Ok(Self { configured })
    }

    /// Finds the identities in what differs between two versions of the array at `path`.
    pub(super) fn identify<'a>(
        &self,
        path: &[Place<'_>],
        base: &[&'a Json],
        next: &[&'a Json],
    ) -> (Vec<Element<'a>>, Vec<Element<'a>>) {
        let configured = self.configured.iter().find(|(pattern, _)| matches(pattern, path));
        let named = match configured {
            Some((_, key)) => Some((&**key, Tally::new(key, base, next))),
            None => usual(base, next),
        };
        let element = |json: &&'a Json| {
            let id = named.as_ref().and_then(|(key, _)| Id::of(json, key));
            let unique = id.filter(|id| named.as_ref().is_some_and(|(_, tally)| tally.unique(id)));
            Element { json, unique, anonymous: id.is_none() }
        };
        (base.iter().map(element).collect(), next.iter().map(element).collect())
    }
}

/// The first usual key that identifies at least half of the objects.
fn usual<'a>(base: &[&'a Json], next: &[&'a Json]) -> Option<(&'static str, Tally<'a>)> {
    let objects = base.iter().chain(next).filter(|json| json.as_object().is_some()).count();
    if objects == 0 {
        return None;
    }
    USUAL_KEYS.into_iter().find_map(|key| {
        let tally = Tally::new(key, base, next);
        let identified = tally.identified();
        (identified > 0 && identified * 2 >= objects).then_some((key, tally))
    })
}

fn matches(pattern: &Pointer, path: &[Place<'_>]) -> bool {
    let fits = |(segment, place): (&Key, &Place<'_>)| {
        &**segment == "*"
            || match place {
                Place::Member(key) => **segment == **key,
                Place::Element(index) => array_index(segment) == Some(*index),
            }
    };
    pattern.len() == path.len() && pattern.segments().iter().zip(path).all(fits)
}

/// One step of the way to a value.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Member(&'a str),
    Element(usize),
}

/// What identifies an element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Id<'a> {
    Number(i128),
    Text(&'a str),
}

impl<'a> Id<'a> {
    fn of(element: &'a Json, key: &str) -> Option<Self> {
        match element.as_object()?.get(key)? {
            Json::String(text) => Some(Self::Text(text)),
            Json::Int(n) => Some(Self::Number((*n).into())),
            Json::Uint(n) => Some(Self::Number((*n).into())),
            _ => None,
        }
    }
}

/// An element of either version.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) json: &'a Json,
    /// Its identity, if no other element of its version has the same.
    pub(super) unique: Option<Id<'a>>,
    /// Whether it has no identity at all, not even one that it shares.
    pub(super) anonymous: bool,
}

/// How often each identity occurs in the base and in the next version.
struct Tally<'a>(BTreeMap<Id<'a>, (usize, usize)>);

impl<'a> Tally<'a> {
    fn new(key: &str, base: &[&'a Json], next: &[&'a Json]) -> Self {
        let mut counts = BTreeMap::<_, (usize, usize)>::new();
        for id in base.iter().filter_map(|json| Id::of(json, key)) {
            counts.entry(id).or_default().0 += 1;
        }
        for id in next.iter().filter_map(|json| Id::of(json, key)) {
            counts.entry(id).or_default().1 += 1;
        }
        Self(counts)
    }

    fn unique(&self, id: &Id<'_>) -> bool {
        self.0.get(id).is_some_and(|(base, next)| *base <= 1 && *next <= 1)
    }

    /// How many elements of both versions have an identity of their own.
    fn identified(&self) -> usize {
        let unique = self.0.values().filter(|(base, next)| *base <= 1 && *next <= 1);
        unique.map(|(base, next)| base + next).sum()
    }
}
