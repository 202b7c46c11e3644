//! The configuration: a TOML file, the environment over it, and flags over both.

mod auth;
mod environment;
mod file;
mod limits;
pub mod print;
mod schema;
mod webhooks;

use std::path::{Path, PathBuf};

use super::auth::AuthConfig;
use crate::limits as bounds;
use crate::workspace::WorkspaceConfig;
pub use environment::FLAGS;
use file::File;
pub use webhooks::{WebhookConfig, WebhookRules};

/// What the server runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Another address, where those who run the server ask how it is; none: where it listens.
    pub admin: Option<String>,
    /// The folder that holds everything that is saved.
    pub data: PathBuf,
    /// Whether an address beyond this machine may be listened on.
    pub insecure: bool,
    /// Who is let in; `None`: everybody.
    pub auth: Option<AuthConfig>,
    /// Web pages that may connect, besides those of this host: origins, or `*`.
    pub origins: Vec<String>,
    /// What the server holds its sockets to, and its memory.
    pub limits: Limits,
    /// Where webhooks are called; what they watch is in `workspace.webhooks`, under the same names.
    pub webhooks: Vec<WebhookConfig>,
    /// What all webhooks are subject to.
    pub webhook_rules: WebhookRules,
    /// The rules of every workspace.
    pub workspace: WorkspaceConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4600".to_owned(),
            admin: None,
            data: PathBuf::from("./statehouse-data"),
            insecure: false,
            auth: None,
            origins: Vec::new(),
            limits: Limits::default(),
            webhooks: Vec::new(),
            webhook_rules: WebhookRules::default(),
            workspace: WorkspaceConfig::default(),
        }
    }
}

/// What the server holds its sockets to, and its memory. What clients may bring into a workspace
/// is in [`WorkspaceConfig::limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time without sessions or calls after which a workspace is unloaded, in milliseconds.
    pub idle_ms: u64,
    /// Bytes that loaded workspaces may hold together before idle ones are unloaded early.
    pub memory_bytes: usize,
    /// Sockets that are open at the same time.
    pub sockets: usize,
    /// Time in which a client must send the head of its next HTTP request, in milliseconds.
    pub request_ms: u64,
    /// One WebSocket frame, in bytes.
    pub frame_bytes: usize,
    /// One message from a client, in bytes.
    pub message_bytes: usize,
    /// One message from a client of the automerge-repo dialect, in bytes.
    pub repo_message_bytes: usize,
    /// Bytes that wait to be written to one socket. The answer to a hello takes 256 of them for
    /// each store: a workspace of very many wants no small number here.
    pub outbox_bytes: usize,
    /// Time in which a socket must take something of what is written to it, in milliseconds.
    pub outbox_stall_ms: u64,
    /// Time without a word from a client after which it is asked for a sign of life, in
    /// milliseconds.
    pub ping_ms: u64,
    /// The same in the automerge-repo dialect.
    pub repo_ping_ms: u64,
    /// Time that a server which is asked to stop goes on, saying that it is not ready, in
    /// milliseconds.
    pub drain_ms: u64,
    /// Time that a stop waits for what is unsaved, in milliseconds.
    pub stop_ms: u64,
    /// HTTP requests from one address, and of one user, in a second.
    pub requests_per_s: u32,
    /// New sessions of sockets from one address in a second.
    pub sockets_per_s: u32,
    /// Messages that are read from one socket in a second.
    pub messages_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_ms: bounds::IDLE_MS_MAX,
            memory_bytes: bounds::MEMORY_BYTES_MAX,
            sockets: bounds::SOCKETS_MAX,
            request_ms: bounds::REQUEST_MS_MAX,
            frame_bytes: bounds::FRAME_BYTES_MAX,
            message_bytes: bounds::MESSAGE_BYTES_MAX,
            repo_message_bytes: bounds::REPO_MESSAGE_BYTES_MAX,
            outbox_bytes: bounds::OUTBOX_BYTES_MAX,
            outbox_stall_ms: bounds::OUTBOX_STALL_MS_MAX,
            ping_ms: bounds::PING_MS,
            repo_ping_ms: bounds::REPO_PING_MS,
            drain_ms: bounds::DRAIN_MS,
            stop_ms: bounds::STOP_MS_MAX,
            requests_per_s: bounds::REQUESTS_PER_S,
            sockets_per_s: bounds::SOCKETS_PER_S,
            messages_per_s: bounds::MESSAGES_PER_S,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is not TOML, or holds a key or a value that means nothing.
    #[error("{}, line {line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1. What stands there is not said: it may be a secret.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A variable of the environment means nothing.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with its value.
        message: String,
    },
    /// The stores contradict themselves or each other.
    #[error("store \"{store}\": {message}")]
    Store {
        /// The name, as it stands in the configuration.
        store: String,
        /// What is wrong with it.
        message: String,
    },
    /// A trigger that calls nobody, or whom it may not.
    #[error("trigger \"{name}\": {message}")]
    Trigger {
        /// Its name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value that is none.
    #[error("{key}: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl Config {
    /// Reads the file, if there is one, and lays the environment over it.
    pub fn read(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = match path {
            None => toml::Table::new(),
            Some(path) => read_file(path)?,
        };
        environment::overlay(&mut table, environment)?;
        let value = |error: toml::de::Error| ConfigError::Value {
            key: "configuration",
            message: error.message().to_owned(),
        };
        let file: File = table.try_into().map_err(value)?;
        file.into_config()
    }
}

/// The file as a table of which every key is known to mean something.
fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    // Read as what it means first: only then do errors know their line.
    let refuse = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        ConfigError::File { path: path.to_owned(), line, message: error.message().to_owned() }
    };
    toml::from_str::<File>(&text).map_err(refuse)?;
    toml::from_str(&text).map_err(refuse)
}

#[cfg(test)]
mod tests;
