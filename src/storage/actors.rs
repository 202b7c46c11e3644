//! Owners of actors as a checkpoint keeps them.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 1 |
//! | 8 | an owner, little-endian |
//! | 4 | how many actors are his, little-endian, at least 1 |
//! | 16 each | those actors, in ascending order |
//!
//! The last three repeat for each owner, in ascending order. There is one way only to write the
//! same owners.

use std::collections::BTreeMap;

use super::StorageError;
use crate::workspace::actors::{ActorKey, Actors, Owner};

const VERSION: u8 = 1;

/// Owners as bytes.
pub(super) fn encode(actors: &Actors) -> Result<Vec<u8>, StorageError> {
    let mut owned = BTreeMap::<Owner, Vec<&ActorKey>>::new();
    for (actor, owner) in actors.entries() {
        owned.entry(owner).or_default().push(actor);
    }
    let mut bytes = vec![VERSION];
    for (Owner(owner), actors) in owned {
        let count = u32::try_from(actors.len())
            .map_err(|_too_many| StorageError::Invalid("too many actors".to_owned()))?;
        bytes.extend(owner.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(actors.into_iter().flatten());
    }
    Ok(bytes)
}

/// Owners that were read; `None` if the bytes are not what [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Option<Actors> {
    let (&VERSION, mut bytes) = bytes.split_first()? else { return None };
    let (mut owned, mut before) = (Vec::new(), None);
    while !bytes.is_empty() {
        let (owner, rest) = bytes.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let owner = Owner(u64::from_le_bytes(*owner));
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (actors, rest) = rest.split_at_checked(count.checked_mul(size_of::<ActorKey>())?)?;
        let (actors, _) = actors.as_chunks();
        if count == 0 || before.replace(owner) >= Some(owner) || !actors.is_sorted() {
            return None;
        }
        owned.extend(actors.iter().map(|actor| (*actor, owner)));
        bytes = rest;
    }
    let count = owned.len();
    let actors = Actors::from_iter(owned);
    // An actor has one owner.
    (actors.entries().count() == count).then_some(actors)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn owners_come_back_as_they_were(owners in btree_map(any::<[u8; 16]>(), 0..4_u64, 0..40)) {
            let owners = owners.into_iter().map(|(actor, owner)| (actor, Owner(owner)));
            let actors = owners.collect::<Actors>();
            let bytes = encode(&actors).unwrap();
            prop_assert_eq!(decode(&bytes), Some(actors));
            for cut in 0..bytes.len() {
                if let Some(shorter) = decode(&bytes[..cut]) {
                    prop_assert_eq!(encode(&shorter).unwrap(), &bytes[..cut]);
                }
            }
        }

        #[test]
        fn there_is_one_way_to_write_them(bytes in vec(0..2_u8, 0..70), key in 0..2_u8) {
            let mut all = vec![VERSION];
            all.extend([key, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
            all.extend([key; 16]);
            all.extend(bytes);
            if let Some(actors) = decode(&all) {
                prop_assert_eq!(encode(&actors).unwrap(), all);
            }
        }
    }

    #[test]
    fn another_version_is_not_guessed_at() {
        assert_eq!(decode(&[VERSION]), Some(Actors::default()));
        assert_eq!((decode(&[]), decode(&[0]), decode(&[2])), (None, None, None));
    }
}
