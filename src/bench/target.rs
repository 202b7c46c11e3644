//! What is measured: a server, or the relay beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use tokio::time::sleep;

use super::client::Client;
use super::process::Process;
use super::socket::Way;
use super::usage::{self, Meter};
use super::voice::{Dialect, Voice};
use super::{Outcome, now, words};
use crate::ids::Secret;

/// When the server shows edits to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durable {
    /// When they are on disk.
    Strict,
    /// At once.
    Relaxed,
}

/// A server that runs elsewhere.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// Its address, with `ws:` or `http:`.
    pub server: String,
    /// What it is shown if it asks who one is.
    pub token: Option<Secret>,
    /// Its process, where that is on this machine.
    pub pid: Option<u32>,
}

/// How servers come to be.
#[derive(Debug, Clone)]
pub struct Sources {
    /// This program.
    pub program: PathBuf,
    /// The server that is measured, if it is not to be started here.
    pub elsewhere: Option<Elsewhere>,
    /// What a server that is started here is told.
    pub durable: Durable,
}

/// A folder that is gone when it is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Self> {
        let name = format!("statehouse-bench-{:032x}", rand::random::<u128>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's own folder for such things.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// How a server of another make is started: the command, given its folder, and its address if
/// it will not say.
pub type Launch = fn(&Path) -> Outcome<(Command, Option<String>)>;

/// From the first words of a server that does not say its address until it surely listens.
const LISTENS: Duration = Duration::from_secs(2);

/// How long a server of another make is given to write what it holds, before it is stopped.
const SAVES: Duration = Duration::from_secs(2);

/// A server that has said everything is looked at so often whether it still does something.
const CALM: Duration = Duration::from_millis(200);

/// It does not if it spends less processor time than this in that time, in nanoseconds.
const CALM_NS: u64 = 2_000_000;

/// So long it is waited for.
const UNREST: Duration = Duration::from_secs(30);

/// A server that is measured.
#[derive(Debug)]
pub struct Target {
    // Before the folder: a process must be gone when its files are removed.
    process: Option<Process>,
    folder: Option<Folder>,
    sources: Option<Sources>,
    launch: Option<Launch>,
    address: String,
    workspace: String,
    /// Whether it only copies, and so holds no documents.
    pub copies: bool,
    /// What its configuration says of limits, beside what it says of them always.
    limits: Option<String>,
}

impl Target {
    /// A relay, as a process of its own.
    pub fn relay(sources: &Sources) -> Outcome<Self> {
        Self::prepare(sources, true, None)?.started()
    }

    /// The server, with a new folder, as a process of its own; or the one that runs elsewhere.
    pub fn server(sources: &Sources) -> Outcome<Self> {
        Self::prepare(sources, false, None)?.started()
    }

    /// A server as above, that unloads what nobody has used for so many milliseconds.
    pub fn forgetful(sources: &Sources, idle_ms: u64) -> Outcome<Self> {
        Self::prepare(sources, false, Some(format!("idle_ms = {idle_ms}\n")))?.started()
    }

    /// A server as above, that keeps at most so many bytes for a client who does not take them.
    pub fn stingy(sources: &Sources, outbox_bytes: usize) -> Outcome<Self> {
        Self::prepare(sources, false, Some(format!("outbox_bytes = {outbox_bytes}\n")))?.started()
    }

    /// A server of another make, that speaks only the dialect of automerge-repo.
    pub fn foreign(launch: Launch) -> Outcome<Self> {
        let target = Self {
            process: None,
            folder: Some(Folder::new()?),
            sources: None,
            launch: Some(launch),
            address: String::new(),
            workspace: String::new(),
            copies: false,
            limits: None,
        };
        target.started()
    }

    fn prepare(sources: &Sources, copies: bool, limits: Option<String>) -> Outcome<Self> {
        let mut target = Self {
            process: None,
            folder: None,
            sources: Some(sources.clone()),
            launch: None,
            address: String::new(),
            workspace: format!("bench-{:016x}", rand::random::<u64>()),
            copies,
            limits,
        };
        match (&sources.elsewhere, copies) {
            (Some(elsewhere), false) => {
                let (_, rest) =
                    elsewhere.server.split_once("://").unwrap_or(("", &elsewhere.server));
                rest.trim_end_matches('/').clone_into(&mut target.address);
            }
            _ => target.folder = Some(Folder::new()?),
        }
        Ok(target)
    }

    fn started(mut self) -> Outcome<Self> {
        self.start()?;
        Ok(self)
    }

    /// Whether the server was started here, and can be stopped.
    pub fn is_ours(&self) -> bool {
        self.folder.is_some()
    }

    /// Starts the server on the folder that it has; one that runs elsewhere runs already.
    pub fn start(&mut self) -> Outcome<()> {
        let Some(Folder(folder)) = &self.folder else { return Ok(()) };
        let (command, known) = match self.launch {
            Some(launch) => launch(folder)?,
            None => (self.command(folder)?, None),
        };
        let process = Process::start(command, folder)?;
        if known.is_some() {
            std::thread::sleep(LISTENS);
        }
        let said = known.or_else(|| process.address().map(str::to_owned));
        self.address = said.ok_or_else(|| format!("the server said: {}", process.said))?;
        self.process = Some(process);
        Ok(())
    }

    fn command(&self, folder: &Path) -> Outcome<Command> {
        let sources = self.sources.as_ref().ok_or("nobody knows how to start it")?;
        let mut command = Command::new(&sources.program);
        // What the user has set for a server of his own is not to be measured here.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STATEHOUSE_") {
                command.env_remove(name);
            }
        }
        if self.copies {
            command.args(["bench", "--be-relay"]);
            return Ok(command);
        }
        let config = folder.join("bench.toml");
        fs::write(&config, self.config(sources.durable)).map_err(words)?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]);
        command.arg(folder.join("data")).arg("--config").arg(config);
        Ok(command)
    }

    /// The defaults, but for what a single client may ask: all clients have one address here.
    fn config(&self, durable: Durable) -> String {
        let durable = match durable {
            Durable::Strict => "strict",
            Durable::Relaxed => "relaxed",
        };
        let limits = self.limits.as_deref().unwrap_or_default();
        format!(
            "durability = \"{durable}\"\n[limits]\n{limits}\
             sockets_per_s = {}\nmessages_per_s = {}\n",
            crate::limits::SOCKETS_PER_S_CEILING,
            crate::limits::MESSAGES_PER_S_CEILING,
        )
    }

    /// Kills the server, without asking.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the server, and starts it again on what it has saved.
    pub fn restart(&mut self) -> Outcome<()> {
        if let Some(process) = &mut self.process {
            if self.launch.is_some() {
                std::thread::sleep(SAVES);
            }
            process.stop()?;
        }
        self.process = None;
        self.start()
    }

    /// How a client of this dialect connects to speak about this document.
    pub fn way(&self, dialect: Dialect, document: &str) -> Way {
        let (address, workspace) = (&self.address, &self.workspace);
        if self.copies {
            return Way::to(format!("ws://{address}/room/{document}"));
        }
        if self.launch.is_some() {
            return Way::to(format!("ws://{address}/"));
        }
        let end = if dialect == Dialect::Repo { "automerge" } else { "socket" };
        let token = self.elsewhere().and_then(|there| there.token.clone());
        let url = format!("ws://{address}/v1/workspaces/{workspace}/{end}");
        Way { url, token, deaf: false }
    }

    /// Where the relay gives so many bytes.
    pub fn gift(&self, bytes: u64) -> Way {
        Way::to(format!("ws://{}/give/{bytes}", self.address))
    }

    /// A client that has opened a document.
    pub async fn open(
        &self,
        dialect: Dialect,
        document: &str,
        voice: Box<dyn Voice>,
        patience: Duration,
    ) -> Outcome<Client> {
        Client::open(&self.way(dialect, document), document, voice, patience).await
    }

    fn elsewhere(&self) -> Option<&Elsewhere> {
        self.sources.as_ref()?.elsewhere.as_ref().filter(|_| !self.copies)
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id).or_else(|| self.elsewhere()?.pid)
    }

    /// Starts to measure its processor time, if this can be known.
    pub fn meter(&self) -> Option<Meter> {
        let pid = self.pid().filter(|_| usage::is_told())?;
        Some(Meter::new(pid))
    }

    /// Returns when it has finished what it does beside, such as checkpoints; if that takes very
    /// long, before.
    pub async fn quiet(&self) {
        sleep(CALM).await;
        let (mut meter, started) = (self.meter(), now());
        while let Some(meter) = &mut meter
            && started.elapsed() < UNREST
        {
            meter.lap_ns();
            sleep(CALM).await;
            if meter.lap_ns() < CALM_NS {
                break;
            }
        }
    }

    /// Its memory in RAM, in bytes: now, and at most so far; if this can be known.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let memory = usage::memory(self.pid()?);
        (memory != (0, 0)).then_some(memory)
    }

    /// Says what went wrong together with the end of the server's log.
    pub fn explain<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        outcome.map_err(|why| match &self.process {
            Some(process) => process.explain(why),
            None => why,
        })
    }
}
