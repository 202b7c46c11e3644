//! What is called what: stores, openings and message ids, each name with a number.
//!
//! A checksum says that a row is right, but not that no row is missing; and a name that is missing
//! is worse than one that is wrong: a store would read as never saved, a message that was sent
//! again would be done again. So names are kept in chains: every row holds the name that follows,
//! and a name is absent only if the row before it says so. Names are never removed.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fault::Fault;
use super::rows::Crc;

/// The chain of stores: `workspace/store` is the number of the store, which is at least 1. No name
/// of either contains the slash.
pub(super) const STORES: i64 = 0;
/// The chain of workspaces that were opened: how often before the last time.
pub(super) const OPENINGS: i64 = -1;
// A positive chain is the store of that number: its message ids, each with the seq of its commit.

/// The row of a name. The first of every chain is "" and the last one's `next` is "".
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    /// The number of the name.
    pub(super) value: i64,
    next: String,
}

/// Where a name is, or would be.
#[derive(Debug)]
pub(super) enum Place {
    /// It is there.
    Taken(Link),
    /// It is not there.
    Free(Gap),
}

/// Between two names of a chain that follow each other.
#[derive(Debug)]
pub(super) struct Gap(Link);

/// Begins a chain.
pub(super) fn found(database: &Connection, chain: i64) -> Result<(), Fault> {
    insert(database, chain, &Link { name: String::new(), value: 0, next: String::new() })
}

/// The number of a name.
pub(super) fn get(database: &Connection, chain: i64, name: &str) -> Result<Option<i64>, Fault> {
    Ok(match place(database, chain, name)? {
        Place::Taken(link) => Some(link.value),
        Place::Free(_) => None,
    })
}

/// Looks for a name.
pub(super) fn place(database: &Connection, chain: i64, name: &str) -> Result<Place, Fault> {
    let link = at_or_before(database, chain, name)?;
    if link.name == name {
        return Ok(Place::Taken(link));
    }
    if link.next.is_empty() || *link.next > *name {
        return Ok(Place::Free(Gap(link)));
    }
    Err(broken())
}

/// Adds a name in the gap where it belongs.
pub(super) fn add(
    database: &Connection,
    chain: i64,
    gap: Gap,
    name: &str,
    value: i64,
) -> Result<(), Fault> {
    let Gap(mut before) = gap;
    let next = std::mem::replace(&mut before.next, name.to_owned());
    insert(database, chain, &Link { name: name.to_owned(), value, next })?;
    update(database, chain, &before)
}

/// Gives a name that is there another number.
pub(super) fn set(
    database: &Connection,
    chain: i64,
    mut link: Link,
    value: i64,
) -> Result<(), Fault> {
    link.value = value;
    update(database, chain, &link)
}

/// All names after `from` and before `to`, in order, with their numbers.
pub(super) fn between(
    database: &Connection,
    chain: i64,
    from: &str,
    to: &str,
) -> Result<Vec<(String, i64)>, Fault> {
    let mut before = at_or_before(database, chain, from)?;
    let mut statement = database.prepare_cached(
        "SELECT name, value, next, crc FROM names
         WHERE chain = ?1 AND name > ?2 AND name < ?3 ORDER BY name",
    )?;
    let mut rows = statement.query(params![chain, from, to])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let link = link(chain, row)?;
        if link.name != before.next {
            return Err(broken());
        }
        found.push((link.name.clone(), link.value));
        before = link;
    }
    let whole = before.next.is_empty() || *before.next >= *to;
    if whole { Ok(found) } else { Err(broken()) }
}

/// What is told of a chain: a name and its number, or that the chain is broken.
pub(super) type Each<'a> = dyn FnMut(Result<(&str, i64), Fault>) + 'a;

/// All names of a chain, in order, with their numbers, one after the other. Where the chain is
/// broken, that comes in their stead, and then the names that are there after it.
pub(super) fn walk(database: &Connection, chain: i64, each: &mut Each<'_>) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "SELECT name, value, next, crc FROM names WHERE chain = ?1 ORDER BY name",
    )?;
    let mut rows = statement.query(params![chain])?;
    let mut expected = Some(String::new());
    let mut is_there = false;
    while let Some(row) = rows.next()? {
        is_there = true;
        let Ok(link) = link(chain, row) else {
            each(Err(broken()));
            expected = None;
            continue;
        };
        // After a row that cannot be read nobody knows which name should follow.
        if expected.take().is_some_and(|expected| expected != link.name) {
            each(Err(broken()));
        }
        if !link.name.is_empty() {
            each(Ok((&link.name, link.value)));
        }
        expected = Some(link.next);
    }
    let ended = is_there && expected.as_deref().is_none_or(str::is_empty);
    if !ended {
        each(Err(broken()));
    }
    Ok(())
}

/// The row of a name, or the last one before it. There is always one: "" is before every name.
fn at_or_before(database: &Connection, chain: i64, name: &str) -> Result<Link, Fault> {
    let mut statement = database.prepare_cached(
        "SELECT name, value, next, crc FROM names
         WHERE chain = ?1 AND name <= ?2 ORDER BY name DESC LIMIT 1",
    )?;
    let link = statement.query_row(params![chain, name], |row| Ok(link(chain, row)));
    link.optional()?.unwrap_or_else(|| Err(broken()))
}

fn link(chain: i64, row: &Row<'_>) -> Result<Link, Fault> {
    let link = Link { name: row.get(0)?, value: row.get(1)?, next: row.get(2)? };
    if row.get::<_, i64>(3)? == crc(chain, &link) { Ok(link) } else { Err(broken()) }
}

fn insert(database: &Connection, chain: i64, link: &Link) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "INSERT INTO names (chain, name, value, next, crc) VALUES (?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![chain, link.name, link.value, link.next, crc(chain, link)])?;
    Ok(())
}

fn update(database: &Connection, chain: i64, link: &Link) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "UPDATE names SET value = ?3, next = ?4, crc = ?5 WHERE chain = ?1 AND name = ?2",
    )?;
    let crc = crc(chain, link);
    let updated = statement.execute(params![chain, link.name, link.value, link.next, crc])?;
    if updated == 1 { Ok(()) } else { Err(broken()) }
}

fn crc(chain: i64, link: &Link) -> i64 {
    let crc = Crc::of("names").int(chain).text(&link.name).int(link.value);
    crc.text(&link.next).done()
}

/// The chain is broken. Which name is meant stays unsaid: the neighbour may be someone else's.
fn broken() -> Fault {
    Fault::damaged("the chain of names is broken")
}
