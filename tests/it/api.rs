//! Requests to the stores of a server, and what they are answered.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::contract;
use crate::server::Server;

pub(crate) const JSON: &str = "application/json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// One workspace, as a program that only knows HTTP sees it.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    client: Client,
}

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Api {
    pub(crate) fn of(server: &Server, workspace: &str) -> Self {
        let base = format!("{}/v1/workspaces/{workspace}", server.url());
        // A connection that is kept may be one to a server that was killed since.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { base, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request below the workspace.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let url = self.url(path);
        let mut request = self.client.request(method.clone(), &url).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let path = response.url().path().to_owned();
        let answer = Answer { status, headers, bytes: response.bytes().await.unwrap().to_vec() };
        contract::holds(method.as_str(), &path, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, "").await
    }

    /// A JSON patch of a store.
    pub(crate) async fn patch(&self, store: &str, extra: &[(&str, &str)], patch: &Value) -> Answer {
        let headers = [&[("content-type", JSON_PATCH)], extra].concat();
        self.send(Method::PATCH, &format!("/stores/{store}"), &headers, patch.to_string()).await
    }

    /// Sets a store, or a value in it; `path` is what stands behind `/stores/`.
    pub(crate) async fn put(&self, path: &str, extra: &[(&str, &str)], value: &Value) -> Answer {
        let headers = [&[("content-type", JSON)], extra].concat();
        self.send(Method::PUT, &format!("/stores/{path}"), &headers, value.to_string()).await
    }

    /// The state of a store, or of what stands behind `/stores/`, and its tag.
    pub(crate) async fn state(&self, path: &str) -> (Value, String) {
        let answer = self.get(&format!("/stores/{path}"), &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.json(), answer.tag())
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(HeaderValue::to_str).transpose().unwrap()
    }

    pub(crate) fn tag(&self) -> String {
        self.header("etag").unwrap_or_else(|| panic!("no tag: {self:?}")).to_owned()
    }

    /// The seq of a write that was done.
    pub(crate) fn seq(&self) -> u64 {
        assert_eq!(self.status, 200, "{self:?}");
        let seq = self.json()["seq"].as_u64().unwrap();
        assert_eq!(self.header("statehouse-seq").unwrap(), seq.to_string());
        seq
    }

    /// Holds that this is a problem with this status and code.
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.header("content-type")), (status, Some(PROBLEM)), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert_eq!(self.headers.contains_key("retry-after"), matches!(status, 429 | 503));
    }
}

const PROBLEM: &str = "application/problem+json";
