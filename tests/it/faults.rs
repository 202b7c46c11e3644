//! The real server on a disk that fails, at every call there is, or is full for a while: its
//! clients are told, nothing that it acknowledged is lost, and it goes on when the disk does.
//!
//! The library that makes the disk fail is the one of `tests/changelog`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::client::{Heard, Socket, look};
use crate::server::{Server, statehouse};

const STORE: &str = "s";
const EDITS: usize = 6;
/// How often an edit is sent before it counts as refused for good.
const ATTEMPTS: usize = 4;

/// The library, built once.
fn library() -> &'static str {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-it.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/changelog/faults.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(compiler.status().unwrap().success());
        library
    });
    library.to_str().unwrap()
}

/// What became of the edits of a client.
#[derive(Debug, Default)]
struct Fate {
    acknowledged: Vec<usize>,
    /// The codes of what refused them, in between.
    codes: Vec<String>,
}

/// A client that sends each edit until it is acknowledged, or it has tried often enough.
async fn write(server: &Server) -> Fate {
    let mut fate = Fate::default();
    let mut socket = None;
    for edit in 0..EDITS {
        for _ in 0..ATTEMPTS {
            let mut open = match socket.take() {
                Some(open) => open,
                None => match open(server).await {
                    Ok(open) => open,
                    Err(code) => {
                        fate.codes.push(code);
                        continue;
                    }
                },
            };
            match send(&mut open, edit).await {
                Ok(()) => {
                    fate.acknowledged.push(edit);
                    socket = Some(open);
                    break;
                }
                Err(code) => fate.codes.push(code),
            }
        }
    }
    fate
}

type Open = (Socket, u64);

/// A session that holds the store, and the seq it stands at; or what refuses it.
async fn open(server: &Server) -> Result<Open, String> {
    let connected = Socket::try_connect(&server.socket("w")).await;
    let mut socket = connected.map_err(|error| error.to_string())?;
    let caps = ["ack", "ready"];
    socket.send(&json!({"type": "hello", "seqs": {STORE: -1}, "caps": caps})).await;
    loop {
        let message = hear(&mut socket).await?;
        match message["type"].as_str() {
            Some("snapshot") => return Ok((socket, message["seq"].as_u64().unwrap())),
            Some("error") => return Err(message["code"].as_str().unwrap().to_owned()),
            _ => {}
        }
    }
}

async fn send((socket, seq): &mut Open, edit: usize) -> Result<(), String> {
    let patch = json!([{"op": "add", "path": format!("/k{edit}"), "value": edit}]);
    let id = format!("id {edit}");
    let message = json!({"type": "patch", "store": STORE, "seq": *seq, "id": id, "patch": patch});
    socket.send(&message).await;
    loop {
        let message = hear(socket).await?;
        match message["type"].as_str() {
            Some("ack") if message["id"] == id => {
                *seq = message["seq"].as_u64().unwrap();
                return Ok(());
            }
            Some("nack") if message["id"] == id => {
                assert!(!message["message"].as_str().unwrap().is_empty(), "{message}");
                return Err(message["code"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }
}

async fn hear(socket: &mut Socket) -> Result<Value, String> {
    match socket.hear().await {
        Heard::Json(message) => Ok(message),
        Heard::Closed(code) => Err(format!("closed {}", code.unwrap_or_default())),
        Heard::Pong => panic!("nobody asked"),
    }
}

/// All that was acknowledged is there, nothing that was not sent, and the doctor is content.
async fn check(server: &mut Server, fate: &Fate, what: &str) {
    let (_, state) = look(&server.socket("w"), STORE).await;
    for edit in &fate.acknowledged {
        assert_eq!(state[format!("k{edit}")], *edit, "{what}: {state} after {fate:?}");
    }
    assert!(state.as_object().unwrap().len() <= EDITS, "{what}: {state}");
    assert!(server.terminate().success(), "{what}");
    let examined = statehouse().arg("doctor").arg(server.data()).output().unwrap();
    assert!(examined.status.success(), "{what}: {examined:?}");
}

/// Every refusal is one that PROTOCOL.md has for a disk that fails.
fn assert_told(fate: &Fate, what: &str) {
    for code in &fate.codes {
        let known = ["not-saved", "unavailable", "closed 4000"];
        assert!(known.contains(&&**code), "{what}: {code}");
    }
}

/// Fails the n-th call for every n that there is, once or from then on.
async fn fail_each(variables: &[(&str, &str)], once: bool) {
    let (mut refused, mut not_started) = (0, 0);
    for n in 1.. {
        let what = format!("call {n}, {variables:?}");
        let mut server = Server::prepared();
        let data = server.data();
        let (at, folder) = (n.to_string(), data.to_str().unwrap().to_owned());
        let shim = [("LD_PRELOAD", library()), ("FAULT_FOLDER", &folder), ("FAULT_AT", &at)];
        let started = server.try_start_again(&[&shim, variables].concat());
        let mut fate = Fate::default();
        match started {
            Ok(()) => {
                fate = write(&server).await;
                assert_told(&fate, &what);
                if once {
                    let all = (0..EDITS).collect::<Vec<_>>();
                    assert_eq!(fate.acknowledged, all, "{what}: {:?}", fate.codes);
                }
                server.kill();
            }
            Err(said) => {
                assert!(said.contains("error: ") && !said.contains("panicked"), "{what}: {said}");
                not_started += 1;
            }
        }
        refused += usize::from(!fate.codes.is_empty());
        let struck = std::fs::remove_file(data.with_extension("struck")).is_ok();
        server.start_again(None);
        check(&mut server, &fate, &what).await;
        if !struck {
            assert!(n > 20 && not_started > 5, "{n} calls, {not_started} times not started");
            assert!(once || refused > 5, "{refused} times refused");
            return;
        }
    }
}

#[tokio::test]
async fn a_disk_that_fails_once_costs_no_edit() {
    fail_each(&[], true).await;
}

#[tokio::test]
async fn a_disk_that_fails_for_good_loses_nothing_acknowledged() {
    fail_each(&[("FAULT_ONWARDS", "1")], false).await;
}

#[tokio::test]
async fn a_full_disk_refuses_edits_until_there_is_space() {
    let mut server = Server::prepared();
    let data = server.data();
    let full = data.with_extension("full");
    let variables = [
        ("LD_PRELOAD", library()),
        ("FAULT_FOLDER", data.to_str().unwrap()),
        ("FAULT_FULL", full.to_str().unwrap()),
    ];
    server.try_start_again(&variables).unwrap();
    let mut session = open(&server).await.unwrap();
    send(&mut session, 0).await.unwrap();
    for edit in 1..EDITS {
        std::fs::write(&full, "").unwrap();
        let refused = send(&mut session, edit).await.unwrap_err();
        assert_eq!(refused, "not-saved");
        assert_eq!(hear(&mut session.0).await.unwrap_err(), "closed 4000");
        // What is there can be read, and does not hold what was refused.
        let (seq, state) = look(&server.socket("w"), STORE).await;
        assert_eq!((seq, state.as_object().unwrap().len()), (edit as u64, edit), "{state}");
        std::fs::remove_file(&full).unwrap();
        session = open(&server).await.unwrap();
        send(&mut session, edit).await.unwrap();
    }
    // The log of the server says why.
    assert!(server.log().contains("no space is left"), "{}", server.log());
    drop(session);
    let fate = Fate { acknowledged: (0..EDITS).collect(), codes: Vec::new() };
    check(&mut server, &fate, "full for a while").await;
}
