//! One webhook: where it is called, and how a call is signed (Standard Webhooks 1.0).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, StatusCode, Url, redirect};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::address::{PublicOnly, is_public};
use crate::ids::{Millis, Secret};
use crate::limits;
use crate::server::config::WebhookConfig;
use crate::storage::Lane;
use crate::workspace::Call;

/// Where a webhook is called.
pub(super) struct Target {
    url: Url,
    key: Vec<u8>,
    client: Client,
    /// Calls that are being made; each webhook has its own, so that none waits for another's.
    places: Semaphore,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(..)")
    }
}

/// Why a call was not made.
#[derive(Debug)]
pub(super) struct Unmade {
    what: String,
    /// Whether there is no use in trying again.
    pub(super) is_final: bool,
    /// When the receiver wants to be called again.
    pub(super) wanted: Option<Duration>,
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A client that calls what is configured, and nothing that this leads it to.
pub(super) fn client(allow_private: bool) -> Result<Client, reqwest::Error> {
    let client = Client::builder()
        .timeout(Duration::from_millis(limits::CALL_MS_MAX))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("statehouse/", env!("CARGO_PKG_VERSION")));
    let client = if allow_private { client } else { client.dns_resolver(Arc::new(PublicOnly)) };
    client.build()
}

impl Target {
    pub(super) fn new(webhook: &WebhookConfig, client: Client) -> Self {
        // A key that is none was refused with the configuration.
        let key = key_of(&webhook.secret).unwrap_or_default();
        let places = Semaphore::new(limits::CALLS_RUNNING_MAX);
        Self { url: webhook.url.clone(), key, client, places }
    }

    /// Waits until one more call may be made. Never closed; if it were, one too many beats none.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// Makes one call. It is done when the receiver says so with a status of 2xx.
    pub(super) async fn call(&self, lane: &Lane, call: &Call, now: Millis) -> Result<(), Unmade> {
        let failed = |what: String| Unmade { what, is_final: false, wanted: None };
        let (id, body) = (id_of(lane, call), body_of(lane, call));
        let seconds = now.0 / 1_000;
        let signature = sign(&self.key, &id, seconds, &body)
            .ok_or_else(|| failed("it cannot be signed".to_owned()))?;
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body);
        let mut answer = request.send().await.map_err(|error| failed(chain(&error)))?;
        let status = answer.status();
        if status.is_success() {
            // Read as far as it is short, so that the connection serves the next call too.
            let mut read = 0_usize;
            while let Ok(Some(part)) = answer.chunk().await {
                read = read.saturating_add(part.len());
                if read > limits::CALL_ANSWER_BYTES_MAX {
                    break;
                }
            }
            return Ok(());
        }
        Err(Unmade {
            what: format!("the receiver says {status}"),
            is_final: status == StatusCode::GONE,
            wanted: wanted(answer.headers()),
        })
    }
}

/// The key that a secret stands for.
pub(in crate::server) fn key_of(secret: &Secret) -> Result<Vec<u8>, &'static str> {
    let text = secret.expose();
    let key = match text.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_error| "whsec_ goes before base64")?,
        None => text.as_bytes().to_vec(),
    };
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err("it has 24 to 64 bytes") }
}

/// Whether an address may be called. A name is looked at when it is looked up.
pub(in crate::server) fn check_address(url: &Url, allow_private: bool) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("url: it is http or https".to_owned());
    }
    let literal = url.host_str().map(|host| host.trim_matches(['[', ']']).parse());
    if let Some(Ok(address)) = literal
        && !allow_private
        && !is_public(address)
    {
        let text = "url: it is not of the public internet; see `webhooks.allow_private`";
        return Err(text.to_owned());
    }
    Ok(())
}

/// When the receiver wants to be called again (RFC 9110, section 10.2.3), if it says so in seconds.
fn wanted(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    let most = Duration::from_millis(limits::CALL_PAUSE_MS_MAX);
    Some(Duration::from_secs(seconds).min(most))
}

/// The name of a call, the same whenever it is made.
fn id_of(lane: &Lane, call: &Call) -> String {
    let mut hash = Sha256::new();
    let (seq, path) = (call.seq.to_string(), &*call.path);
    for part in [&*lane.webhook, lane.workspace.as_str(), lane.store.as_str(), &seq, path] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let id = hash.first_chunk().copied().map_or(0, u128::from_be_bytes);
    format!("msg_{id:032x}")
}

/// What is told: where, and what the commit said.
fn body_of(lane: &Lane, call: &Call) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let (webhook, workspace) = (text(&lane.webhook), text(lane.workspace.as_str()));
    let (store, seq, path) = (text(lane.store.as_str()), call.seq, text(&call.path));
    let rest = call.told.strip_prefix('{').unwrap_or("}");
    let place = format!(r#""workspace":{workspace},"store":{store},"seq":{seq},"path":{path}"#);
    format!(r#"{{"type":"changed","webhook":{webhook},{place},{rest}"#)
}

/// The signature of a call: HMAC-SHA256 over its id, the time and the body, with dots between.
fn sign(secret: &[u8], id: &str, seconds: u64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// What an error says, with what caused it; without the address, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "it cannot be reached".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;

    fn lane() -> Lane {
        let (workspace, store) = ("w".parse().unwrap(), "s".parse().unwrap());
        Lane { webhook: "a \"hook\"".into(), workspace, store }
    }

    fn call(seq: u64, path: &str) -> Call {
        let told = r#"{"new":1,"time":5,"user":"u","dialect":"json"}"#.into();
        Call { webhook: lane().webhook, seq: Seq(seq), path: path.into(), told }
    }

    #[test]
    fn a_body_is_json() {
        let body = body_of(&lane(), &call(7, "/s/ä\"b"));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!({
            "type": "changed", "webhook": "a \"hook\"", "workspace": "w", "store": "s", "seq": 7,
            "path": "/s/ä\"b", "new": 1, "time": 5, "user": "u", "dialect": "json",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn calls_are_told_apart_by_seq_and_path() {
        let id = |seq, path| id_of(&lane(), &call(seq, path));
        assert_eq!(id(1, "/s/a"), id(1, "/s/a"));
        assert_ne!(id(1, "/s/a"), id(2, "/s/a"));
        assert_ne!(id(1, "/s/a"), id(1, "/s/b"));
        assert_eq!(id(1, "/s/a").len(), "msg_".len() + 32);
    }

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature.as_deref(), Some(expected));
    }

    #[test]
    fn a_receiver_may_ask_for_patience() {
        let said = |value: &str| {
            wanted(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]))
        };
        assert_eq!(said("7"), Some(Duration::from_secs(7)));
        assert_eq!(said("99999999"), Some(Duration::from_millis(limits::CALL_PAUSE_MS_MAX)));
        assert_eq!(said("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }
}
