//! Webhooks as they stand in the configuration: `[[trigger]]` and `[webhooks]`.

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use serde::Deserialize;

use super::ConfigError;
use crate::ids::Secret;
use crate::limits;
use crate::server::webhooks;
use crate::workspace::Webhook;

/// Where a webhook is called; which paths it watches is in
/// [`WorkspaceConfig::webhooks`](crate::workspace::WorkspaceConfig::webhooks).
#[derive(Clone)]
pub struct WebhookConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is called, by `http` or `https`.
    pub url: Url,
    /// What its calls are signed with: `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks
    /// has it, or any other text of 24 to 64 bytes.
    pub secret: Secret,
}

impl std::fmt::Debug for WebhookConfig {
    /// Without the address, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What all webhooks are subject to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookRules {
    /// Whether addresses may be called that are not of the public internet.
    pub allow_private: bool,
    /// Age of a commit from which on a call that fails is given up, in milliseconds.
    pub give_up_ms: u64,
}

impl Default for WebhookRules {
    fn default() -> Self {
        Self { allow_private: false, give_up_ms: limits::CALL_GIVE_UP_MS }
    }
}

/// The table `[webhooks]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhooksTable {
    allow_private: Option<bool>,
    give_up_ms: Option<u64>,
}

impl WebhooksTable {
    pub(super) fn into_rules(self) -> WebhookRules {
        let otherwise = WebhookRules::default();
        WebhookRules {
            allow_private: self.allow_private.unwrap_or(otherwise.allow_private),
            give_up_ms: self.give_up_ms.unwrap_or(otherwise.give_up_ms),
        }
    }
}

/// One `[[trigger]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerTable {
    name: Option<String>,
    path: String,
    url: String,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
}

impl TriggerTable {
    /// What it watches, and where it is called.
    pub(super) fn into_webhook(
        self,
        rules: &WebhookRules,
    ) -> Result<(Webhook, WebhookConfig), ConfigError> {
        let name: Arc<str> = self.name.unwrap_or_else(|| self.path.clone()).into();
        let refuse = |message: String| ConfigError::Trigger { name: name.to_string(), message };
        if name.is_empty() || name.len() > limits::WEBHOOK_NAME_BYTES_MAX {
            let most = limits::WEBHOOK_NAME_BYTES_MAX;
            return Err(refuse(format!("its name has 1 to {most} bytes")));
        }
        let pattern =
            self.path.parse().map_err(|error| refuse(format!("path {:?}: {error}", self.path)))?;
        // What is wrong with an address is said without it: it may hold a secret.
        let url = Url::parse(&self.url).map_err(|error| refuse(format!("url: {error}")))?;
        webhooks::check_address(&url, rules.allow_private).map_err(refuse)?;
        let secret = match (self.secret, self.secret_file) {
            (Some(secret), None) => secret,
            (None, Some(file)) => {
                let read = std::fs::read_to_string(&file);
                let text = read
                    .map_err(|error| refuse(format!("secret_file {}: {error}", file.display())))?;
                Secret::new(text.trim_end())
            }
            _ => return Err(refuse("it has one of secret, secret_file".to_owned())),
        };
        webhooks::key_of(&secret).map_err(|what| refuse(format!("secret: {what}")))?;
        let webhook = Webhook { name: Arc::clone(&name), pattern };
        Ok((webhook, WebhookConfig { name, url, secret }))
    }
}
