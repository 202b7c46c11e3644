//! Webhooks: triggers whose firings are kept in the log, with the commit that caused them, until
//! somebody outside has been told.

use std::sync::Arc;

use super::commit::Commit;
use super::trigger::{Changed, Pattern};
use crate::ids::Seq;
use crate::json::{Json, Object};
use crate::limits;

/// A trigger that tells somebody outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, unique and for ever: what it was not told yet is kept under it.
    pub name: Arc<str>,
    /// Which paths it watches.
    pub pattern: Pattern,
}

/// One thing to tell a webhook: that a commit changed a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The webhook.
    pub webhook: Arc<str>,
    /// The commit.
    pub seq: Seq,
    /// The path that changed: `/` + store + JSON Pointer.
    pub path: Box<str>,
    /// The value before and after, when and by whom: a JSON object, as text. A value that was not
    /// there, or is not there any more, is left out; so are both where they would be larger than
    /// [`limits::CALL_BYTES_MAX`], and `omitted` is true then.
    pub told: Box<str>,
}

impl Call {
    /// What changed at one path.
    pub(super) fn new(webhook: &Arc<str>, commit: &Commit, path: &str, changed: Changed) -> Self {
        let Changed { old, new, .. } = changed;
        let bytes = [&old, &new].into_iter().flatten().map(Json::encoded_len);
        if bytes.fold(0, usize::saturating_add) > limits::CALL_BYTES_MAX {
            return Self::of_many(webhook, commit, path);
        }
        Self::with(webhook, commit, path, [("old", old), ("new", new)])
    }

    /// That more has changed at and below a path than is told.
    pub(super) fn of_many(webhook: &Arc<str>, commit: &Commit, path: &str) -> Self {
        Self::with(webhook, commit, path, [("omitted", Some(Json::Bool(true))), ("", None)])
    }

    fn with(
        webhook: &Arc<str>,
        commit: &Commit,
        path: &str,
        values: [(&str, Option<Json>); 2],
    ) -> Self {
        let origin = &commit.origin;
        let about = [
            ("time", Some(Json::Int(commit.time.0.cast_signed()))),
            ("user", Some(origin.user.as_str().into())),
            ("dialect", Some(origin.dialect.as_str().into())),
        ];
        let members = values.into_iter().chain(about);
        let members = members.filter_map(|(key, value)| Some((key.into(), value?)));
        let told = Json::Object(members.collect::<Object>()).to_string();
        Self { webhook: Arc::clone(webhook), seq: commit.seq, path: path.into(), told: told.into() }
    }
}
