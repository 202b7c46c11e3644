//! Who may not come in any more although his token says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::Pass;
use crate::ids::Millis;
use crate::limits;

/// A list of tokens and users that are not let in, a line each: `jti:` and the id of a token,
/// `sub:` and the name of a user, or `sub@`, a time in seconds since 1970, `:` and a user of
/// whom the tokens are meant that were made up to then. Empty lines, and those that begin with `#`,
/// say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Revoked {
    tokens: BTreeSet<String>,
    users: BTreeSet<String>,
    /// Up to when the tokens of a user were made that do not count.
    made: BTreeMap<String, Millis>,
}

/// One who is not let in any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// Whoever shows the token of this id.
    Token(String),
    /// A user, whatever he shows.
    User(String),
    /// A user who shows a token that was made up to then; one that does not say when counts as old.
    Made(String, Millis),
}

impl Revocation {
    /// The token of this id; none if no line can hold it.
    pub(crate) fn token(id: String) -> Option<Self> {
        is_name(&id).then_some(Self::Token(id))
    }

    /// A user; none if no line can hold his name.
    pub(crate) fn user(name: String) -> Option<Self> {
        is_name(&name).then_some(Self::User(name))
    }

    /// All tokens of a user that were made up to then; none if no line can hold his name.
    pub(crate) fn tokens_of(name: String, up_to: Millis) -> Option<Self> {
        is_name(&name).then_some(Self::Made(name, up_to))
    }

    /// The line that says so.
    fn line(&self) -> String {
        match self {
            Self::Token(id) => format!("jti:{id}"),
            Self::User(user) => format!("sub:{user}"),
            Self::Made(user, up_to) => format!("sub@{}:{user}", second(*up_to)),
        }
    }

    /// What a line says; none if it means nothing.
    fn parse(line: &str) -> Option<Self> {
        let (kind, name) = line.split_once(':')?;
        let name = name.trim().to_owned();
        match (kind, kind.strip_prefix("sub@")) {
            ("jti", _) => Some(Self::Token(name)),
            ("sub", _) => Some(Self::User(name)),
            (_, Some(seconds)) => {
                let seconds: u64 = seconds.parse().ok()?;
                Some(Self::Made(name, Millis(seconds.saturating_mul(1_000))))
            }
            _ => None,
        }
    }
}

/// The second since 1970 that a moment is in.
fn second(Millis(ms): Millis) -> u64 {
    ms / 1_000
}

/// Whether a line of the list can hold this, and be read again as the same.
pub(super) fn is_name(name: &str) -> bool {
    (1..=limits::AUTH_USER_BYTES_MAX).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control)
}

impl Revoked {
    /// Reads the list. A line that means nothing is an error: somebody meant to shut somebody out.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let at = |error: &str| format!("{}: {error}", path.display());
        let size = std::fs::metadata(path).map_err(|error| at(&error.to_string()))?.len();
        if size > limits::AUTH_FILE_BYTES_MAX {
            return Err(at("it is too large"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| at(&error.to_string()))?;
        Self::parse(&text).map_err(|line| at(&format!("line {line}: expected jti: or sub:")))
    }

    fn parse(text: &str) -> Result<Self, usize> {
        let mut revoked = Self::default();
        for (number, line) in (1_usize..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            revoked.add(Revocation::parse(line).ok_or(number)?);
        }
        Ok(revoked)
    }

    /// Adds one.
    pub(super) fn add(&mut self, one: Revocation) {
        match one {
            Revocation::Token(id) => {
                self.tokens.insert(id);
            }
            Revocation::User(user) => {
                self.users.insert(user);
            }
            Revocation::Made(user, up_to) => {
                let known = self.made.entry(user).or_default();
                *known = up_to.max(*known);
            }
        }
    }

    /// Whether adding this one would change nothing.
    pub(super) fn holds(&self, one: &Revocation) -> bool {
        match one {
            Revocation::Token(id) => self.tokens.contains(id),
            Revocation::User(user) => self.users.contains(user),
            Revocation::Made(user, up_to) => {
                self.made.get(user).is_some_and(|known| second(*up_to) <= second(*known))
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let tokens = self.tokens.len().saturating_add(self.users.len());
        tokens.saturating_add(self.made.len())
    }

    /// Whether it names this token or its user.
    pub(super) fn names(&self, pass: &Pass) -> bool {
        let token = pass.id.as_deref().is_some_and(|id| self.tokens.contains(id));
        let up_to = self.made.get(&*pass.user);
        // In whole seconds, as the list has it: within the last one nobody knows what came first.
        let is_old = |up_to: Millis| pass.made.is_none_or(|made| second(made) <= second(up_to));
        let old = up_to.is_some_and(|up_to| is_old(*up_to));
        token || old || self.users.contains(&*pass.user)
    }
}

/// Why nobody was revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RevokeError {
    /// There is no room in the list.
    #[error("the list of the revoked is full")]
    Full,
    /// The file does not take it.
    #[error("{0}")]
    Unwritable(String),
}

/// The file of the list, if there is one.
#[derive(Debug)]
pub(super) struct RevokedFile(pub(super) Option<PathBuf>);

impl RevokedFile {
    /// The list as it is now.
    pub(super) fn read(&self) -> Result<Revoked, String> {
        self.0.as_deref().map_or_else(|| Ok(Revoked::default()), Revoked::read)
    }

    /// Adds a line, durably, unless there is one that says as much; says whether there is a file to
    /// hold it. If it cannot be written whole, the file is as it was.
    pub(super) fn append(&self, one: &Revocation) -> Result<bool, RevokeError> {
        let Some(path) = &self.0 else { return Ok(false) };
        // A list that cannot be read is no reason to let somebody in.
        if Revoked::read(path).is_ok_and(|known| known.holds(one)) {
            return Ok(true);
        }
        let unwritable =
            |error: std::io::Error| RevokeError::Unwritable(format!("{}: {error}", path.display()));
        let mut file = File::options().read(true).append(true).open(path).map_err(unwritable)?;
        let mut last = [b'\n'];
        if file.metadata().map_err(unwritable)?.len() > 0 {
            file.seek(SeekFrom::End(-1)).map_err(unwritable)?;
            file.read_exact(&mut last).map_err(unwritable)?;
        }
        let before = if last == *b"\n" { "" } else { "\n" };
        let text = format!("{before}{}\n", one.line());
        let size = file.metadata().map_err(unwritable)?.len();
        if size.saturating_add(text.len() as u64) > limits::AUTH_FILE_BYTES_MAX {
            return Err(RevokeError::Full);
        }
        let write =
            |file: &mut File| file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        or_cut_back(&mut file, size, write).map_err(unwritable)?;
        Ok(true)
    }
}

/// Writes at the end of a file of this size, which it has again if that fails: half a line would
/// mean something else, or make all of the list unreadable.
fn or_cut_back(
    file: &mut File,
    size: u64,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    write(file).inspect_err(|_failed| {
        if let Err(error) = file.set_len(size).and_then(|()| file.sync_all()) {
            tracing::error!(%error, "the list of the revoked may end with a part of a line");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_tokens_and_users() {
        let revoked = Revoked::parse("# all of them\n\njti: one\n  sub:bob\n").unwrap();
        let pass = |user: &str, id: Option<&str>| Pass {
            user: user.into(),
            id: id.map(Into::into),
            made: None,
            expires: Millis(1),
            grants: Vec::new().into(),
        };
        assert!(revoked.names(&pass("ann", Some("one"))));
        assert!(revoked.names(&pass("bob", None)));
        assert!(!revoked.names(&pass("ann", Some("two"))));
        assert!(!revoked.names(&pass("one", Some("bob"))));
        assert_eq!(Revoked::parse("jti:a\nbob"), Err(2));
        assert_eq!(Revoked::parse("sub@x:a"), Err(1));
    }

    #[test]
    fn tokens_made_up_to_a_time_are_named_by_it() {
        let revoked = Revoked::parse("sub@10:ann\nsub@5:ann").unwrap();
        let pass = |user: &str, made: Option<u64>| Pass {
            user: user.into(),
            id: None,
            made: made.map(Millis),
            expires: Millis(u64::MAX),
            grants: Vec::new().into(),
        };
        assert!(revoked.names(&pass("ann", Some(10_000))));
        assert!(revoked.names(&pass("ann", None)), "it may be old");
        assert!(revoked.names(&pass("ann", Some(10_999))), "of the same second");
        assert!(!revoked.names(&pass("ann", Some(11_000))));
        assert!(!revoked.names(&pass("bob", Some(1))));
    }

    #[test]
    fn what_is_added_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        // Somebody has forgotten the end of a line.
        std::fs::write(&path, "# by hand\nsub:eve").unwrap();
        let file = RevokedFile(Some(path));
        let mut expected = file.read().unwrap();
        for one in [
            Revocation::token("a:b".to_owned()),
            Revocation::user("sub@7".to_owned()),
            Revocation::tokens_of("# ann: x".to_owned(), Millis(7_000)),
        ] {
            let one = one.unwrap();
            assert_eq!(file.append(&one), Ok(true));
            expected.add(one);
        }
        assert_eq!(file.read().unwrap(), expected);
        assert_eq!(expected.len(), 4);
        let path = file.0.as_ref().unwrap();
        let written = std::fs::read_to_string(path).unwrap();
        for known in [
            Revocation::user("eve".to_owned()),
            Revocation::token("a:b".to_owned()),
            Revocation::tokens_of("# ann: x".to_owned(), Millis(7_999)),
            Revocation::tokens_of("# ann: x".to_owned(), Millis(6_000)),
        ] {
            assert_eq!(file.append(&known.unwrap()), Ok(true));
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), written, "it says so already");
        for bad in ["", " a", "a ", "a\nsub:b", &"x".repeat(limits::AUTH_USER_BYTES_MAX + 1)] {
            assert_eq!(Revocation::user(bad.to_owned()), None, "{bad:?}");
        }
        assert_eq!(RevokedFile(None).append(&Revocation::User("a".to_owned())), Ok(false));
    }

    #[test]
    fn a_line_that_is_written_in_part_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        std::fs::write(&path, "sub:eve\n").unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        let full = |file: &mut File| {
            file.write_all(b"sub:a")?;
            Err(std::io::ErrorKind::StorageFull.into())
        };
        let failed = or_cut_back(&mut file, 8, full).unwrap_err();
        assert_eq!(failed.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "sub:eve\n");
        or_cut_back(&mut file, 8, |file| file.write_all(b"sub:ann\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "sub:eve\nsub:ann\n");
    }
}
