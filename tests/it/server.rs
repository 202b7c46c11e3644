//! The real binary as a child process: started, stopped, killed and started again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test, with nothing set.
pub(crate) fn statehouse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_statehouse"))
}

/// A server on a port and a data folder of its own. It is killed when dropped.
pub(crate) struct Server {
    folder: TempDir,
    /// `127.0.0.1:port`; the port is chosen by the first start and kept by every later one.
    address: String,
    /// None before the first start.
    child: Option<Child>,
}

impl Server {
    /// A server without a configuration.
    pub(crate) fn start() -> Self {
        Self::with_config("")
    }

    /// A server with this configuration, as TOML.
    pub(crate) fn with_config(config: &str) -> Self {
        let mut server = Self::prepared();
        server.start_again(Some(config));
        server
    }

    /// A server with this configuration, and with these variables in its environment.
    pub(crate) fn with_variables(config: &str, variables: &[(&str, &str)]) -> Self {
        let mut server = Self::prepared();
        std::fs::write(server.folder.path().join("statehouse.toml"), config).unwrap();
        if let Err(said) = server.try_start_again(variables) {
            panic!("the server did not say that it listens: {said}");
        }
        server
    }

    /// A server that has yet to be started, without a configuration.
    pub(crate) fn prepared() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("statehouse.toml"), "").unwrap();
        Self { folder, address: "127.0.0.1:0".to_owned(), child: None }
    }

    /// The address for HTTP.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of a workspace's sockets.
    pub(crate) fn socket(&self, workspace: &str) -> String {
        format!("ws://{}/v1/workspaces/{workspace}/socket", self.address)
    }

    /// The address of a workspace's automerge-repo sockets.
    pub(crate) fn automerge(&self, workspace: &str) -> String {
        format!("ws://{}/v1/workspaces/{workspace}/automerge", self.address)
    }

    /// Where the server keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server wrote to its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The most memory that the process held since it was last asked anew, in kB (proc(5)).
    pub(crate) fn peak_kb(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child().id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What the process holds now; from here on the peak is measured.
    pub(crate) fn peak_kb_anew(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.child().id()), "5").unwrap();
        self.peak_kb()
    }

    /// SIGKILL: the process gets no chance to do anything more.
    pub(crate) fn kill(&mut self) {
        let child = self.child.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and what the server exits with.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends the process a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child(), name);
    }

    /// What the server exits with when it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        exit_of(self.child.as_mut().unwrap())
    }

    /// Starts the dead server again: same data, same port, and this configuration if one is given.
    pub(crate) fn start_again(&mut self, config: Option<&str>) {
        if let Some(config) = config {
            std::fs::write(self.folder.path().join("statehouse.toml"), config).unwrap();
        }
        if let Err(said) = self.try_start_again(&[]) {
            panic!("the server did not say that it listens: {said}");
        }
    }

    /// The same with these variables in its environment; if it does not get to listen, what it
    /// wrote to its log, all its life.
    pub(crate) fn try_start_again(&mut self, variables: &[(&str, &str)]) -> Result<(), String> {
        let (child, address) = spawn(self.folder.path(), &self.address, variables)?;
        (self.child, self.address) = (Some(child), address);
        Ok(())
    }

    fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.as_mut();
        if child.is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none())) {
            self.kill();
        }
        if thread::panicking() && self.child.is_some() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the server's log ends with:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

fn spawn(
    folder: &Path,
    listen: &str,
    variables: &[(&str, &str)],
) -> Result<(Child, String), String> {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = statehouse()
        .args(["serve", "--listen", listen, "--data"])
        .arg(folder.join("data"))
        .arg("--config")
        .arg(folder.join("statehouse.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .envs(variables.iter().copied())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (said, first_line) = mpsc::channel();
    // The thread lives as long as the server's stdout: a server must never meet a closed pipe.
    thread::spawn(move || {
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            // The receiver is gone after the first line.
            drop(said.send(std::mem::take(&mut line)));
        }
    });
    let Ok(line) = first_line.recv_timeout(PATIENCE) else {
        drop(child.kill());
        child.wait().unwrap();
        return Err(std::fs::read_to_string(folder.join("log")).unwrap());
    };
    let address = line.trim_end().strip_prefix("listening on http://");
    let address = address.unwrap_or_else(|| panic!("not the agreed line: {line:?}"));
    Ok((child, address.to_owned()))
}

/// Sends a signal by name.
pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([format!("-{name}"), id]).status().unwrap();
    assert!(sent.success(), "kill -{name}");
}

/// Waits until a process ends by itself; one that does not is killed, and the test fails.
pub(crate) fn exit_of(child: &mut Child) -> ExitStatus {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("the process did not end within {PATIENCE:?}");
}
