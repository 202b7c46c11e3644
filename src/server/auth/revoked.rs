//! Who may not come in any more although his token says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Pass;
use crate::limits;

/// A list of tokens and users that are not let in: a line each, `jti:` and the id of a token, or
/// `sub:` and the name of a user. Empty lines, and those that begin with `#`, say nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked {
    tokens: BTreeSet<String>,
    users: BTreeSet<String>,
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
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':').map(|(kind, name)| (kind, name.trim().to_owned())) {
                Some(("jti", id)) => revoked.tokens.insert(id),
                Some(("sub", user)) => revoked.users.insert(user),
                _ => return Err(number),
            };
        }
        Ok(revoked)
    }

    /// Whether it names this token or its user.
    pub(super) fn names(&self, pass: &Pass) -> bool {
        let token = pass.id.as_deref().is_some_and(|id| self.tokens.contains(id));
        token || self.users.contains(&*pass.user)
    }
}

/// The file of the list, if there is one.
#[derive(Debug)]
pub(super) struct RevokedFile(pub(super) Option<PathBuf>);

impl RevokedFile {
    /// The list as it is now.
    pub(super) fn read(&self) -> Result<Revoked, String> {
        self.0.as_deref().map_or_else(|| Ok(Revoked::default()), Revoked::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Millis;

    #[test]
    fn a_list_names_tokens_and_users() {
        let revoked = Revoked::parse("# all of them\n\njti: one\n  sub:bob\n").unwrap();
        let pass = |user: &str, id: Option<&str>| Pass {
            user: user.into(),
            id: id.map(Into::into),
            expires: Millis(1),
            grants: Vec::new().into(),
        };
        assert!(revoked.names(&pass("ann", Some("one"))));
        assert!(revoked.names(&pass("bob", None)));
        assert!(!revoked.names(&pass("ann", Some("two"))));
        assert!(!revoked.names(&pass("one", Some("bob"))));
        assert_eq!(Revoked::parse("jti:a\nbob"), Err(2));
    }
}
