//! `doctor`, `export` and `import` from the command line, on what a real server has written.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::client::{Socket, look};
use crate::decay::damage;
use crate::server::{Server, statehouse};

/// The seq that an imported store begins with: the first of the epoch after the one it had.
const FOUNDED: u64 = (1 << 32) + 1;

fn run(args: &[&str]) -> Output {
    let mut command = statehouse();
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// The lines that a command prints when it exits with this code.
fn lines(args: &[&str], code: i32) -> Vec<String> {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(code == 0, stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn set(server: &Server, place: &str, value: &str) {
    lines(&["set", place, "--server", &server.url(), value], 0);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A server that has written two stores of one workspace and one of another, and has ended.
fn furnished() -> Server {
    let mut server = Server::start();
    set(&server, "acme/chart", "{\"symbol\":\"BTC\",\"bars\":[1,2]}");
    set(&server, "acme/chart", "{\"symbol\":\"ETH\",\"bars\":[1,2,3]}");
    set(&server, "acme/Chart", "{\"other\":true}");
    set(&server, "b:2/notes", "\"a root that is no object\"");
    assert!(server.terminate().success());
    server
}

#[test]
fn a_doctor_looks_only_while_no_server_runs() {
    let server = Server::start();
    set(&server, "acme/chart", "{\"a\":1}");
    let data = server.data();
    for command in [
        &["doctor", text(&data)][..],
        &["export", text(&data), "--to", "-", "--format", "json"],
        &["import", text(&data), "nowhere.json", "--into", "acme/chart"],
    ] {
        assert!(lines(command, 1).is_empty());
    }
    // The server did not notice.
    set(&server, "acme/chart", "{\"a\":2}");
    assert!(lines(&["doctor", "no/such/folder"], 1).is_empty());
}

#[test]
fn sound_data_is_healthy() {
    let server = furnished();
    let data = server.data();
    let healthy = "healthy: format 3, workspaces: 2, stores: 3, commits: 4";
    assert_eq!(lines(&["doctor", text(&data)], 0), [healthy]);
    let told = lines(&["doctor", "--json", text(&data)], 0);
    let expected = json!({
        "healthy": true, "format": 3, "workspaces": 2, "stores": 3, "commits": 4, "findings": 0,
    });
    assert_eq!(serde_json::from_str::<Value>(&told[0]).unwrap(), expected);
}

#[tokio::test]
async fn what_is_exported_can_be_imported_elsewhere() {
    let server = furnished();
    let place = tempfile::tempdir().unwrap();
    let [out, data] = ["out", "data"].map(|name| place.path().join(name));
    let exported = lines(&["export", text(&server.data()), "--to", text(&out)], 0);
    assert_eq!(exported.len(), 3, "{exported:?}");
    let chart = fs::read_to_string(out.join("acme/chart~2.json")).unwrap();
    let chart: Value = serde_json::from_str(&chart).unwrap();
    assert_eq!(chart, json!({"symbol": "ETH", "bars": [1, 2, 3]}));
    assert!(out.join("b=2/notes.automerge").is_file());
    lines(&["export", text(&server.data()), "--to", text(&out)], 2);

    let line = |workspace: &str, store: &str, done: &str| {
        format!(
            "{{\"workspace\":\"{workspace}\",\"store\":\"{store}\",\"done\":\"{done}\",\
             \"seq\":{FOUNDED}}}"
        )
    };
    let founded = [("acme", "Chart"), ("acme", "chart"), ("b:2", "notes")]
        .map(|(workspace, store)| line(workspace, store, "founded"));
    assert_eq!(lines(&["import", text(&data), text(&out)], 0), founded);
    assert_eq!(lines(&["doctor", text(&data)], 0).len(), 1);

    let mut other = Server::start();
    assert!(other.terminate().success());
    fs::remove_dir_all(other.data()).unwrap();
    fs::rename(&data, other.data()).unwrap();
    other.start_again(None);
    assert_eq!(look(&other.socket("acme"), "chart").await, (FOUNDED, chart.clone()));
    let (_, notes) = look(&other.socket("b:2"), "notes").await;
    assert_eq!(notes, json!("a root that is no object"));
    // Who knows the store from where it comes from is not told that he is up to date.
    let mut socket = Socket::connect(&other.socket("acme")).await;
    socket.send(&json!({"type": "hello", "seqs": {"chart": 2}, "stores": ["chart"]})).await;
    let snapshot = socket.json().await;
    assert_eq!((&snapshot["type"], &snapshot["seq"]), (&json!("snapshot"), &json!(FOUNDED)));
}

#[test]
fn single_files_go_out_and_in() {
    let server = furnished();
    let (data, place) = (server.data(), tempfile::tempdir().unwrap());
    let export = |format: &str| {
        let data = server.data();
        let args = ["export", text(&data), "acme/chart", "--to", "-", "--format", format];
        let output = run(&args);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert_eq!(export("json"), b"{\"bars\":[1,2,3],\"symbol\":\"ETH\"}\n");
    let [automerge, json] = ["chart.automerge", "chart.json"].map(|name| place.path().join(name));
    fs::write(&automerge, export("automerge")).unwrap();
    fs::write(&json, "{\"symbol\":\"SOL\"}").unwrap();
    let import = |file: &Path, into: &str, code| {
        lines(&["import", text(&data), text(file), "--into", into], code)
    };
    assert_eq!(import(&automerge, "acme/chart", 0).len(), 1);
    assert!(import(&automerge, "acme/chart", 0)[0].contains("unchanged"));
    assert!(import(&json, "acme/chart", 0)[0].contains("\"done\":\"merged\",\"seq\":3"));
    assert!(import(&json, "acme/new", 0)[0].contains("\"done\":\"founded\""));
    assert_eq!(export("json"), b"{\"symbol\":\"SOL\"}\n");

    fs::write(&automerge, "no document").unwrap();
    fs::write(&json, "no json").unwrap();
    assert!(import(&automerge, "acme/chart", 1).is_empty());
    assert!(import(&json, "acme/chart", 1).is_empty());
    assert!(import(&place.path().join("x.txt"), "acme/chart", 2).is_empty());
    assert!(lines(&["import", text(&data), text(&json)], 2).is_empty());
    assert!(lines(&["export", text(&data), "acme/nothing", "--to", "-"], 4).is_empty());
    assert!(lines(&["export", text(&data), "--to", "-"], 2).is_empty());
    assert_eq!(export("json"), b"{\"symbol\":\"SOL\"}\n");
    assert_eq!(lines(&["doctor", text(&data)], 0).len(), 1);
}

#[test]
fn of_damaged_data_what_is_whole_gets_out() {
    let server = furnished();
    let (data, place) = (server.data(), tempfile::tempdir().unwrap());
    damage(&data, "UPDATE commits SET changes = zeroblob(7) WHERE seq = 2");
    let found = lines(&["doctor", text(&data)], 6);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("acme/chart at seq 2: "), "{found:?}");
    assert!(found[0].ends_with("(seqs 1..1 are whole; 2..2 are lost or lie on what is)"));
    assert!(found[1].starts_with("1 finding: "), "{found:?}");
    let found = lines(&["doctor", "--json", text(&data)], 6);
    let found: Value = serde_json::from_str(&found[0]).unwrap();
    assert_eq!(
        (&found["store"], &found["seq"], &found["whole"], &found["lost"]),
        (&json!("chart"), &json!(2), &json!([1, 1]), &json!([2, 2]))
    );

    let out = place.path().join("out");
    assert!(lines(&["export", text(&data), "--to", text(&out)], 6).is_empty());
    assert!(!out.exists());
    let saved = lines(&["export", text(&data), "--to", text(&out), "--salvage"], 6);
    assert_eq!(saved.len(), 3, "{saved:?}");
    let chart = fs::read_to_string(out.join("acme/chart~2.json")).unwrap();
    assert_eq!(chart, "{\"bars\":[1,2],\"symbol\":\"BTC\"}");
    let data = place.path().join("data");
    assert_eq!(lines(&["import", text(&data), text(&out)], 0).len(), 3);
    assert_eq!(lines(&["doctor", text(&data)], 0).len(), 1);
}
