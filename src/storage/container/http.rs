//! A container that is reached over HTTP.
//!
//! - To load: `GET {base}/stores/{name}`, answered by 200 with `ETag` and JSON, or by 404.
//! - To save: `PUT {base}/stores/{name}` with JSON and `If-Match: {ETag}`, or `If-None-Match: *`
//!   where nothing was; answered by 2xx, or by 412 if the state is another one by now.
//!
//! The `ETag` must be a strong one (RFC 9110, section 8.8.3): a weak one never matches in
//! `If-Match`. The answer to a `PUT` may leave it out; then it is asked for.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};

use super::{Call, Container, ContainerError};
use crate::ids::StoreName;
use crate::json::{Json, JsonError, JsonLimits};

/// Time to reach the container.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time for one call, body included.
const CALL_MAX: Duration = Duration::from_secs(30);
/// Stores that are loaded at the same time.
const LOADS_MAX: usize = 8;

/// A [`Container`] behind `{base}/stores/{name}`.
#[derive(Debug)]
pub struct HttpContainer {
    /// Without a slash at the end.
    base: String,
    client: Client,
    limits: JsonLimits,
    /// The version of each store that was last seen; a store that is not here was not there.
    versions: Mutex<BTreeMap<StoreName, HeaderValue>>,
    connected: AtomicBool,
}

impl HttpContainer {
    /// A container at an `http` address; nothing is called yet. A user and password in it are sent
    /// with every call. Redirects and proxies are not followed: what is configured is what is
    /// called.
    pub fn new(base_url: &str) -> Result<Self, ContainerError> {
        let url =
            Url::parse(base_url).map_err(|error| ContainerError::Address(error.to_string()))?;
        if url.scheme() != "http" || url.query().is_some() || url.fragment().is_some() {
            let text = "it is http://host:port/path, without query and fragment";
            return Err(ContainerError::Address(text.to_owned()));
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(CALL_MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| ContainerError::Address(error.to_string()))?;
        Ok(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            client,
            limits: JsonLimits::default(),
            versions: Mutex::default(),
            connected: AtomicBool::new(true),
        })
    }

    /// Holds what the container says against these limits; without, they are the usual ones.
    #[must_use]
    pub fn with_limits(self, limits: JsonLimits) -> Self {
        Self { limits, ..self }
    }

    /// Where a store is. No character of its name needs escaping.
    fn url(&self, store: &StoreName) -> String {
        format!("{}/stores/{store}", self.base)
    }

    /// The versions; a map is whole whenever its lock is free, poisoned or not.
    fn versions(&self) -> MutexGuard<'_, BTreeMap<StoreName, HeaderValue>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, and remembers whether the container was there.
    async fn call(
        &self,
        store: &StoreName,
        request: RequestBuilder,
    ) -> Result<Response, ContainerError> {
        let response = request.send().await;
        self.connected.store(response.is_ok(), Ordering::Relaxed);
        response.map_err(|error| unreachable(store, error))
    }

    /// Reads a store and its version.
    async fn load(&self, store: &StoreName) -> Result<Option<Json>, ContainerError> {
        let request = self.client.get(self.url(store)).header(header::ACCEPT, "application/json");
        let response = self.call(store, request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                self.versions().remove(store);
                return Ok(None);
            }
            status => return Err(refused(store, status)),
        }
        let version = strong_version(response.headers())
            .ok_or_else(|| ContainerError::NoVersion { store: store.clone() })?;
        let body = self.body(store, response).await?;
        let state = Json::parse(&body, &self.limits)
            .map_err(|error| ContainerError::Unreadable { store: store.clone(), error })?;
        // Only now: who cannot read a state must not save over it.
        self.versions().insert(store.clone(), version);
        Ok(Some(state))
    }

    /// Reads a body, no further than a store may be large.
    async fn body(
        &self,
        store: &StoreName,
        mut response: Response,
    ) -> Result<Vec<u8>, ContainerError> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|error| {
                self.connected.store(false, Ordering::Relaxed);
                unreachable(store, error)
            })?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > self.limits.document_bytes_max {
                let (store, error) = (store.clone(), JsonError::TooLarge);
                return Err(ContainerError::Unreadable { store, error });
            }
            body.extend_from_slice(&chunk);
        }
    }

    async fn save(&self, store: &StoreName, state: &Json) -> Result<(), ContainerError> {
        let known = self.versions().get(store).cloned();
        let is_known = known.is_some();
        let (condition, version) = match known {
            Some(version) => (header::IF_MATCH, version),
            None => (header::IF_NONE_MATCH, HeaderValue::from_static("*")),
        };
        let request = self
            .client
            .put(self.url(store))
            .header(condition, version)
            .header(header::CONTENT_TYPE, "application/json")
            .body(state.to_string());
        let response = self.call(store, request).await?;
        match response.status() {
            status if status.is_success() => {
                if let Some(version) = strong_version(response.headers()) {
                    self.versions().insert(store.clone(), version);
                    return Ok(());
                }
            }
            StatusCode::PRECONDITION_FAILED => {}
            StatusCode::NOT_FOUND if is_known => {}
            status => return Err(refused(store, status)),
        }
        // Saved with a version that we were not told, or not saved; the state there says which. It
        // also ends a save whose answer was lost: it is there already.
        match self.load(store).await? {
            Some(found) if found == *state => Ok(()),
            found => Err(ContainerError::Changed { store: store.clone(), state: found }),
        }
    }
}

impl Container for HttpContainer {
    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    fn load_all_stores<'a>(
        &'a self,
        stores: &'a [StoreName],
    ) -> Call<'a, BTreeMap<StoreName, Json>> {
        let load = async |store: &'a StoreName| Ok((store.clone(), self.load(store).await?));
        // The calls are made here, as a list, and begin when the stream takes them up.
        let calls: Vec<_> = stores.iter().map(load).collect();
        Box::pin(async move {
            let found: Vec<_> =
                stream::iter(calls).buffer_unordered(LOADS_MAX).try_collect().await?;
            let held = found.into_iter().filter_map(|(store, state)| Some((store, state?)));
            Ok(held.collect())
        })
    }

    fn save_all_stores<'a>(&'a self, stores: &'a BTreeMap<StoreName, Json>) -> Call<'a, ()> {
        Box::pin(async move {
            let mut result = Ok(());
            for (store, state) in stores {
                let saved = self.save(store, state).await;
                let away = matches!(saved, Err(ContainerError::Unreachable { .. }));
                result = result.and(saved);
                if away {
                    // Each of the others would take its time to fail in the same way.
                    break;
                }
            }
            result
        })
    }

    fn save_store<'a>(&'a self, store: &'a StoreName, state: &'a Json) -> Call<'a, ()> {
        Box::pin(self.save(store, state))
    }
}

/// The version that an answer names, if a save can come after it.
fn strong_version(headers: &HeaderMap) -> Option<HeaderValue> {
    let version = headers.get(header::ETAG)?;
    (!version.as_bytes().starts_with(b"W/")).then(|| version.clone())
}

/// What kept the call from being answered, in the words of the innermost error and without the
/// address, which may hold a password.
fn unreachable(store: &StoreName, error: reqwest::Error) -> ContainerError {
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let reason = if error.is_timeout() { "it took too long".into() } else { innermost.to_string() };
    ContainerError::Unreachable { store: store.clone(), reason }
}

fn refused(store: &StoreName, status: StatusCode) -> ContainerError {
    ContainerError::Refused { store: store.clone(), status: status.as_u16() }
}
