//! What the README shows with curl, done with a real server.

use reqwest::{Client, Method};

use crate::server::Server;

/// What a command of curl asks for.
#[derive(Debug)]
struct Call {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

/// The words of a command line; what stands in single quotes is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

impl Call {
    fn parse(line: &str) -> Self {
        let words = words(line);
        let mut words = words.iter();
        assert_eq!(words.next().unwrap(), "curl", "{line}");
        let mut call =
            Self { method: Method::GET, url: String::new(), headers: Vec::new(), body: None };
        while let Some(word) = words.next() {
            match word.as_str() {
                "-X" => call.method = words.next().unwrap().parse().unwrap(),
                "-d" => call.body = Some(words.next().unwrap().clone()),
                "-H" => {
                    let (name, value) = words.next().unwrap().split_once(": ").unwrap();
                    call.headers.push((name.to_owned(), value.to_owned()));
                }
                url if url.starts_with("http://") && call.url.is_empty() => {
                    url.clone_into(&mut call.url);
                }
                other => panic!("{other} is not understood here: {line}"),
            }
        }
        call
    }

    async fn answer(self, server: &Server) -> String {
        let url = self.url.replace("http://127.0.0.1:4600", &server.url());
        let mut request = Client::new().request(self.method, url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let response = request.body(self.body.unwrap_or_default()).send().await.unwrap();
        response.text().await.unwrap()
    }
}

/// The commands of the README, each with what it shows as their answer.
fn shown() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let text = blocks.collect::<String>().replace("\\\n", "");
    let commands = text.split("$ ").skip(1).map(|shown| shown.split_once('\n').unwrap());
    commands.map(|(line, answer)| (line.to_owned(), answer.trim_end().to_owned())).collect()
}

/// The time of a commit is another one each time.
fn without_time(text: &str) -> String {
    let mut parts = text.split("\"time\":");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("\"time\":0");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

#[tokio::test]
async fn the_server_answers_curl_as_the_readme_shows() {
    let server = Server::start();
    let shown = shown();
    assert!(shown.len() >= 5, "the README shows less than it did: {shown:?}");
    for (line, expected) in shown {
        let answer = Call::parse(&line).answer(&server).await;
        assert_eq!(without_time(&answer), without_time(&expected), "{line}");
    }
}
