//! Each value of a configuration, and where it comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, environment, read_file};
use crate::workspace::Durability;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody has set it.
    Default,
    /// The configuration.
    File(PathBuf),
    /// The environment, in this variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One value; its text is a line of TOML.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key, after its section and a dot.
    pub key: String,
    /// The value; none if it may be a secret.
    pub value: Option<Value>,
    /// Where it comes from.
    pub source: Source,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, source } = self;
        match value {
            Some(value) => write!(f, "{key} = {value}  # {source}"),
            None => write!(f, "# {key} is set and not shown: {source}"),
        }
    }
}

/// What the file says, and what the environment says.
#[derive(Debug)]
pub struct Sources {
    path: Option<PathBuf>,
    file: Table,
    environment: Table,
}

impl Sources {
    /// Reads both, and what they come to.
    pub fn read(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Config), ConfigError> {
        let file = path.map_or_else(|| Ok(Table::new()), read_file)?;
        let variables: Vec<(String, String)> = environment.into_iter().collect();
        let config = Config::read(path, variables.iter().cloned())?;
        let mut environment = Table::new();
        environment::overlay(&mut environment, variables)?;
        Ok((Self { path: path.map(Path::to_owned), file, environment }, config))
    }

    /// Each value of a configuration that was read from these, and changed by the flags for these
    /// keys. What is not known here, only somebody's secret could be: it is named and not shown.
    pub fn settings(&self, config: &Config, flags: &[&str]) -> Vec<Setting> {
        let mut settings: Vec<Setting> = known(config)
            .into_iter()
            .map(|(key, value)| {
                let is_flag = flags.contains(&key);
                let source = if is_flag { Source::Flag } else { self.source(key) };
                Setting { key: key.to_owned(), value: Some(value), source }
            })
            .collect();
        let mut others = Vec::new();
        leaves(&self.file, "", &mut others);
        leaves(&self.environment, "", &mut others);
        for (key, value) in others {
            if settings.iter().all(|setting| setting.key != key) {
                let source = self.source(&key);
                // The stores, as they are written.
                let value = (key == "store").then_some(value);
                settings.push(Setting { key, value, source });
            }
        }
        settings
    }

    fn source(&self, key: &str) -> Source {
        if find(&self.environment, key).is_some() {
            let name = key.to_uppercase().replace('.', "__");
            return Source::Environment(format!("{}{name}", environment::PREFIX));
        }
        let path = self.path.clone().filter(|_| find(&self.file, key).is_some());
        path.map_or(Source::Default, Source::File)
    }
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}

/// All values that are not tables; the newest of a key first.
fn leaves(table: &Table, section: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let key = format!("{section}{key}");
        match value {
            Value::Table(inner) => leaves(inner, &format!("{key}."), found),
            value => found.push((key, value.clone())),
        }
    }
}

/// All that has a default, with its value.
fn known(config: &Config) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let number = |n: usize| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let millis = |n: u64| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let (limits, rules) = (&config.limits, &config.workspace);
    let durability = match rules.durability {
        Durability::Strict => "strict",
        Durability::Relaxed => "relaxed",
    };
    let mut all = vec![
        ("listen", text(&config.listen)),
        ("data", text(&config.data.to_string_lossy())),
        ("insecure", Value::Boolean(config.insecure)),
        ("durability", text(durability)),
        ("create_stores", Value::Boolean(rules.create_stores)),
        ("origins", Value::Array(config.origins.iter().map(|origin| text(origin)).collect())),
    ];
    all.extend(config.admin.as_ref().map(|listen| ("admin.listen", text(listen))));
    all.extend([
        ("limits.idle_ms", millis(limits.idle_ms)),
        ("limits.memory_bytes", number(limits.memory_bytes)),
        ("limits.sockets", number(limits.sockets)),
        ("limits.request_ms", millis(limits.request_ms)),
        ("limits.frame_bytes", number(limits.frame_bytes)),
        ("limits.message_bytes", number(limits.message_bytes)),
        ("limits.repo_message_bytes", number(limits.repo_message_bytes)),
        ("limits.outbox_bytes", number(limits.outbox_bytes)),
        ("limits.outbox_stall_ms", millis(limits.outbox_stall_ms)),
        ("limits.ping_ms", millis(limits.ping_ms)),
        ("limits.repo_ping_ms", millis(limits.repo_ping_ms)),
        ("limits.drain_ms", millis(limits.drain_ms)),
        ("limits.stop_ms", millis(limits.stop_ms)),
        ("limits.requests_per_s", Value::Integer(limits.requests_per_s.into())),
        ("limits.sockets_per_s", Value::Integer(limits.sockets_per_s.into())),
        ("limits.messages_per_s", Value::Integer(limits.messages_per_s.into())),
        ("limits.sessions", number(rules.limits.sessions_max)),
        ("limits.workspace_bytes", millis(rules.limits.bytes_max)),
        ("limits.stores", number(rules.limits.stores_max)),
        ("limits.document_bytes", number(rules.limits.json.document_bytes_max)),
        ("limits.json_depth", number(rules.limits.json.depth_max)),
        ("limits.key_bytes", number(rules.limits.json.key_bytes_max)),
        ("limits.patch_ops", number(rules.limits.json.patch_ops_max)),
        ("limits.presence_bytes", number(rules.limits.presence_bytes_max)),
        ("webhooks.allow_private", Value::Boolean(config.webhook_rules.allow_private)),
        ("webhooks.give_up_ms", millis(config.webhook_rules.give_up_ms)),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::file::File;

    /// The keys that serde knows, from what it says of one that it does not know.
    fn keys(section: &str) -> Vec<String> {
        let toml =
            if section.is_empty() { "no = 1".to_owned() } else { format!("[{section}]\nno=1") };
        let error = toml::from_str::<File>(&toml).unwrap_err().message().to_owned();
        let (_, keys) = error.split_once("expected ").unwrap();
        keys.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn no_key_is_left_out() {
        let config = Config { admin: Some("x".to_owned()), ..Config::default() };
        let known: Vec<&str> = known(&config).into_iter().map(|(key, _)| key).collect();
        for key in keys("limits") {
            assert!(known.contains(&&*format!("limits.{key}")), "limits.{key}");
        }
        for key in keys("") {
            let section = format!("{key}.");
            let there = known.iter().any(|known| *known == key || known.starts_with(&section));
            let is_elsewhere = ["store", "trigger", "auth"].contains(&&*key);
            assert!(there || is_elsewhere, "{key} is not printed, or is a secret: say which");
        }
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let table = |toml: &str| toml.parse::<Table>().unwrap();
        let sources = Sources {
            path: Some("here.toml".into()),
            file: table("listen = \"a\"\n[auth]\nsecret = \"hush\"\n[[store]]\nname = \"s\""),
            environment: table("[limits]\nidle_ms = 7"),
        };
        let settings = sources.settings(&Config::default(), &["data"]);
        let lines: Vec<String> = settings.iter().map(Setting::to_string).collect();
        let says =
            |line: &str| assert!(lines.iter().any(|said| said == line), "{line}: {lines:#?}");
        says("listen = \"127.0.0.1:4600\"  # file here.toml");
        says("data = \"./statehouse-data\"  # flag");
        says("limits.idle_ms = 60000  # environment STATEHOUSE_LIMITS__IDLE_MS");
        says("limits.stores = 10000  # default");
        says("# auth.secret is set and not shown: file here.toml");
        says("store = [{ name = \"s\" }]  # file here.toml");
        assert!(lines.iter().all(|line| !line.contains("hush")));
    }
}
