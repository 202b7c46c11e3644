//! The configuration as it stands in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::auth::AuthTable;
use super::limits::LimitsTable;
use super::schema::SchemaTable;
use super::webhooks::{TriggerTable, WebhooksTable};
use super::{Config, ConfigError};
use crate::document::{Policy, Strings};
use crate::ids::StoreName;
use crate::json::{Array, Identity, Json, JsonLimits, Object};
use crate::workspace::{Durability, Past, Scope, StoreConfig, WorkspaceConfig};

/// Every key that a configuration may hold; what is left out is as in [`Config::default`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    listen: Option<String>,
    data: Option<PathBuf>,
    durability: Option<DurabilityName>,
    create_stores: Option<bool>,
    origins: Option<Vec<String>>,
    auth: Option<AuthTable>,
    #[serde(default)]
    admin: AdminTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    store: Vec<StoreTable>,
    #[serde(default)]
    trigger: Vec<TriggerTable>,
    #[serde(default)]
    webhooks: WebhooksTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminTable {
    listen: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DurabilityName {
    Strict,
    Relaxed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    name: String,
    persistent: Option<bool>,
    #[serde(default)]
    scope: ScopeName,
    initial: Option<toml::Value>,
    #[serde(default)]
    text: Vec<String>,
    #[serde(default)]
    keys: BTreeMap<String, String>,
    #[serde(default)]
    strings: StringsName,
    schema: Option<SchemaTable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScopeName {
    #[default]
    Workspace,
    Session,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StringsName {
    #[default]
    Scalar,
    Text,
}

impl File {
    pub(super) fn into_config(self) -> Result<Config, ConfigError> {
        let otherwise = Config::default();
        let limits = self.limits.for_workspace()?;
        let mut names = BTreeSet::new();
        let mut stores = Vec::with_capacity(self.store.len());
        for table in self.store {
            let name = table.name.clone();
            let refuse = |message| ConfigError::Store { store: name.clone(), message };
            let store = table.into_store(&limits.json).map_err(refuse)?;
            if !names.insert(store.name.clone()) {
                return Err(refuse("it is listed twice".to_owned()));
            }
            stores.push(store);
        }
        let webhook_rules = self.webhooks.into_rules();
        let (mut watched, mut webhooks) = (Vec::new(), Vec::new());
        let mut called = BTreeSet::new();
        for table in self.trigger {
            let (webhook, config) = table.into_webhook(&webhook_rules)?;
            if !called.insert(Arc::clone(&webhook.name)) {
                let message = "it is listed twice: give them names".to_owned();
                return Err(ConfigError::Trigger { name: webhook.name.to_string(), message });
            }
            watched.push(webhook);
            webhooks.push(config);
        }
        let durability = match self.durability {
            None => otherwise.workspace.durability,
            Some(DurabilityName::Strict) => Durability::Strict,
            Some(DurabilityName::Relaxed) => Durability::Relaxed,
        };
        Ok(Config {
            listen: self.listen.unwrap_or(otherwise.listen),
            admin: self.admin.listen,
            data: self.data.unwrap_or(otherwise.data),
            insecure: otherwise.insecure,
            auth: self.auth.map(AuthTable::into_config).transpose()?,
            origins: self.origins.unwrap_or(otherwise.origins),
            limits: self.limits.for_server()?,
            webhooks,
            webhook_rules,
            workspace: WorkspaceConfig {
                create_stores: self.create_stores.unwrap_or(otherwise.workspace.create_stores),
                stores,
                webhooks: watched,
                durability,
                limits,
                ..otherwise.workspace
            },
        })
    }
}

impl StoreTable {
    fn into_store(self, limits: &JsonLimits) -> Result<StoreConfig, String> {
        let name: StoreName = self.name.parse().map_err(|error| format!("{error}"))?;
        let session = self.scope == ScopeName::Session;
        if session && self.persistent == Some(true) {
            return Err("a store of one session is not persistent".to_owned());
        }
        let pattern =
            |text: &String| text.parse().map_err(|error| format!("text {text:?}: {error}"));
        let keys = self.keys.iter().map(|(array, key)| (array.as_str(), key.as_str()));
        let initial = match self.initial {
            None => Json::Object(Object::new()),
            Some(value) => to_json(value).map_err(|error| format!("initial: {error}"))?,
        };
        initial.check(limits).map_err(|error| format!("initial: {error}"))?;
        let gate = self.schema.map(|schema| schema.into_gate(&initial)).transpose()?;
        Ok(StoreConfig {
            name,
            persistent: self.persistent.unwrap_or(!session),
            scope: if session { Scope::Session } else { Scope::Workspace },
            initial,
            gate,
            policy: Policy {
                text: self.text.iter().map(pattern).collect::<Result<_, _>>()?,
                strings: match self.strings {
                    StringsName::Scalar => Strings::Scalar,
                    StringsName::Text => Strings::Text,
                },
                identity: Identity::new(keys).map_err(|error| format!("keys: {error}"))?,
            },
            past: Past::default(),
        })
    }
}

/// The JSON that a TOML value stands for; TOML's parser has bounded its depth.
pub(super) fn to_json(value: toml::Value) -> Result<Json, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(n) => Json::Int(n),
        toml::Value::Float(n) if n.is_finite() => Json::Float(n),
        toml::Value::Float(n) => return Err(format!("{n} is not a number in JSON")),
        toml::Value::Boolean(value) => Json::Bool(value),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => {
            let items = items.into_iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
            Json::Array(Array::from(items))
        }
        toml::Value::Table(members) => {
            let members = members.into_iter().map(|(key, value)| Ok((key.into(), to_json(value)?)));
            Json::Object(members.collect::<Result<Object, String>>()?)
        }
    })
}
