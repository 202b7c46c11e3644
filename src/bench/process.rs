//! A server as a child process.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::usage::{self, Meter};
use super::{Outcome, words};

const START_PATIENCE: Duration = Duration::from_mins(1);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A running server, which said where it listens. It is killed when dropped, and its standard input
/// ends with this process, however that ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// What it said first, without the end of the line.
    pub said: String,
}

impl Process {
    /// Starts a server in this folder, with a log there, and waits for its first line.
    pub fn start(mut command: Command, folder: &Path) -> Outcome<Self> {
        let log = folder.join("log");
        let file = File::options().create(true).append(true).open(&log).map_err(words)?;
        let mut more_log = file.try_clone().map_err(words)?;
        command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(words)?;
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let mut process = Self { child, log, said: String::new() };
        let mut stdout = BufReader::new(stdout);
        let (said, first_line) = mpsc::sync_channel(1);
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
        match first_line.recv_timeout(START_PATIENCE) {
            Ok(line) => {
                line.trim_end().clone_into(&mut process.said);
                Ok(process)
            }
            Err(_nothing) => {
                Err(process.explain("the server did not say that it listens".to_owned()))
            }
        }
    }

    /// The address that it said it listens on, if it said so.
    pub fn address(&self) -> Option<&str> {
        self.said.strip_prefix("listening on http://")
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts to measure its processor time.
    pub fn meter(&self) -> Meter {
        Meter::new(self.id())
    }

    /// Its memory in RAM, in bytes: now, and at most so far.
    pub fn memory(&self) -> (u64, u64) {
        usage::memory(self.id())
    }

    /// Ends it as a loss of power would, but for the memory of the system.
    pub fn kill(&mut self) {
        // A server that ended by itself cannot be killed, and need not be.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Asks it to stop, and waits until it has. Where a process cannot be asked, it is killed.
    pub fn stop(&mut self) -> Outcome<()> {
        if !ask_to_stop(self.id()) {
            self.kill();
            return Ok(());
        }
        for _ in 0..STOP_PATIENCE.as_millis() / 10 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("the server did not stop when it was asked to".to_owned())
    }

    /// What went wrong, with the end of what it wrote to its log.
    pub fn explain(&self, why: String) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if last.is_empty() {
            return why;
        }
        let last: String = last.chars().take(300).collect();
        format!("{why}; its log ends with: {last}")
    }
}

#[cfg(unix)]
fn ask_to_stop(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    process.is_some_and(|process| {
        rustix::process::kill_process(process, rustix::process::Signal::TERM).is_ok()
    })
}

#[cfg(not(unix))]
fn ask_to_stop(_process: u32) -> bool {
    false
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets this process and its children open as many files as they may; returns that number, if
/// the system tells.
#[cfg(unix)]
pub fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// Lets this process and its children open as many files as they may; returns that number, if
/// the system tells.
#[cfg(not(unix))]
pub fn raise_open_files() -> Option<u64> {
    None
}
