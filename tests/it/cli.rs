//! The command line: what is printed, what is refused, and with which exit code.

use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use crate::server::{Server, exit_of, signal, statehouse};

const PLACE: &str = "w/notes";

/// Runs a command that ends by itself.
fn run(args: &[&str]) -> Output {
    let mut command = statehouse();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    exit_of(&mut child);
    child.wait_with_output().unwrap()
}

/// A client command about one store of a server.
fn client(server: &Server, verb: &str, rest: &[&str]) -> Output {
    run(&[&[verb, PLACE, "--server", &server.url()], rest].concat())
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// An error goes to stderr, is no panic, and has an exit code of its kind.
fn refusal(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(!stderr.contains("panicked") && !stderr.trim().is_empty(), "{stderr}");
    stderr
}

#[test]
fn a_second_process_on_one_data_folder_is_refused() {
    let server = Server::start();
    let data = server.data();
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let why = refusal(&second, 1);
    assert!(why.contains("in use"), "{why}");
    // The first one is none the worse for it.
    assert_eq!(stdout(&client(&server, "set", &["{\"a\":1}"])), "{\"seq\":1,\"changed\":true}\n");
}

#[test]
fn an_address_that_others_reach_needs_insecure() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let why = refusal(&run(&["serve", "--listen", address, "--data", data]), 2);
        assert!(why.contains("--insecure"), "{why}");
    }
    let mut child = statehouse()
        .args(["serve", "--listen", "0.0.0.0:0", "--insecure", "--data", data])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    signal(&child, "INT");
    assert!(exit_of(&mut child).success());
    assert!(line.starts_with("listening on http://0.0.0.0:"), "{line:?}");
}

#[test]
fn a_configuration_with_a_mistake_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("statehouse.toml");
    let data = folder.path().join("data");
    for (mistake, word) in [
        ("create_store = true\n", "create_store"),
        ("[[store]]\nname = \"a/b\"\n", "name"),
        ("[[store]]\nname = \"a\"\ninital = {}\n", "inital"),
        ("[[store]]\nname = \"a\"\n[[store]]\nname = \"a\"\n", "a"),
        ("[[store]]\nname = \"a\"\nscope = \"session\"\npersistent = true\n", "session"),
    ] {
        std::fs::write(&config, mistake).unwrap();
        let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
        let args = ["serve", "--listen", "127.0.0.1:0", "--data", data, "--config", config];
        let why = refusal(&run(&args), 2);
        assert!(why.contains(word), "{mistake}{why}");
    }
}

#[test]
fn a_store_is_written_and_read() {
    let server = Server::start();
    let command = |verb: &str, rest: &[&str]| client(&server, verb, rest);
    let seq = |seq: u64, changed: bool| format!("{{\"seq\":{seq},\"changed\":{changed}}}\n");

    assert_eq!(stdout(&command("set", &["{\"a\":[1,2]}"])), seq(1, true));
    assert_eq!(stdout(&command("get", &["--raw"])), "{\"a\":[1,2]}\n");
    assert_eq!(stdout(&command("set", &["{\"a\":[1,2]}"])), seq(1, false));
    let patch = "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":3}]";
    assert_eq!(stdout(&command("patch", &[patch])), seq(2, true));
    assert_eq!(stdout(&command("get", &["/a", "--raw"])), "[1,2,3]\n");
    assert_eq!(stdout(&command("set", &["/b", "\"text\""])), seq(3, true));
    assert_eq!(stdout(&command("get", &["/b"])), "\"text\"\n");
    assert_eq!(
        stdout(&command("get", &[])),
        "{\n  \"a\": [\n    1,\n    2,\n    3\n  ],\n  \"b\": \"text\"\n}\n"
    );
}

#[test]
fn what_the_command_line_refuses_changes_nothing() {
    let server = Server::start();
    let command = |verb: &str, rest: &[&str]| client(&server, verb, rest);
    stdout(&command("set", &["{\"a\":1}"]));
    for (code, verb, rest) in [
        (2, "get", &["no-slash"][..]),
        (2, "set", &["not json"]),
        (2, "set", &[]),
        (2, "patch", &["{}"]),
        (2, "frobnicate", &[]),
        (4, "get", &["/nothing/here"]),
        (4, "set", &["/nothing/here", "1"]),
        (5, "patch", &["[{\"op\":\"remove\",\"path\":\"/b\"}]"]),
        (5, "patch", &["[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]"]),
        (5, "set", &["/constructor", "1"]),
    ] {
        refusal(&command(verb, rest), code);
    }
    let (seq, state) = (1, "{\"a\":1}\n");
    assert_eq!(stdout(&command("get", &["--raw"])), state);
    let unchanged = format!("{{\"seq\":{seq},\"changed\":false}}\n");
    assert_eq!(stdout(&command("set", &[state.trim()])), unchanged);
}

#[test]
fn a_watch_prints_what_happens_until_it_is_interrupted() {
    let mut server = Server::start();
    stdout(&client(&server, "set", &["{\"a\":1}"]));
    let mut watch = statehouse()
        .args(["watch", PLACE, "--server", &server.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), "{\"seq\":1,\"value\":{\"a\":1}}");
    stdout(&client(&server, "set", &["/a", "2"]));
    assert_eq!(line(), "{\"seq\":2,\"value\":{\"a\":2}}");

    // It waits for a server that comes back.
    server.kill();
    server.start_again(None);
    stdout(&client(&server, "set", &["/b", "3"]));
    assert_eq!(line(), "{\"seq\":3,\"value\":{\"a\":2,\"b\":3}}");
    signal(&watch, "INT");
    assert!(exit_of(&mut watch).success());
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_its_own() {
    let mut server = Server::start();
    assert!(server.terminate().success());
    for (verb, rest) in [("get", &[][..]), ("set", &["1"]), ("patch", &["[]"]), ("watch", &[])] {
        refusal(&client(&server, verb, rest), 3);
    }
}
