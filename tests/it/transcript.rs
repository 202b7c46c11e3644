//! Conversations with a server, as text files: read, replayed, and rewritten.
//!
//! ```text
//! # What this conversation shows.
//! config
//!     create_stores = false
//! a> {"type":"hello"}             client a says this (a batch, if several lines follow)
//! a< {"type":"ready","seqs":{}}   and hears exactly this next; "*" is any string, "$name" one
//!                                 that is remembered, and can be said in a later line
//! a>> 00ff                        a binary frame
//! a< closed 1003                  the server closed the socket, with this code
//! -- nothing for a                the server has read all that a said and has no answer
//! http> PUT /v1/... {"a":1}       a request; its body is JSON
//! http< 200 {"seq":1}             status and body
//! ! restart                       also: stop, start, kill (and start), connect a, close a, and
//!                                 `open a workspace` before a's first word
//! ```
//!
//! `<<text*1000>>` in a line that is said stands for a thousand times `text`. After `restart` and
//! `start`, an indented block is the new configuration. A line that nobody expected fails as well
//! as one that does not come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Heard, Socket};

/// How long silence must last to be taken for silence, after the server has read everything.
const SILENCE: Duration = Duration::from_millis(100);
/// The workspace of clients that were not opened elsewhere.
const WORKSPACE: &str = "main";

/// What a conversation is held with.
pub(crate) trait Host {
    /// The address of a workspace's sockets.
    fn sockets(&self, workspace: &str) -> String;
    /// The address for requests.
    fn http(&self) -> String;
    /// Whether it is the server, and not something that a test puts in its place.
    fn is_ours(&self) -> bool {
        true
    }
    /// Ends it in order.
    fn stop(&mut self);
    /// Ends it at once.
    fn crash(&mut self);
    /// Starts it again, with what it had saved.
    fn revive(&mut self, config: Option<&str>);
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Comment,
    Say { who: String, text: String },
    SayBytes { who: String, bytes: Vec<u8> },
    Hear { who: String, text: String },
    Silence { who: String },
    Control { words: Vec<String>, config: Option<String> },
}

/// A conversation, line by line.
pub(crate) struct Transcript {
    pub(crate) config: String,
    lines: Vec<(usize, String, Step)>,
}

impl Transcript {
    pub(crate) fn parse(text: &str) -> Self {
        let mut transcript = Self { config: String::new(), lines: Vec::new() };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(setting) = line.strip_prefix("    ") {
                transcript.indented(number, line, setting);
                continue;
            }
            let step = parse_line(line).unwrap_or_else(|| panic!("line {number}: {line}"));
            transcript.lines.push((number, line.to_owned(), step));
        }
        transcript
    }

    fn indented(&mut self, number: usize, line: &str, setting: &str) {
        let started = self.lines.iter_mut().rev().find_map(|(_, _, step)| match step {
            Step::Control { config, .. } => Some(config.get_or_insert_default()),
            _ => None,
        });
        let config = started.unwrap_or(&mut self.config);
        config.push_str(setting);
        config.push('\n');
        self.lines.push((number, line.to_owned(), Step::Comment));
    }
}

fn parse_line(line: &str) -> Option<Step> {
    if line.is_empty() || line.starts_with('#') || line == "config" {
        return Some(Step::Comment);
    }
    if let Some(who) = line.strip_prefix("-- nothing for ") {
        return Some(Step::Silence { who: who.to_owned() });
    }
    if let Some(words) = line.strip_prefix("! ") {
        let words = words.split(' ').map(str::to_owned).collect();
        return Some(Step::Control { words, config: None });
    }
    let (head, text) = line.split_once(' ')?;
    let text = text.to_owned();
    if let Some(who) = head.strip_suffix(">>") {
        let bytes = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes = bytes.map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
        return Some(Step::SayBytes { who: who.to_owned(), bytes });
    }
    match (head.strip_suffix('>'), head.strip_suffix('<')) {
        (Some(who), _) => Some(Step::Say { who: who.to_owned(), text }),
        (_, Some(who)) => Some(Step::Hear { who: who.to_owned(), text }),
        _ => None,
    }
}

/// Replays a conversation and fails at the first line that goes otherwise.
pub(crate) async fn check(host: &mut impl Host, transcript: &Transcript) -> Result<(), String> {
    let mut replay = Replay::new(host);
    for (number, line, step) in &transcript.lines {
        let done = match step {
            Step::Hear { who, text } => replay.expect(who, text).await,
            Step::Silence { who } => replay.silence(who).await,
            step => replay.act(step).await,
        };
        done.map_err(|what| format!("line {number}: {line}\n    {what}"))?;
    }
    replay.end().await.map_err(|what| format!("at the end: {what}"))
}

/// Replays what is said, and writes down what is heard.
pub(crate) async fn rewrite(
    host: &mut impl Host,
    transcript: &Transcript,
) -> Result<String, String> {
    let mut replay = Replay::new(host);
    let mut text = String::new();
    for (at, (number, line, step)) in transcript.lines.iter().enumerate() {
        if matches!(step, Step::Hear { .. }) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        replay.act(step).await.map_err(|what| format!("line {number}: {line}\n    {what}"))?;
        let next = transcript.lines.get(at + 1).map(|(_, _, next)| next);
        if !same_batch(step, next) {
            for heard in replay.hear_all().await {
                text.push_str(&heard);
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// Whether the next step is said in the same breath, before anybody listens.
fn same_batch(step: &Step, next: Option<&Step>) -> bool {
    match (step, next) {
        (Step::Say { who, .. }, Some(Step::Say { who: next, .. })) => who == next,
        (Step::Comment | Step::Silence { .. }, _) => true,
        _ => false,
    }
}

struct Replay<'h, H> {
    host: &'h mut H,
    sockets: BTreeMap<String, Socket>,
    workspaces: BTreeMap<String, String>,
    /// Strings by the name they were given.
    names: BTreeMap<String, Value>,
    response: Option<(u16, Value)>,
    last_speaker: Option<String>,
}

impl<'h, H: Host> Replay<'h, H> {
    fn new(host: &'h mut H) -> Self {
        Self {
            host,
            sockets: BTreeMap::new(),
            workspaces: BTreeMap::new(),
            names: BTreeMap::new(),
            response: None,
            last_speaker: None,
        }
    }

    async fn act(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Comment | Step::Hear { .. } | Step::Silence { .. } => Ok(()),
            Step::Say { who, text } if who == "http" => self.request(text).await,
            Step::Say { who, text } => {
                let text = self.expand(text);
                let sent = self.socket(who).await.send_text(&text).await;
                if sent { Ok(()) } else { Err("the socket is closed".into()) }
            }
            Step::SayBytes { who, bytes } => {
                self.socket(who).await.send_bytes(bytes).await;
                Ok(())
            }
            Step::Control { words, config } => self.control(words, config.as_deref()).await,
        }
    }

    /// The socket of a client, opened if need be, when the server has read what the others said.
    async fn socket(&mut self, who: &str) -> &mut Socket {
        self.others_first(who).await;
        if !self.sockets.contains_key(who) {
            let workspace = self.workspaces.get(who).map_or(WORKSPACE, String::as_str);
            let socket = Socket::connect(&self.host.sockets(workspace)).await;
            let socket = if self.host.is_ours() { socket } else { socket.unheld() };
            self.sockets.insert(who.to_owned(), socket);
        }
        self.sockets.get_mut(who).unwrap()
    }

    /// What two clients say in turn reaches the server in that order.
    async fn others_first(&mut self, who: &str) {
        let last = self.last_speaker.replace(who.to_owned()).filter(|last| last != who);
        if let Some(socket) = last.and_then(|last| self.sockets.get_mut(&last)) {
            socket.settle().await;
        }
    }

    async fn control(&mut self, words: &[String], config: Option<&str>) -> Result<(), String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.others_first("").await;
        match words.as_slice() {
            ["stop"] => self.host.stop(),
            ["start"] => {
                self.sockets.clear();
                self.host.revive(config);
            }
            ["restart"] => {
                self.end().await?;
                self.host.stop();
                self.sockets.clear();
                self.host.revive(config);
            }
            ["kill"] => {
                self.end().await?;
                self.host.crash();
                self.sockets.clear();
                self.host.revive(config);
            }
            ["close", who] => {
                let left = self.sockets.remove(*who);
                left.ok_or("there is no such client")?.close().await;
            }
            ["connect", who] => drop(self.socket(who).await),
            ["open", who, workspace] => {
                self.workspaces.insert((*who).to_owned(), (*workspace).to_owned());
            }
            _ => return Err("not a control line".into()),
        }
        Ok(())
    }

    async fn request(&mut self, line: &str) -> Result<(), String> {
        self.others_first("http").await;
        let line = self.expand(line);
        let mut words = line.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().ok_or("no path")?);
        let method = method.parse().map_err(|error| format!("{error}"))?;
        let url = format!("{}{path}", self.host.http());
        let mut request = reqwest::Client::new().request(method, url);
        if let Some(body) = words.next() {
            let kind = if body.starts_with('[') { "json-patch+json" } else { "json" };
            request = request.header("content-type", format!("application/{kind}"));
            request = request.body(body.to_owned());
        }
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|error| error.to_string())?;
        self.response = Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)));
        Ok(())
    }

    async fn expect(&mut self, who: &str, text: &str) -> Result<(), String> {
        if who == "http" {
            let (status, body) = self.response.take().ok_or("there was no request")?;
            let (expected_status, expected) = text.split_once(' ').ok_or("a status and a body")?;
            let expected: Value = serde_json::from_str(expected).map_err(|e| e.to_string())?;
            let fits = expected_status == status.to_string() && self.fits(&expected, &body);
            return if fits { Ok(()) } else { Err(format!("heard {status} {body}")) };
        }
        let socket = self.sockets.get_mut(who).ok_or("the client is not connected")?;
        let heard = socket.hear().await;
        let fits = match (text.strip_prefix("closed"), &heard) {
            (Some(code), Heard::Closed(heard)) => {
                code.trim() == heard.map_or(String::new(), |code| code.to_string())
            }
            (None, Heard::Json(heard)) => {
                let expected: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
                self.fits(&expected, heard)
            }
            _ => false,
        };
        if matches!(heard, Heard::Closed(_)) {
            self.sockets.remove(who);
        }
        if fits { Ok(()) } else { Err(format!("heard {}", self.written(&heard))) }
    }

    async fn silence(&mut self, who: &str) -> Result<(), String> {
        let socket = self.sockets.get_mut(who).ok_or("the client is not connected")?;
        socket.settle().await;
        match socket.hear_within(SILENCE).await {
            None => Ok(()),
            Some(heard) => Err(format!("{who} heard {}", self.written(&heard))),
        }
    }

    /// Nobody has heard anything that the transcript does not tell.
    async fn end(&mut self) -> Result<(), String> {
        let clients: Vec<String> = self.sockets.keys().cloned().collect();
        for who in clients {
            self.silence(&who).await?;
        }
        self.response.take().map_or(Ok(()), |(status, body)| Err(format!("http {status} {body}")))
    }

    async fn hear_all(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let clients: Vec<String> = self.sockets.keys().cloned().collect();
        for who in clients {
            for heard in self.hear_one(&who).await {
                lines.push(format!("{who}< {}", self.written(&heard)));
            }
        }
        let response = self.response.take();
        lines.extend(response.map(|(status, body)| format!("http< {status} {}", in_order(&body))));
        lines
    }

    /// All that a client hears until there is silence.
    async fn hear_one(&mut self, who: &str) -> Vec<Heard> {
        let mut heard = Vec::new();
        let Some(socket) = self.sockets.get_mut(who) else { return heard };
        socket.settle().await;
        while let Some(one) = socket.hear_within(SILENCE).await {
            heard.push(one);
            if matches!(heard.last(), Some(Heard::Closed(_))) {
                self.sockets.remove(who);
                break;
            }
        }
        heard
    }

    /// What is really sent: remembered strings and repetitions written out.
    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.names {
            text = text.replace(&format!("\"{name}\""), &value.to_string());
        }
        while let Some((before, rest)) = text.split_once("<<") {
            let (repeated, after) = rest.split_once(">>").expect("`<<` is closed by `>>`");
            let (unit, times) =
                repeated.rsplit_once('*').expect("`<<` is a text, `*` and a number");
            let unit = unit.repeat(times.parse().expect("a number of times"));
            text = format!("{before}{unit}{after}");
        }
        text
    }

    fn fits(&mut self, expected: &Value, heard: &Value) -> bool {
        match (expected, heard) {
            (Value::String(any), Value::String(_)) if any == "*" => true,
            (Value::String(name), Value::String(_)) if name.starts_with('$') => {
                self.names.entry(name.clone()).or_insert_with(|| heard.clone()) == heard
            }
            (Value::Array(expected), Value::Array(heard)) => {
                expected.len() == heard.len()
                    && expected
                        .iter()
                        .zip(heard)
                        .all(|(expected, heard)| self.fits(expected, heard))
            }
            (Value::Object(expected), Value::Object(heard)) => {
                expected.len() == heard.len()
                    && expected.iter().all(|(key, expected)| {
                        heard.get(key).is_some_and(|heard| self.fits(expected, heard))
                    })
            }
            _ => expected == heard,
        }
    }

    /// What was heard, as a line of a transcript tells it.
    fn written(&mut self, heard: &Heard) -> String {
        match heard {
            Heard::Json(value) => in_order(&self.lasting(value)),
            Heard::Closed(Some(code)) => format!("closed {code}"),
            Heard::Closed(None) => "closed".into(),
            Heard::Pong => "pong".into(),
        }
    }

    /// A message without what is another string in every run.
    fn lasting(&mut self, message: &Value) -> Value {
        let mut message = message.clone();
        let members = message.as_object_mut();
        for (key, value) in members.into_iter().flatten() {
            match key.as_str() {
                "message" => *value = "*".into(),
                "cursor" | "session" => *value = self.name_of(key, value),
                "cursors" => {
                    for cursor in value.as_object_mut().into_iter().flat_map(|all| all.values_mut())
                    {
                        *cursor = self.name_of("cursor", cursor);
                    }
                }
                _ => {}
            }
        }
        message
    }

    fn name_of(&mut self, kind: &str, value: &Value) -> Value {
        if let Some((name, _)) = self.names.iter().find(|(_, known)| *known == value) {
            return name.clone().into();
        }
        let prefix = format!("${kind}");
        let number = self.names.keys().filter(|name| name.starts_with(&prefix)).count() + 1;
        let name = format!("{prefix}{number}");
        self.names.insert(name.clone(), value.clone());
        name.into()
    }
}

/// A JSON object as people write messages: what it is first, what it says last.
fn in_order(message: &Value) -> String {
    const ORDER: &[&str] = &["type", "store", "session", "user", "id", "seq", "code"];
    let Value::Object(members) = message else { return message.to_string() };
    let first = ORDER.iter().filter_map(|key| members.get_key_value(*key));
    let rest = members.iter().filter(|(key, _)| !ORDER.contains(&key.as_str()));
    let members = first.chain(rest).map(|(key, value)| format!("{}:{value}", Value::from(&**key)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    //! The replay itself, against a host that says back what it hears.

    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::net::TcpListener;

    use super::*;

    struct Echo {
        address: String,
        starts: usize,
    }

    impl Echo {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                    tokio::spawn(async move {
                        let (mut sink, mut stream) = socket.split();
                        while let Some(Ok(message)) = stream.next().await {
                            let sent = !message.is_text() || sink.send(message).await.is_ok();
                            assert!(sent);
                        }
                    });
                }
            });
            Self { address, starts: 1 }
        }
    }

    impl Host for Echo {
        fn sockets(&self, workspace: &str) -> String {
            format!("ws://{}/{workspace}", self.address)
        }
        fn http(&self) -> String {
            format!("http://{}", self.address)
        }
        fn is_ours(&self) -> bool {
            false
        }
        fn stop(&mut self) {}
        fn crash(&mut self) {}
        fn revive(&mut self, _config: Option<&str>) {
            self.starts += 1;
        }
    }

    async fn fails(text: &str) -> String {
        let mut host = Echo::new().await;
        check(&mut host, &Transcript::parse(text)).await.expect_err("a wrong transcript passed")
    }

    #[tokio::test]
    async fn a_right_transcript_passes() {
        let text = "# comment\nconfig\n    x = 1\n\n\
            a> {\"message\":\"<<ab*2>>\"}\na< {\"message\":\"$said\"}\n\
            b> [\"$said\",1.0]\nb< [\"abab\",1.0]\n-- nothing for a\n! restart\n    y = 2\n\
            a> {\"a\":[\"x\"]}\na< {\"a\":[\"*\"]}\n";
        let transcript = Transcript::parse(text);
        assert_eq!(transcript.config, "x = 1\n");
        let mut host = Echo::new().await;
        assert_eq!(check(&mut host, &transcript).await, Ok(()));
        assert_eq!(host.starts, 2);
    }

    #[tokio::test]
    async fn a_wrong_line_fails_where_it_stands() {
        assert!(fails("a> {\"seq\":1}\na< {\"seq\":2}\n").await.starts_with("line 2:"));
        assert!(fails("a> {\"seq\":1}\na< {\"seq\":1.0}\n").await.starts_with("line 2:"));
        assert!(fails("a> {\"a\":1,\"b\":2}\na< {\"a\":1}\n").await.starts_with("line 2:"));
        assert!(fails("a> [1,2]\na< [1]\n").await.starts_with("line 2:"));
        assert!(fails("a> [\"x\",\"y\"]\na< [\"$n\",\"$n\"]\n").await.starts_with("line 2:"));
        assert!(fails("a> 1\na< closed 1003\n").await.starts_with("line 2:"));
    }

    #[tokio::test]
    async fn a_line_too_many_fails() {
        assert!(fails("a> 1\n").await.starts_with("at the end: a heard 1"));
        assert!(fails("a> 1\n! restart\n").await.starts_with("line 2:"));
        assert!(fails("a> 1\n-- nothing for a\na< 1\n").await.starts_with("line 2:"));
    }

    #[tokio::test]
    async fn a_rewritten_transcript_passes() {
        let said = "# Why.\n\na> {\"b\":1,\"seq\":2,\"type\":\"t\"}\na> {\"session\":\"s7\"}\n";
        let mut host = Echo::new().await;
        let old = Transcript::parse(&format!("{said}a< \"wrong\"\nb> {{}}\n"));
        let text = rewrite(&mut host, &old).await.unwrap();
        let heard = "a< {\"type\":\"t\",\"seq\":2,\"b\":1}\na< {\"session\":\"$session1\"}\n";
        assert_eq!(text, format!("{said}{heard}b> {{}}\nb< {{}}\n"));
        assert_eq!(check(&mut host, &Transcript::parse(&text)).await, Ok(()));
    }
}
