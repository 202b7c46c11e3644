//! What every engine must refuse, whatever it writes to.

use automerge::ChangeHash;

use super::StorageError;
use crate::ids::{Seq, StoreName};
use crate::workspace::{Append, Call, Checkpoint, Commit};

/// The largest seq that every engine can keep: the integers of SQL have a sign.
const SEQ_MAX: Seq = Seq(i64::MAX.cast_unsigned());

/// Checks what can be seen without the log: that the commits follow `after` and each other without
/// a gap, within one epoch.
pub(super) fn check(append: &Append) -> Result<(), StorageError> {
    let mut last = append.after;
    for commit in &append.commits {
        if commit.seq != last.next() {
            let (gap, last) = (commit.seq, last);
            return Err(StorageError::Invalid(format!("commit {gap} does not follow {last}")));
        }
        last = commit.seq;
    }
    if last > SEQ_MAX || last.epoch() != append.after.epoch() {
        return Err(StorageError::Invalid(format!("the epoch of commit {last} is used up")));
    }
    Ok(())
}

/// Splits checked commits at the newest one of the log: those that must be there already, because
/// the append is tried again, and those that are new.
pub(super) fn split(append: &Append, newest: Seq) -> Result<(&[Commit], &[Commit]), StorageError> {
    let Some(beyond) = newest.0.checked_sub(append.after.0) else {
        return Err(behind(&append.store, newest));
    };
    let known = usize::try_from(beyond).unwrap_or(usize::MAX).min(append.commits.len());
    append.commits.split_at_checked(known).ok_or_else(|| behind(&append.store, newest))
}

/// The calls of an append that tell of commits which are new.
pub(super) fn calls(append: &Append, newest: Seq) -> &[Call] {
    let known = append.calls.partition_point(|call| call.seq <= newest);
    append.calls.split_at_checked(known).map_or(&[], |(_, new)| new)
}

/// The refusal of a writer that is not where the log is.
pub(super) fn behind(store: &StoreName, newest: Seq) -> StorageError {
    StorageError::Behind { store: store.clone(), newest }
}

/// The refusal of a message id that the store has seen.
pub(super) fn repeated(commit: Seq, former: Seq) -> StorageError {
    StorageError::Invalid(format!("the message id of commit {commit} is that of commit {former}"))
}

/// Checks a checkpoint against where the log and its checkpoint stand. `standing` is 0 if there is
/// none.
pub(super) fn check_checkpoint(
    store: &StoreName,
    checkpoint: &Checkpoint,
    keep: Seq,
    (newest, standing): (Seq, Seq),
) -> Result<(), StorageError> {
    if checkpoint.seq == Seq::default() {
        return Err(StorageError::Invalid("a checkpoint of nothing".to_owned()));
    }
    if keep > checkpoint.seq {
        let seq = checkpoint.seq;
        let text = format!("a checkpoint of {seq} does not stand for the commits up to {keep}");
        return Err(StorageError::Invalid(text));
    }
    if checkpoint.seq > newest || checkpoint.seq < standing {
        return Err(behind(store, newest));
    }
    Ok(())
}

/// Checks that a checkpoint is of the state that the log knows at its seq.
pub(super) fn check_heads(
    checkpoint: &Checkpoint,
    heads: &[ChangeHash],
) -> Result<(), StorageError> {
    if checkpoint.heads == heads {
        return Ok(());
    }
    let seq = checkpoint.seq;
    Err(StorageError::Invalid(format!("the checkpoint of {seq} has other heads than its commit")))
}

/// Checks that a commit can be the first of its store, and that the checkpoint stands for it.
pub(super) fn check_founding(commit: &Commit, checkpoint: &Checkpoint) -> Result<(), StorageError> {
    if commit.seq != start(commit.seq).next() || commit.seq > SEQ_MAX {
        let text = format!("commit {} is not the first of an epoch", commit.seq);
        return Err(StorageError::Invalid(text));
    }
    if checkpoint.seq != commit.seq {
        let text = format!("the checkpoint of {} is not of the first commit", checkpoint.seq);
        return Err(StorageError::Invalid(text));
    }
    check_heads(checkpoint, &commit.heads)
}

/// The start of the epoch that a store is in.
pub(super) const fn start(newest: Seq) -> Seq {
    Seq(newest.0 & !(u32::MAX as u64))
}
