//! A container over HTTP, against a small server that behaves, and one that does not.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use statehouse::ids::StoreName;
use statehouse::json::{Json, JsonError, JsonLimits};
use statehouse::limits;
use statehouse::storage::container::{Container, ContainerError, HttpContainer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the server holds: per store its version and text.
#[derive(Debug, Default)]
struct Shelf {
    stores: BTreeMap<String, (u32, String)>,
    /// Versions are given out once, also when a store is made anew.
    versions: u32,
    /// How the server deviates.
    manner: Manner,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Manner {
    #[default]
    Good,
    /// Answers a save without an `ETag`.
    Taciturn,
    /// Sends weak `ETag`s.
    Weak,
    /// Saves, and answers 500.
    Forgetful,
}

type Shared = Arc<Mutex<Shelf>>;

impl Shelf {
    fn put(&mut self, store: &str, text: &str) {
        self.versions += 1;
        self.stores.insert(store.to_owned(), (self.versions, text.to_owned()));
    }
}

async fn load(State(shelf): State<Shared>, Path(store): Path<String>) -> Response {
    let shelf = shelf.lock().unwrap();
    let Some((version, text)) = shelf.stores.get(&store) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let weak = if shelf.manner == Manner::Weak { "W/" } else { "" };
    ([(header::ETAG, format!("{weak}\"{version}\""))], text.clone()).into_response()
}

async fn save(
    State(shelf): State<Shared>,
    Path(store): Path<String>,
    headers: HeaderMap,
    text: String,
) -> Response {
    let mut shelf = shelf.lock().unwrap();
    let expected = headers.get(header::IF_MATCH).map(|etag| etag.to_str().unwrap().to_owned());
    let found = shelf.stores.get(&store).map(|(version, _)| format!("\"{version}\""));
    if expected != found || (expected.is_none() && headers[header::IF_NONE_MATCH] != "*") {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    shelf.put(&store, &text);
    let etag = [(header::ETAG, format!("\"{}\"", shelf.versions))];
    match shelf.manner {
        Manner::Good => etag.into_response(),
        Manner::Taciturn | Manner::Weak => StatusCode::NO_CONTENT.into_response(),
        Manner::Forgetful => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A server; it is gone when its task is aborted.
struct Server {
    shelf: Shared,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Shared::default()).await
    }

    async fn at(address: SocketAddr, shelf: Shared) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/my/stores/{store}", get(load).put(save))
            .with_state(Arc::clone(&shelf));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shelf, address, task }
    }

    fn container(&self) -> HttpContainer {
        HttpContainer::new(&format!("http://{}/my/", self.address)).unwrap()
    }

    fn put(&self, store: &str, text: &str) {
        self.shelf.lock().unwrap().put(store, text);
    }

    fn text(&self, store: &str) -> Option<String> {
        self.shelf.lock().unwrap().stores.get(store).map(|(_, text)| text.clone())
    }

    fn behave(&self, manner: Manner) {
        self.shelf.lock().unwrap().manner = manner;
    }
}

fn name(name: &str) -> StoreName {
    name.parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text, &JsonLimits::default()).unwrap()
}

fn changed(store: &str, state: Option<&str>) -> Result<(), ContainerError> {
    Err(ContainerError::Changed { store: name(store), state: state.map(json) })
}

#[tokio::test]
async fn what_is_saved_is_loaded() {
    let server = Server::start().await;
    let container = server.container();
    let stores = BTreeMap::from([
        (name("a"), json(r#"{"n":[1,2.5,"ü"]}"#)),
        (name("b:c-d.e_f"), json("7")),
        (name("c"), json("null")),
    ]);
    container.save_all_stores(&stores).await.unwrap();
    container.save_store(&name("b:c-d.e_f"), &json("8")).await.unwrap();
    container.save_store(&name("b:c-d.e_f"), &json("7")).await.unwrap();

    let names: Vec<_> = ["a", "absent", "b:c-d.e_f", "c"].map(name).into();
    let other: &dyn Container = &server.container();
    assert_eq!(other.load_all_stores(&names).await.unwrap(), stores);
    other.save_store(&name("absent"), &json("{}")).await.unwrap();
    assert_eq!(server.text("absent").unwrap(), "{}");
}

#[tokio::test]
async fn what_has_changed_there_is_not_overwritten() {
    let server = Server::start().await;
    let container = server.container();
    let a = name("a");
    // Never seen before, and there already.
    server.put("a", "1");
    assert_eq!(container.save_store(&a, &json("2")).await, changed("a", Some("1")));
    assert_eq!(server.text("a").unwrap(), "1");
    // The caller merged, and saves again.
    container.save_store(&a, &json("12")).await.unwrap();
    // Changed behind our back.
    server.put("a", "3");
    assert_eq!(container.save_store(&a, &json("4")).await, changed("a", Some("3")));
    container.save_store(&a, &json("34")).await.unwrap();
    // Removed behind our back.
    server.shelf.lock().unwrap().stores.clear();
    assert_eq!(container.save_store(&a, &json("5")).await, changed("a", None));
    container.save_store(&a, &json("5")).await.unwrap();
    assert_eq!(server.text("a").unwrap(), "5");
}

#[tokio::test]
async fn one_store_that_has_changed_does_not_keep_the_others_from_being_saved() {
    let server = Server::start().await;
    let container = server.container();
    server.put("b", "0");
    let stores = ["a", "b", "c"].map(|store| (name(store), json("1"))).into();
    assert_eq!(container.save_all_stores(&stores).await, changed("b", Some("0")));
    assert_eq!((server.text("a"), server.text("c")), (Some("1".into()), Some("1".into())));
}

#[tokio::test]
async fn a_save_whose_answer_was_lost_is_found_to_be_done() {
    let server = Server::start().await;
    let container = server.container();
    let a = name("a");
    server.behave(Manner::Forgetful);
    let refused = ContainerError::Refused { store: a.clone(), status: 500 };
    assert_eq!(container.save_store(&a, &json("1")).await, Err(refused));
    server.behave(Manner::Good);
    container.save_store(&a, &json("1")).await.unwrap();
    container.save_store(&a, &json("2")).await.unwrap();
    assert_eq!(server.text("a").unwrap(), "2");
}

#[tokio::test]
async fn a_version_that_is_not_told_is_asked_for() {
    let server = Server::start().await;
    let container = server.container();
    server.behave(Manner::Taciturn);
    for text in ["1", "2"] {
        container.save_store(&name("a"), &json(text)).await.unwrap();
    }
    server.behave(Manner::Weak);
    let no_version = ContainerError::NoVersion { store: name("a") };
    assert_eq!(container.load_all_stores(&[name("a")]).await, Err(no_version));
}

#[tokio::test]
async fn a_container_that_is_away_is_an_error_and_not_an_absence() {
    let server = Server::start().await;
    let container = server.container();
    let a = name("a");
    assert!(container.is_connected(), "nothing was tried yet");
    container.save_store(&a, &json("1")).await.unwrap();
    let Server { shelf, address, task } = server;
    task.abort();
    task.await.unwrap_err();
    // A connection that is still open may serve one more call.
    let mut loaded = container.load_all_stores(std::slice::from_ref(&a)).await;
    if loaded.is_ok() {
        loaded = container.load_all_stores(std::slice::from_ref(&a)).await;
    }
    assert!(matches!(loaded, Err(ContainerError::Unreachable { .. })), "{loaded:?}");
    assert!(!container.is_connected());
    let stores = BTreeMap::from([(a.clone(), json("2"))]);
    let saved = container.save_all_stores(&stores).await;
    assert!(matches!(saved, Err(ContainerError::Unreachable { .. })), "{saved:?}");

    let back = Server::at(address, shelf).await;
    container.save_all_stores(&stores).await.unwrap();
    assert!(container.is_connected());
    assert_eq!(back.text("a").unwrap(), "2");
}

#[tokio::test]
async fn a_state_that_no_store_can_have_is_refused() {
    let server = Server::start().await;
    let container = server.container();
    let a = name("a");
    for (text, expected) in [
        (format!("\"{}\"", "x".repeat(limits::DOCUMENT_BYTES_MAX)), JsonError::TooLarge),
        ("[".repeat(65) + &"]".repeat(65), JsonError::TooDeep),
    ] {
        server.put("a", &text);
        let loaded = container.load_all_stores(std::slice::from_ref(&a)).await;
        let unreadable = ContainerError::Unreadable { store: a.clone(), error: expected };
        assert_eq!(loaded, Err(unreadable.clone()));
        // It was not read, so it is not saved over either.
        assert_eq!(container.save_store(&a, &json("1")).await, Err(unreadable));
        assert_eq!(server.text("a").unwrap(), text);
    }
    server.put("a", "{\"torn\":");
    let loaded = container.load_all_stores(&[a]).await;
    let syntax =
        matches!(loaded, Err(ContainerError::Unreadable { error: JsonError::Syntax(_), .. }));
    assert!(syntax, "{loaded:?}");
}

#[test]
fn an_address_is_checked_when_it_is_given() {
    for bad in ["", "host", "https://host", "ftp://host", "http://host/?q", "http://host/#f"] {
        let refused = HttpContainer::new(bad);
        assert!(matches!(refused, Err(ContainerError::Address(_))), "{bad}");
    }
}
