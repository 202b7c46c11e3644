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
    pub(super) fn new(webhook: &Arc<str>, commit: &Commit, path: &str, changed: Changed) -> Self {
        let Changed { old, new, .. } = changed;
        let bytes = [&old, &new].into_iter().flatten().map(Json::encoded_len);
        let omitted = bytes.fold(0, usize::saturating_add) > limits::CALL_BYTES_MAX;
        let (old, new) = if omitted { (None, None) } else { (old, new) };
        let origin = &commit.origin;
        let members = [
            ("old", old),
            ("new", new),
            ("omitted", omitted.then_some(Json::Bool(true))),
            ("time", Some(Json::Int(commit.time.0.cast_signed()))),
            ("user", Some(origin.user.as_str().into())),
            ("dialect", Some(origin.dialect.as_str().into())),
        ];
        let members = members.into_iter().filter_map(|(key, value)| Some((key.into(), value?)));
        let told = Json::Object(members.collect::<Object>()).to_string();
        Self { webhook: Arc::clone(webhook), seq: commit.seq, path: path.into(), told: told.into() }
    }
}
