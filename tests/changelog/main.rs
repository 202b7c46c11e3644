//! One contract for every log, and what SQLite's must survive.
//!
//! - `contract`: what holds for every engine, case by case.
//! - `model`: any sequence of calls does what the simplest possible log does.
//! - `crash`: a process that is killed.
//! - `damage`: a file that decays.
//! - `doctor`: what the examination of a log finds, and what can be saved then.
//! - `migration`: a log that an older version made.
//! - `faults`: a disk that fails, at every call there is, or is full.
//! - `restore`: what a log is that was restored from a backup.
//! - `transfer`: the way out of a log, and into another one.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and a child process tells by printing"
)]

mod contract;
mod crash;
mod damage;
mod doctor;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod migration;
mod model;
mod restore;
mod transfer;
mod world;

/// Runs every part of the contract over every engine.
macro_rules! contract {
    ($($part:ident)*) => {
        mod memory {
            $(#[test]
            fn $part() {
                crate::contract::$part(&mut crate::world::World::memory());
            })*
        }

        mod sqlite {
            $(#[test]
            fn $part() {
                crate::contract::$part(&mut crate::world::World::sqlite());
            })*
        }
    };
}

contract! {
    a_store_that_was_never_saved_is_empty_and_not_an_error
    commits_come_back_as_they_were
    a_commit_must_follow_the_one_before
    an_epoch_does_not_run_into_the_next
    a_writer_that_is_not_where_the_log_is_is_told_so
    an_append_can_be_tried_again
    an_append_that_is_partly_there_is_completed
    an_append_whose_changes_are_gone_cannot_be_tried_again
    one_batch_may_continue_a_store_twice
    a_refused_entry_changes_nothing_and_the_others_go_in
    message_ids_are_remembered_for_ever
    a_checkpoint_stands_for_the_commits_before_it
    older_messages_says_whether_ids_went_with_their_commits
    a_checkpoint_never_trims_what_it_does_not_contain
    stores_are_listed_by_name
    workspaces_share_nothing
    openings_are_counted
    a_log_has_an_identity_of_its_own
    who_owns_an_actor_outlives_the_change_that_says_so
    many_threads_may_use_a_log
    calls_come_with_their_commits_and_only_once
    calls_are_made_in_order_and_go_when_they_are_settled
    a_refused_entry_leaves_no_calls
}
