//! A server as a child process, on a port and a data folder of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::flags::Kind;
use crate::usage::{self, Meter};
use crate::{Outcome, node};

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// From the stock server's saying that it listens until it surely does.
const READY_PAUSE: Duration = Duration::from_secs(2);
/// How long an idle server is given to write what it holds, before it is stopped.
const SAVE_PAUSE: Duration = Duration::from_secs(2);

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    folder: TempDir,
    address: String,
    child: Child,
}

impl Server {
    /// Starts a server without any data.
    pub(crate) fn start(kind: Kind) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (child, address) = spawn(kind, folder.path())?;
        Ok(Self { kind, folder, address, child })
    }

    /// Stops the server in order, and starts it again on the same data.
    pub(crate) fn restart(&mut self) -> Outcome<()> {
        thread::sleep(SAVE_PAUSE);
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        sent.map_err(|error| format!("kill does not run: {error}"))?;
        for _ in 0..STOP_PATIENCE.as_millis() / 10 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                (self.child, self.address) = spawn(self.kind, self.folder.path())?;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("the server did not stop on SIGTERM".to_owned())
    }

    /// Where automerge-repo clients connect.
    pub(crate) fn url(&self) -> String {
        match self.kind {
            Kind::Statehouse => format!("ws://{}/v1/workspaces/bench/automerge", self.address),
            _ => format!("ws://{}/", self.address),
        }
    }

    /// Where JSON clients connect, at the server that has any.
    pub(crate) fn json_url(&self) -> String {
        format!("ws://{}/v1/workspaces/bench/socket", self.address)
    }

    /// Whether it holds no documents, so that clients must bring their own.
    pub(crate) fn only_copies(&self) -> bool {
        self.kind == Kind::Relay
    }

    /// Starts to measure its processor time.
    pub(crate) fn meter(&self) -> Meter {
        Meter::new(self.child.id())
    }

    /// Its memory in RAM, in bytes: now, and at most so far.
    pub(crate) fn memory(&self) -> (u64, u64) {
        usage::memory(self.child.id())
    }

    /// The end of what it wrote to its log, on one line.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        last.chars().take(300).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that ended by itself cannot be killed, and need not be.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(kind: Kind, folder: &Path) -> Outcome<Command> {
    let data = folder.join("data");
    match kind {
        Kind::Statehouse => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_statehouse"));
            command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
            Ok(command)
        }
        Kind::Samod | Kind::Relay => {
            let myself = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(myself);
            command.args(["--serve", if kind == Kind::Samod { "samod" } else { "relay" }]);
            command.arg("--data").arg(data);
            Ok(command)
        }
        Kind::Node => {
            node::install()?;
            let mut command = Command::new("node");
            command.arg(node::script()).env("DATA_DIR", data);
            Ok(command)
        }
    }
}

fn spawn(kind: Kind, folder: &Path) -> Outcome<(Child, String)> {
    let mut command = command(kind, folder)?;
    let port = free_port()?;
    if kind == Kind::Node {
        command.env("PORT", port.to_string());
    }
    let log = File::options().create(true).append(true).open(folder.join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let mut more_log = log.try_clone().map_err(|error| error.to_string())?;
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (said, first_line) = mpsc::channel();
    // The thread lives as long as the server's stdout: a server must never meet a closed pipe.
    thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            // The receiver is gone after the first line; what comes later belongs to the log.
            if let Err(late) = said.send(std::mem::take(&mut line)) {
                drop(more_log.write_all(late.0.as_bytes()));
            }
        }
    });
    let Ok(line) = first_line.recv_timeout(START_PATIENCE) else {
        drop(child.kill());
        return Err("the server did not say that it listens".to_owned());
    };
    if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
        return Ok((child, address.to_owned()));
    }
    // The stock server says so before it takes sockets: one that comes at once is never answered.
    thread::sleep(READY_PAUSE);
    Ok((child, format!("127.0.0.1:{port}")))
}

/// A port that nobody uses now, for a server that cannot choose one itself.
fn free_port() -> Outcome<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| error.to_string())
}
