//! The stock sync server of automerge-repo, installed by npm from a lockfile.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use statehouse::bench::Outcome;

/// Where the package is installed.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/node")
}

/// The script that is the server.
pub(crate) fn script() -> PathBuf {
    folder().join("node_modules/@automerge/automerge-repo-sync-server/src/index.js")
}

/// Installs the pinned packages once; says why if that cannot be.
pub(crate) fn install() -> Outcome<()> {
    static INSTALLED: OnceLock<Outcome<()>> = OnceLock::new();
    INSTALLED.get_or_init(install_now).clone()
}

fn install_now() -> Outcome<()> {
    let version = Command::new("node").arg("--version").output();
    version.map_err(|error| format!("node does not run: {error}"))?;
    let lock = std::fs::read(folder().join("package-lock.json"));
    let lock = lock.map_err(|error| format!("no lockfile: {error}"))?;
    // The lock that an earlier run installed from.
    let stamp = folder().join("node_modules/.statehouse-lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let npm = Command::new("npm").args(["ci", "--no-audit"]).current_dir(folder()).output();
    let npm = npm.map_err(|error| format!("npm does not run: {error}"))?;
    if !npm.status.success() {
        let why = String::from_utf8_lossy(&npm.stderr);
        let last = why.lines().last().unwrap_or_default();
        return Err(format!("npm ci failed (is there a network?): {last}"));
    }
    std::fs::write(stamp, lock).map_err(|error| format!("the packages are not writable: {error}"))
}

/// What a program answers to `--version`, or that there is none.
pub(crate) fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_else(|_| "none".to_owned())
}

/// The version of an installed package, or that there is none.
pub(crate) fn package(name: &str) -> String {
    let manifest = folder().join("node_modules").join(name).join("package.json");
    let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap_or_default();
    manifest.get("version").and_then(|version| version.as_str()).unwrap_or("none").to_owned()
}
