//! Stock JavaScript clients in Node, from `tests/node`, against the real binary.
//!
//! Each script prints facts as one line of JSON; what they must be is said here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use serde_json::{Value, json};

use crate::server::Server;

/// The random choices of the scripts; a failure repeats with the same one.
const SEED: &str = "20260401";

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/node")
}

/// Installs the pinned packages once; says why if that cannot be.
fn install() -> Result<(), String> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let version = Command::new("node").arg("--version").output();
        version.map_err(|error| format!("node does not run: {error}"))?;
        let lock = std::fs::read(folder().join("package-lock.json")).unwrap();
        // The lock that an earlier run installed from.
        let stamp = folder().join("node_modules/.statehouse-lock");
        if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
            return Ok(());
        }
        let npm = Command::new("npm").args(["ci", "--no-audit"]).current_dir(folder()).output();
        let npm = npm.map_err(|error| format!("npm does not run: {error}"))?;
        if !npm.status.success() {
            let why = String::from_utf8_lossy(&npm.stderr);
            return Err(format!("npm ci failed (is there a network?): {why}"));
        }
        std::fs::write(stamp, lock).unwrap();
        Ok(())
    });
    installed.clone()
}

/// Whether Node scripts can run here. In CI they must; elsewhere a test without Node says that it
/// shows nothing, and passes.
pub(crate) fn available(test: &str) -> bool {
    let Err(why) = install() else { return true };
    assert!(std::env::var_os("CI").is_none(), "{test} needs Node in CI: {why}");
    // Past the test harness, which shows nothing of what a test prints that passes.
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

fn node(script: &str, server: &Server) -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder()).arg(script).arg(server.url()).arg(SEED);
    command
}

/// Starts a script that is talked to over its stdin and stdout.
pub(crate) fn start(script: &str, arguments: &[&str], server: &Server) -> Child {
    let mut command = node(script, server);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Runs a script to its end, with these arguments; returns its facts.
///
/// A script may ask for things to be done to the server: `kill` and `start`.
pub(crate) fn play(script: &str, arguments: &[&str], server: &mut Server) -> Value {
    let mut command = node(script, server);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    let noise = thread::spawn(move || {
        let mut noise = String::new();
        stderr.read_to_string(&mut noise).map(|_| noise).unwrap()
    });
    let mut facts = None;
    for line in BufReader::new(stdout).lines().map(Result::unwrap) {
        let told: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{script}: {error}: {line}"));
        match told["ask"].as_str() {
            Some("kill") => server.kill(),
            Some("start") => server.start_again(None),
            Some(other) => panic!("{script} asks for {other:?}"),
            None => {
                facts = Some(told);
                continue;
            }
        }
        writeln!(stdin, "done").unwrap();
    }
    let (status, noise) = (child.wait().unwrap(), noise.join().unwrap());
    assert!(status.success(), "{script} {arguments:?}: {noise}");
    facts.unwrap_or_else(|| panic!("{script} {arguments:?} told nothing: {noise}"))
}

/// Runs a script of one server's life to its end; returns its facts.
fn facts(script: &str, server: &mut Server) -> Value {
    play(script, &[], server)
}

/// What no client may ever meet: lists that must be empty, and counts that must be 0.
pub(crate) fn assert_orderly(facts: &Value) {
    for key in ["strange", "nacks", "disagreements", "backwards", "lost"] {
        let fact = facts.get(key).unwrap_or(&Value::Null);
        let nothing = fact.is_null() || *fact == json!([]) || *fact == json!(0);
        assert!(nothing, "{key}: {fact:#}");
    }
}

#[test]
fn original_clients_that_insert_at_the_front_lose_nothing() {
    if !available("front-inserts.mjs") {
        return;
    }
    let facts = facts("front-inserts.mjs", &mut Server::start());
    assert_orderly(&facts);
    for rival in ["edit", "insert"] {
        assert_orderly(&facts[rival]);
        assert_eq!((&facts[rival]["rounds"], &facts[rival]["kept"]), (&json!(200), &json!(200)));
    }
}

#[test]
fn ten_edits_in_flight_all_arrive() {
    if !available("in-flight.mjs") {
        return;
    }
    let facts = facts("in-flight.mjs", &mut Server::start());
    assert_orderly(&facts);
    for kind in ["acked", "counted"] {
        assert_orderly(&facts[kind]);
        assert_eq!(facts[kind]["rounds"], 30);
    }
}

#[test]
fn edits_made_offline_are_all_there_in_the_end() {
    if !available("offline.mjs") {
        return;
    }
    let facts = facts("offline.mjs", &mut Server::start());
    assert_orderly(&facts);
    assert_eq!(facts["rounds"], 20);
    assert!(facts["edits"].as_u64().unwrap() > 20 * 12, "{facts}");
}

#[test]
fn values_of_every_type_cross_the_bridge() {
    if !available("values.mjs") {
        return;
    }
    let config = "[[store]]\nname = \"typed\"\ntext = [\"/body\"]\n";
    let facts = facts("values.mjs", &mut Server::with_config(config));
    assert_orderly(&facts);
    assert_eq!(facts["json_seen_by_crdt"], facts["json_written"]);
    assert_eq!(facts["kinds"], json!({"title": "scalar", "body": "string"}));
    let made = json!({
        "counter": 3, "date": 1_700_000_000_123_u64, "bytes": "AP8Q", "float": 2,
        "infinite": null, "uint": 7, "scalar": "scalar", "text": "text",
    });
    assert_eq!(facts["made"], made);
    let merged = &facts["merged"];
    assert_eq!(merged["body"], "hello brave world!", "text is merged by character");
    assert!(merged["title"] == "SOL" || merged["title"] == "ETH", "a value wins whole: {merged}");
    assert_eq!(merged["counter"], 15, "a counter adds up: 3, then to 10, and 5 more");
    assert_eq!(merged["text"], "other text");
    let kinds = json!({"counter": true, "text": "string", "body": "string"});
    assert_eq!(facts["kinds_after"], kinds, "a JSON write leaves a value the kind it was");
}

#[test]
fn one_session_speaks_both_dialects() {
    if !available("mixed.mjs") {
        return;
    }
    let facts = facts("mixed.mjs", &mut Server::start());
    assert_orderly(&facts);
    assert_eq!((&facts["edits"], &facts["kept"]), (&json!(150), &json!(150)));
}

#[test]
fn the_events_of_ag_ui_are_those_that_its_schemas_have() {
    if !available("ag-ui.mjs") {
        return;
    }
    let facts = facts("ag-ui.mjs", &mut Server::start());
    assert_orderly(&facts);
    assert_eq!(facts["types"], json!(["RUN_STARTED", "STATE_DELTA", "STATE_SNAPSHOT"]));
    assert_eq!(facts["start"], json!(null), "what is not there is shown as null");
    assert_eq!(
        (&facts["whole"][0], &facts["whole"][1]),
        (&json!("RUN_STARTED"), &json!("STATE_SNAPSHOT"))
    );
}
