//! Environment variables as configuration: `STATEHOUSE_LIMITS__IDLE_MS=60000`.

use toml::{Table, Value};

use super::ConfigError;
use super::file::File;

/// What the name of each variable begins with.
pub(super) const PREFIX: &str = "STATEHOUSE_";
/// What stands behind `STATEHOUSE_` in the names of variables that are read elsewhere, as flags of
/// the command line: they are no configuration.
pub const FLAGS: &[&str] = &["ADMIN", "CONFIG", "LOG", "LOG_FORMAT", "SERVER", "TOKEN"];

/// Sets in the table what the environment says.
pub(super) fn overlay(
    table: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, text) in environment {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        if FLAGS.contains(&key) {
            continue;
        }
        let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        match read(&path, &text) {
            Ok(value) => set(table, &path, value),
            // The environment is not ours alone: Kubernetes, for one, sets STATEHOUSE_PORT for
            // whoever runs beside a service of this name. Two levels are meant for nobody else.
            Err(message) if is_unknown(&message) && path.len() == 1 => {
                tracing::warn!(name, "an environment variable that means nothing here is ignored");
            }
            Err(message) => return Err(ConfigError::Variable { name, message }),
        }
    }
    Ok(())
}

/// The value that the key can take: what the text is in TOML, or else the text itself.
fn read(path: &[String], text: &str) -> Result<Value, String> {
    let check = |value: Value| {
        let mut table = Table::new();
        set(&mut table, path, value.clone());
        table.try_into::<File>().map(|_| value).map_err(|error| error.message().to_owned())
    };
    let as_text = || check(Value::String(text.to_owned()));
    match text.parse::<Value>() {
        Ok(value) => check(value).or_else(|error| as_text().or(Err(error))),
        Err(_not_toml) => as_text(),
    }
}

fn is_unknown(message: &str) -> bool {
    message.contains("unknown field")
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return;
    }
    let inner = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
    // What is not a table has been refused: the file was read as what it means.
    if let Value::Table(inner) = inner {
        set(inner, rest, value);
    }
}
