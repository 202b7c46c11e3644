//! The rows of a store, each with its checksum: written here, and checked here when they are read.
//!
//! A checksum covers the name of the table, the key and every other column, so that a row is also
//! noticed in another place than its own.

use automerge::ChangeHash;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fault::Fault;
use crate::ids::{Millis, Seq, SessionId, StoreName, WorkspaceId};
use crate::storage::{StorageError, actors};
use crate::workspace::{Actors, Checkpoint, Commit, Dialect, MessageId, Origin};

/// Length of a [`ChangeHash`], in bytes.
const HASH_BYTES: usize = 32;

/// A checksum over the columns of a row, in order.
///
/// CRC-32 finds every damage of up to 32 bits in a row, which a hash of the same length would not.
/// It is against decay, not against an attacker: who can write the file can write checksums too.
#[derive(Debug)]
pub(super) struct Crc(crc32fast::Hasher);

impl Crc {
    /// Begins the checksum of a row of `table`.
    pub(super) fn of(table: &str) -> Self {
        Self(crc32fast::Hasher::new()).text(table)
    }

    /// Adds a number.
    pub(super) fn int(mut self, value: i64) -> Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    /// Adds bytes, after their length, so that none can move from one column to the next.
    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.0.update(&value.len().to_le_bytes());
        self.0.update(value);
        self
    }

    /// Adds a text.
    pub(super) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// Adds what may be NULL.
    pub(super) fn maybe<T>(self, value: Option<T>, add: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => add(self.int(1), value),
            None => self.int(0),
        }
    }

    /// The checksum as SQLite keeps it.
    pub(super) fn done(self) -> i64 {
        i64::from(self.0.finalize())
    }

    /// Compares with the checksum of a row that was read.
    fn check(self, found: i64, what: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.done() == found { Ok(()) } else { Err(Fault::damaged(what())) }
    }
}

/// A seq as SQLite keeps it.
pub(super) fn number(seq: Seq) -> Result<i64, Fault> {
    i64::try_from(seq.0)
        .map_err(|_too_large| StorageError::Invalid(format!("seq {seq} is too large")).into())
}

/// A seq that was read.
pub(super) fn seq(number: i64) -> Result<Seq, Fault> {
    let seq = u64::try_from(number).map(Seq);
    seq.map_err(|_negative| Fault::damaged("a seq is negative"))
}

/// The row of a store: which other rows it has.
#[derive(Debug, Default)]
pub(super) struct StoreRow {
    /// Its number.
    pub(super) id: i64,
    /// The newest commit.
    pub(super) newest: Seq,
    /// The seq of the checkpoint; 0: there is none.
    pub(super) checkpoint: Seq,
    /// Commits up to this one are gone; never beyond the checkpoint.
    pub(super) trimmed: Seq,
    /// Whether one of those that are gone carried a message id.
    pub(super) older_messages: bool,
}

impl StoreRow {
    /// Reads the row of the store that has this number, and checks that there are no commits which
    /// it does not know. That those are there which it knows is seen when they are read.
    pub(super) fn read(
        database: &Connection,
        id: i64,
        workspace: &WorkspaceId,
        store: &StoreName,
    ) -> Result<Self, Fault> {
        let row = Self::read_alone(database, id, workspace, store)?;
        // A row from before, which the disk never replaced, has a checksum too.
        no_other_commits(database, id, row.trimmed, row.newest)?;
        Ok(row)
    }

    /// Reads the row of the store that has this number, and looks at no other.
    pub(super) fn read_alone(
        database: &Connection,
        id: i64,
        workspace: &WorkspaceId,
        store: &StoreName,
    ) -> Result<Self, Fault> {
        let mut statement = database.prepare_cached(
            "SELECT newest, checkpoint, trimmed, older_messages, crc FROM stores WHERE id = ?1",
        )?;
        let row = statement.query_row(params![id], |row| Ok(Self::decode(id, row)));
        let missing = || Err(Fault::damaged("its row is missing"));
        let (row, crc) = row.optional()?.unwrap_or_else(missing)?;
        row.crc(workspace, store)?.check(crc, || "its row does not match its checksum".into())?;
        if row.trimmed > row.checkpoint || row.checkpoint > row.newest {
            return Err(Fault::damaged("its row cannot be true"));
        }
        Ok(row)
    }

    fn decode(id: i64, row: &Row<'_>) -> Result<(Self, i64), Fault> {
        let store = Self {
            id,
            newest: seq(row.get(0)?)?,
            checkpoint: seq(row.get(1)?)?,
            trimmed: seq(row.get(2)?)?,
            older_messages: row.get(3)?,
        };
        Ok((store, row.get(4)?))
    }

    /// Writes the row, over the one that is there.
    pub(super) fn write(
        &self,
        database: &Connection,
        workspace: &WorkspaceId,
        store: &StoreName,
    ) -> Result<(), Fault> {
        let mut statement = database.prepare_cached(
            "INSERT OR REPLACE INTO stores
             (id, workspace, name, newest, checkpoint, trimmed, older_messages, crc)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        statement.execute(params![
            self.id,
            workspace.as_str(),
            store.as_str(),
            number(self.newest)?,
            number(self.checkpoint)?,
            number(self.trimmed)?,
            self.older_messages,
            self.crc(workspace, store)?.done(),
        ])?;
        Ok(())
    }

    fn crc(&self, workspace: &WorkspaceId, store: &StoreName) -> Result<Crc, Fault> {
        let crc = Crc::of("stores").int(self.id).text(workspace.as_str()).text(store.as_str());
        let crc = crc.int(number(self.newest)?).int(number(self.checkpoint)?);
        Ok(crc.int(number(self.trimmed)?).int(self.older_messages.into()))
    }
}

/// Writes a commit that is not there yet.
pub(super) fn insert_commit(
    database: &Connection,
    store: i64,
    commit: &Commit,
) -> Result<(), Fault> {
    let heads = encode_heads(&commit.heads);
    let changes = encode_changes(&commit.changes)?;
    let mut statement = database.prepare_cached(
        "INSERT INTO commits (store, seq, time_ms, user, session, dialect, message, heads, crc,
                              changes, changes_crc)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        store,
        number(commit.seq)?,
        // Times and sessions use all 64 bits; SQLite keeps them with a sign.
        commit.time.0.cast_signed(),
        commit.origin.user,
        commit.origin.session.map(|session| session.0.cast_signed()),
        commit.origin.dialect.as_str(),
        commit.origin.id.as_ref().map(MessageId::as_str),
        heads,
        commit_crc(store, commit, &heads)?.done(),
        changes,
        changes_crc(store, commit.seq, &changes)?.done(),
    ])?;
    Ok(())
}

/// Reads the commits of a store from one seq up to another. They must be there without a gap, and
/// those after `changes_after`, and only those, with their changes.
pub(super) fn commits(
    database: &Connection,
    store: i64,
    (first, last): (Seq, Seq),
    changes_after: Seq,
) -> Result<Vec<Commit>, Fault> {
    let mut statement = database.prepare_cached(
        "SELECT seq, time_ms, user, session, dialect, message, heads, crc, changes, changes_crc
         FROM commits WHERE store = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![store, number(first)?, number(last)?])?;
    let mut commits = Vec::new();
    let mut expected = first;
    while let Some(row) = rows.next()? {
        if seq(row.get(0)?)? != expected {
            return Err(Fault::damaged(format!("commit {expected} is missing")));
        }
        commits.push(commit(row, store, expected, expected > changes_after)?);
        expected = expected.next();
    }
    if expected == last.next() {
        Ok(commits)
    } else {
        Err(Fault::damaged(format!("commit {expected} is missing")))
    }
}

/// The first commit of a store from a seq on that there is, whatever state it is in.
pub(super) fn next_commit(
    database: &Connection,
    store: i64,
    from: Seq,
) -> Result<Option<Seq>, Fault> {
    let mut statement =
        database.prepare_cached("SELECT min(seq) FROM commits WHERE store = ?1 AND seq >= ?2")?;
    let next: Option<i64> = statement.query_row(params![store, number(from)?], |row| row.get(0))?;
    next.map(seq).transpose()
}

/// Checks that a store has no commits but those after one seq and up to another.
pub(super) fn no_other_commits(
    database: &Connection,
    store: i64,
    trimmed: Seq,
    newest: Seq,
) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM commits WHERE store = ?1 AND seq <= ?2)
             OR EXISTS (SELECT 1 FROM commits WHERE store = ?1 AND seq > ?3)",
    )?;
    let range = params![store, number(trimmed)?, number(newest)?];
    if statement.query_row(range, |row| row.get(0))? {
        return Err(Fault::damaged("it has commits that its row does not know"));
    }
    Ok(())
}

fn commit(row: &Row<'_>, store: i64, seq: Seq, with_changes: bool) -> Result<Commit, Fault> {
    let cannot_be = |what: &str| Fault::damaged(format!("the {what} of commit {seq} cannot be"));
    let dialect: String = row.get(4)?;
    let message: Option<String> = row.get(5)?;
    let heads: Vec<u8> = row.get(6)?;
    let mut commit = Commit {
        seq,
        changes: Vec::new(),
        heads: decode_heads(&heads).ok_or_else(|| cannot_be("heads"))?,
        time: Millis(row.get::<_, i64>(1)?.cast_unsigned()),
        origin: Origin {
            user: row.get(2)?,
            session: row
                .get::<_, Option<i64>>(3)?
                .map(|session| SessionId(session.cast_unsigned())),
            dialect: Dialect::from_name(&dialect).ok_or_else(|| cannot_be("dialect"))?,
            id: match message {
                Some(id) => Some(MessageId::new(&id).ok_or_else(|| cannot_be("message id"))?),
                None => None,
            },
        },
    };
    let mismatch = || format!("commit {seq} does not match its checksum");
    commit_crc(store, &commit, &heads)?.check(row.get(7)?, mismatch)?;

    let changes: Option<Vec<u8>> = row.get(8)?;
    let crc: Option<i64> = row.get(9)?;
    match (changes, crc) {
        (Some(changes), Some(crc)) if with_changes => {
            let mismatch = || format!("the changes of commit {seq} do not match their checksum");
            changes_crc(store, seq, &changes)?.check(crc, mismatch)?;
            commit.changes = decode_changes(&changes).ok_or_else(|| cannot_be("changes"))?;
        }
        (None, None) if !with_changes => {}
        _ => return Err(cannot_be("changes")),
    }
    Ok(commit)
}

fn commit_crc(store: i64, commit: &Commit, heads: &[u8]) -> Result<Crc, Fault> {
    let origin = &commit.origin;
    let crc = Crc::of("commits").int(store).int(number(commit.seq)?);
    let crc = crc.int(commit.time.0.cast_signed()).text(&origin.user);
    let crc = crc.maybe(origin.session, |crc, session| crc.int(session.0.cast_signed()));
    let crc = crc.text(origin.dialect.as_str());
    Ok(crc.maybe(origin.id.as_ref(), |crc, id| crc.text(id.as_str())).bytes(heads))
}

fn changes_crc(store: i64, seq: Seq, changes: &[u8]) -> Result<Crc, Fault> {
    Ok(Crc::of("changes").int(store).int(number(seq)?).bytes(changes))
}

/// Drops the changes of the commits that a checkpoint covers.
pub(super) fn drop_changes(database: &Connection, store: i64, upto: Seq) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "UPDATE commits SET changes = NULL, changes_crc = NULL
         WHERE store = ?1 AND seq <= ?2 AND changes IS NOT NULL",
    )?;
    statement.execute(params![store, number(upto)?])?;
    Ok(())
}

/// Drops the commits up to a seq.
pub(super) fn drop_commits(database: &Connection, store: i64, upto: Seq) -> Result<(), Fault> {
    let mut statement =
        database.prepare_cached("DELETE FROM commits WHERE store = ?1 AND seq <= ?2")?;
    statement.execute(params![store, number(upto)?])?;
    Ok(())
}

/// Writes the checkpoint of a store, over the one that is there.
pub(super) fn write_checkpoint(
    database: &Connection,
    store: i64,
    checkpoint: &Checkpoint,
) -> Result<(), Fault> {
    let heads = encode_heads(&checkpoint.heads);
    let actors = actors::encode(&checkpoint.actors)?;
    let mut statement = database.prepare_cached(
        "INSERT OR REPLACE INTO checkpoints (store, seq, heads, bytes, crc, actors)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        store,
        number(checkpoint.seq)?,
        heads,
        checkpoint.bytes,
        checkpoint_crc(store, checkpoint, &heads, Some(&actors))?.done(),
        actors,
    ])?;
    Ok(())
}

/// Reads the checkpoint of a store.
pub(super) fn checkpoint(database: &Connection, store: i64) -> Result<Option<Checkpoint>, Fault> {
    let mut statement = database.prepare_cached(
        "SELECT seq, heads, bytes, crc, actors FROM checkpoints WHERE store = ?1",
    )?;
    let mut rows = statement.query(params![store])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let cannot_be = |what: &str| Fault::damaged(format!("the {what} of its checkpoint cannot be"));
    let heads: Vec<u8> = row.get(1)?;
    let actors: Option<Vec<u8>> = row.get(4)?;
    let owners = match &actors {
        Some(actors) => actors::decode(actors).ok_or_else(|| cannot_be("actors"))?,
        None => Actors::default(),
    };
    let checkpoint = Checkpoint {
        seq: seq(row.get(0)?)?,
        heads: decode_heads(&heads).ok_or_else(|| cannot_be("heads"))?,
        bytes: row.get(2)?,
        actors: owners,
    };
    let mismatch = || "its checkpoint does not match its checksum".to_owned();
    let crc = checkpoint_crc(store, &checkpoint, &heads, actors.as_deref())?;
    crc.check(row.get(3)?, mismatch)?;
    Ok(Some(checkpoint))
}

fn checkpoint_crc(
    store: i64,
    checkpoint: &Checkpoint,
    heads: &[u8],
    actors: Option<&[u8]>,
) -> Result<Crc, Fault> {
    let crc = Crc::of("checkpoints").int(store).int(number(checkpoint.seq)?);
    let crc = crc.bytes(heads).bytes(&checkpoint.bytes);
    // Rows of format 1 have no actors, and none in their checksum.
    Ok(if let Some(actors) = actors { crc.bytes(actors) } else { crc })
}

/// Heads as SQLite keeps them: the hashes one after the other.
fn encode_heads(heads: &[ChangeHash]) -> Vec<u8> {
    heads.iter().flat_map(|head| head.0).collect()
}

fn decode_heads(bytes: &[u8]) -> Option<Vec<ChangeHash>> {
    let (hashes, []) = bytes.as_chunks::<HASH_BYTES>() else { return None };
    Some(hashes.iter().copied().map(ChangeHash).collect())
}

/// Changes as SQLite keeps them: each after its length, which is a little-endian `u32`.
fn encode_changes(changes: &[Vec<u8>]) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    for change in changes {
        let length = u32::try_from(change.len())
            .map_err(|_too_large| StorageError::Invalid("a change too large".to_owned()))?;
        bytes.extend(length.to_le_bytes());
        bytes.extend(change);
    }
    Ok(bytes)
}

fn decode_changes(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (change, rest) = rest.split_at_checked(length)?;
        changes.push(change.to_vec());
        bytes = rest;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_were() {
        for changes in [vec![], vec![vec![]], vec![vec![1, 2], vec![], vec![3; 300]]] {
            let bytes = encode_changes(&changes).unwrap();
            assert_eq!(decode_changes(&bytes), Some(changes));
        }
        for cut in [&[1][..], &[2, 0, 0, 0, 7], &[255; 4]] {
            assert_eq!(decode_changes(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn heads_are_whole_hashes() {
        let heads = vec![ChangeHash([1; 32]), ChangeHash([2; 32])];
        assert_eq!(decode_heads(&encode_heads(&heads)), Some(heads));
        assert_eq!(decode_heads(&[0; 33]), None);
    }

    #[test]
    fn a_checksum_tells_columns_apart() {
        let of = |a: &str, b: &str| Crc::of("t").text(a).text(b).done();
        assert_ne!(of("ab", "c"), of("a", "bc"));
        let maybe = |value| Crc::of("t").maybe(value, Crc::int).done();
        assert_ne!(maybe(None), maybe(Some(0)));
    }
}
