//! Standard output and standard error, where a closed pipe is no panic.

use std::io::{self, Write as _};

use serde::Serialize;

use super::Failure;

/// Prints one line, at once.
pub(super) fn print(line: &str) -> Result<(), Failure> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Prints bytes as they are.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::Failed(format!("cannot write the output: {error}"))),
    }
}

/// Prints a value as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string(value).map_err(|error| unwritable(&error))?)
}

/// Prints a value as JSON for people.
pub(super) fn print_pretty(value: &impl Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(|error| unwritable(&error))?)
}

fn unwritable(error: &serde_json::Error) -> Failure {
    Failure::Failed(format!("cannot write the value: {error}"))
}

/// Says something to whoever looks. If nobody can hear it, nobody can be told that either.
pub(super) fn complain(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}
