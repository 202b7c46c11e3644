//! What those who run a server ask of it, at the address of `[admin]`; and `webhooks`.

use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::{Client, Method, StatusCode, header, redirect};
use serde_json::Value;
use statehouse::limits;

use super::{Failure, client, output};

/// Where to ask.
#[derive(Debug, Args)]
pub(super) struct Admin {
    /// The address that the server answers those who run it on, `[admin] listen`
    #[arg(
        long = "admin",
        value_name = "URL",
        env = "STATEHOUSE_ADMIN",
        default_value = "http://127.0.0.1:4601"
    )]
    url: String,
}

impl Admin {
    /// Asks, and prints the answer. What is no JSON object was not said by a server of ours.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), Failure> {
        client::block_on(async {
            let url = format!("{}{path}", self.url.trim_end_matches('/'));
            let unreachable = |error: reqwest::Error| Failure::Unreachable(error.to_string());
            // Nobody in between: a proxy of the environment is not meant for this machine.
            let client = Client::builder()
                .no_proxy()
                .redirect(redirect::Policy::none())
                .timeout(Duration::from_millis(limits::ADMIN_ANSWER_MS_MAX))
                .build()
                .map_err(|error| Failure::Failed(error.to_string()))?;
            let mut request = client.request(method, url);
            if let Some(body) = body {
                let kind = "application/json";
                request = request.header(header::CONTENT_TYPE, kind).body(body.to_string());
            }
            let answer = request.send().await.map_err(unreachable)?;
            let status = answer.status();
            let text = answer.text().await.map_err(unreachable)?;
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            if status.is_success() {
                if said.is_object() {
                    return output::print_pretty(&said);
                }
                let strange = "what answers there is no statehouse server".to_owned();
                return Err(Failure::Failed(strange));
            }
            let word = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
            match (status, word("code"), word("detail")) {
                (StatusCode::NOT_FOUND, Some(_), Some(detail)) => Err(Failure::Nothing(detail)),
                (_, Some(code), Some(message)) => Err(Failure::Refused { code, message }),
                _ => Err(Failure::Failed(format!("the server says {status}"))),
            }
        })
    }
}

/// Arguments of `webhooks`.
#[derive(Debug, Args)]
pub(super) struct Webhooks {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the calls that were given up, a hundred at a time
    GivenUp {
        /// From behind this one
        #[arg(long, value_name = "ID")]
        after: Option<u64>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Make calls that were given up again
    Retry {
        /// Which one [default: all]
        #[arg(value_name = "ID")]
        id: Option<u64>,
        #[command(flatten)]
        admin: Admin,
    },
}

impl Webhooks {
    pub(super) fn run(self) -> Result<(), Failure> {
        const PATH: &str = "/webhooks/given-up";
        match self.what {
            What::GivenUp { after, admin } => {
                let query = after.map_or_else(String::new, |id| format!("?after={id}"));
                admin.ask(Method::GET, &format!("{PATH}{query}"), None)
            }
            What::Retry { id: Some(id), admin } => {
                admin.ask(Method::POST, &format!("{PATH}/{id}/retry"), None)
            }
            What::Retry { id: None, admin } => {
                admin.ask(Method::POST, &format!("{PATH}/retry"), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Whether a command is content that is answered with 200 and this text.
    fn is_content(text: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answering = thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            assert!(socket.read(&mut [0; 4_096]).unwrap() > 0);
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n");
            write!(socket, "{head}connection: close\r\n\r\n{text}").unwrap();
        });
        let done = Admin { url }.ask(Method::POST, "/revoke", None);
        answering.join().unwrap();
        assert!(matches!(done, Ok(()) | Err(Failure::Failed(_))), "{done:?}");
        done.is_ok()
    }

    #[test]
    fn only_an_object_is_an_answer() {
        for strange in ["", "<html>It works!</html>", "null", "[]", "\"revoked\""] {
            assert!(!is_content(strange), "{strange}");
        }
        assert!(is_content("{}"));
    }
}
