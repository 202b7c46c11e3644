//! Every conversation in `tests/transcripts` with the real server.
//!
//! `UPDATE=1` writes down what the server says instead of comparing it.

use std::path::PathBuf;

use futures_util::StreamExt as _;

use crate::server::Server;
use crate::transcript::{Host, Transcript, check, rewrite};

/// Conversations that are held at the same time.
const AT_ONCE: usize = 4;

impl Host for Server {
    fn sockets(&self, workspace: &str) -> String {
        self.socket(workspace)
    }

    fn http(&self) -> String {
        self.url()
    }

    fn stop(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "a stop in order ends with {status}");
    }

    fn crash(&mut self) {
        self.kill();
    }

    fn revive(&mut self, config: Option<&str>) {
        self.start_again(config);
    }
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort();
    assert!(files.len() > 20, "the transcripts are not where they should be");
    files
}

/// Plays one file; says what went otherwise.
async fn play(file: PathBuf, update: bool) -> Option<String> {
    let transcript = Transcript::parse(&std::fs::read_to_string(&file).unwrap());
    let mut server = Server::with_config(&transcript.config);
    let outcome = if update {
        let rewritten = rewrite(&mut server, &transcript).await;
        rewritten.map(|text| std::fs::write(&file, text).unwrap())
    } else {
        check(&mut server, &transcript).await
    };
    let name = file.file_name().unwrap().display();
    outcome.err().map(|what| format!("{name}, {what}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_server_speaks_as_the_transcripts_tell() {
    let update = std::env::var_os("UPDATE").is_some();
    // Each has a server of its own and waits most of the time, so some go side by side.
    let plays = futures_util::stream::iter(files()).map(|file| tokio::spawn(play(file, update)));
    let outcomes: Vec<_> = plays.buffered(AT_ONCE).collect().await;
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::unwrap).collect();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}
