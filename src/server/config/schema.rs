//! The schema of a store, as it stands in the configuration: a file, or a table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::file::to_json;
use crate::json::{Json, JsonLimits};
use crate::limits;
use crate::workspace::{Gate, JsonSchema};

/// A JSON Schema: the path of a file that holds it, or itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum SchemaTable {
    File(PathBuf),
    Inline(toml::Table),
}

impl SchemaTable {
    /// The rules that the state of a store has to keep; its initial state, too.
    pub(super) fn into_gate(self, initial: &Json) -> Result<Arc<dyn Gate>, String> {
        let (name, schema) = match self {
            Self::File(path) => {
                let name = format!("schema {}", path.display());
                let schema = read(&path).map_err(|error| format!("{name}: {error}"))?;
                (name, schema)
            }
            Self::Inline(table) => ("schema".to_owned(), to_json(toml::Value::Table(table))?),
        };
        let schema = JsonSchema::compile(&schema).map_err(|error| format!("{name}: {error}"))?;
        match schema.breaches(initial).first() {
            None => Ok(Arc::new(schema)),
            Some(breach) => Err(format!("{name}: the initial state does not keep it: {breach}")),
        }
    }
}

fn read(path: &Path) -> Result<Json, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > limits::SCHEMA_BYTES_MAX {
        return Err("it is too large".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    // The names of members are those of a schema, not of a state.
    let limits = JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() };
    Json::parse(text, &limits).map_err(|error| error.to_string())
}
