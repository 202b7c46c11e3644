//! The name of a document where Automerge repositories meet: 16 bytes, written in base58.

use std::fmt;
use std::str::FromStr;

use bs58::decode::Error;
use uuid::Uuid;

use super::{StoreName, WorkspaceId};

/// The namespace (RFC 9562, section 6.6) of the ids that stand for stores. Clients keep the ids, so
/// it never changes.
const STORES: Uuid = Uuid::from_u128(0x67db_be54_82ce_47fc_b33f_98db_a5aa_99c5);

/// The prefix of the URL of a document, as automerge-repo writes it.
const URL_PREFIX: &str = "automerge:";

/// Longest payload and checksum in base58 that is of use here: the hash of a change, and 4 bytes.
const CHECKED_BYTES_MAX: usize = 36;

/// The id of a document among Automerge repositories: 16 bytes, of which automerge-repo makes a
/// random UUID. Its text is base58 with a checksum (bs58check), as automerge-repo writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(pub [u8; 16]);

impl DocumentId {
    /// The id of a store. A store whose name is the text of an id has that id, in whatever
    /// workspace it is; any other has a name-based UUID (RFC 9562, version 5) of
    /// `workspace/store`, the same for ever.
    pub fn of(workspace: &WorkspaceId, store: &StoreName) -> Self {
        store.as_str().parse().unwrap_or_else(|_not_an_id| {
            // No name holds a slash, so no other workspace and store are written the same.
            let name = format!("{workspace}/{store}");
            Self(Uuid::new_v5(&STORES, name.as_bytes()).into_bytes())
        })
    }

    /// Whether it looks as if [`of`](Self::of) had derived it from a name: a UUID of version 5.
    /// Clients draw theirs at random, which is version 4.
    pub fn is_derived(&self) -> bool {
        Uuid::from_bytes(self.0).get_version_num() == 5
    }

    /// The URL that automerge-repo finds the document by: `automerge:` and the id.
    pub fn url(&self) -> String {
        format!("{URL_PREFIX}{self}")
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&checked_text(&self.0))
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DocumentId {
    type Err = DocumentIdError;

    fn from_str(text: &str) -> Result<Self, DocumentIdError> {
        checked_bytes(text).map(Self)
    }
}

/// Why a text is not the id of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentIdError {
    /// It holds a character that base58 does not have.
    #[error("an id is written in base58")]
    Character,
    /// It stands for more or fewer bytes than an id has.
    #[error("an id has 16 bytes and a checksum")]
    Length,
    /// Its checksum is another's: it was misspelt.
    #[error("the checksum of the id is wrong")]
    Checksum,
}

/// Bytes in base58 with a checksum: four bytes of their double SHA-256.
pub(crate) fn checked_text(bytes: &[u8]) -> String {
    bs58::encode(bytes).with_check().into_string()
}

/// The bytes that [`checked_text`] wrote, if they are `N` and its checksum holds. Costs no more for
/// a longer text.
pub(crate) fn checked_bytes<const N: usize>(text: &str) -> Result<[u8; N], DocumentIdError> {
    const { assert!(N + 4 <= CHECKED_BYTES_MAX) };
    let mut bytes = [0; CHECKED_BYTES_MAX];
    let read = bs58::decode(text).with_check(None).onto(&mut bytes);
    let length = read.map_err(|error| match error {
        Error::InvalidChecksum { .. } => DocumentIdError::Checksum,
        Error::BufferTooSmall | Error::NoChecksum => DocumentIdError::Length,
        _ => DocumentIdError::Character,
    })?;
    let payload = bytes.get(..length).and_then(|payload| payload.try_into().ok());
    payload.ok_or(DocumentIdError::Length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(workspace: &str, store: &str) -> DocumentId {
        DocumentId::of(&workspace.parse().unwrap(), &store.parse().unwrap())
    }

    proptest! {
        #[test]
        fn an_id_survives_its_text(bytes: [u8; 16]) {
            let id = DocumentId(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.url(), format!("automerge:{id:?}"));
            prop_assert_eq!(of("any", &id.to_string()), id);
        }

        #[test]
        fn a_misspelt_id_is_refused(
            bytes: [u8; 16],
            at: prop::sample::Index,
            with in "[0-9A-Za-z]",
        ) {
            let text = DocumentId(bytes).to_string();
            let at = at.index(text.len());
            let mut misspelt = text.clone();
            misspelt.replace_range(at..=at, &with);
            prop_assert_eq!(misspelt.parse::<DocumentId>().is_ok(), misspelt == text);
        }

        #[test]
        fn only_sixteen_bytes_are_an_id(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let read = checked_text(&bytes).parse::<DocumentId>();
            let expected = <[u8; 16]>::try_from(bytes).map_err(|_bytes| DocumentIdError::Length);
            prop_assert_eq!(read, expected.map(DocumentId));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(id) = text.parse::<DocumentId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    /// Made with the packages `uuid` (`v5`) and `bs58check` that automerge-repo itself uses.
    #[test]
    fn ids_are_those_of_the_stock_packages() {
        let stores = [
            ("w", "s", "2aFFNHFnSKhks9URUrH3grWhroN2"),
            ("main", "chartState", "3eLsrbrMSFkEWba2DGEY2p2QrkAK"),
            ("a:b", "c.d", "3vqrpj8srmQjQ1GVhsfTUxDHe177"),
            ("a", "b:c.d", "4LS3EjjDK5v6L3oBoq1FSTuiJyKj"),
        ];
        for (workspace, store, id) in stores {
            assert_eq!(of(workspace, store).to_string(), id);
        }
        let counting = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let ids = [
            ([0; 16], "11111111111111114Ki9Gx"),
            ([0xff; 16], "4ZrjxJnU1LA5xSyrWMNuXTozYEvA"),
            (counting, "1Bhh3pU9gLXZiNDL6PEa1Gs9fh"),
        ];
        for (bytes, text) in ids {
            assert_eq!(DocumentId(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = |text: &str| text.parse::<DocumentId>().unwrap_err();
        assert_eq!(refused(""), DocumentIdError::Length);
        assert_eq!(refused("0OIl"), DocumentIdError::Character);
        assert_eq!(refused(&"1".repeat(1 << 20)), DocumentIdError::Length);
        assert_eq!(refused(&"z".repeat(1 << 20)), DocumentIdError::Length);
        assert_eq!(refused(&"1".repeat(20)), DocumentIdError::Checksum);
    }
}
