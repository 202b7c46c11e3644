//! From before `initialize` to after `shutdown`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use statehouse::manager::{
    DEFAULT_STORES, ManagerError, Unsaved, WorkspaceManager, WorkspaceManagerConfig, default_stores,
};

use crate::world::{
    Fake, Mutexed, attach, chart, config, greet, json, lock, name, noting, over, patch, send,
    state, stores, until,
};

#[tokio::test]
async fn all_stores_are_there_in_initial_state_before_initialize() {
    let manager = WorkspaceManager::new(config());
    assert!(!manager.is_initialized());
    assert_eq!((manager.user_id(), manager.session_id()), ("alice", "session-1"));
    let names = manager.store_names().await.unwrap();
    assert_eq!(names, [chart(), name("prefs"), name("channelState")]);
    assert_eq!(state(&manager, "chartState").await, stores()[0].initial);
    assert_eq!(manager.get_state(&name("unknown")).await.unwrap(), None);
    assert_eq!(manager.current_seq().await.unwrap().0, 0);
}

#[tokio::test]
async fn initialize_is_done_once_however_often_it_is_called() {
    let container = Fake::holding("chartState", r#"{"symbol":"ETH"}"#);
    let manager = over(&container);
    let (one, two) = tokio::join!(manager.initialize(), manager.initialize());
    one.unwrap();
    two.unwrap();
    manager.initialize().await.unwrap();
    assert!(manager.is_initialized());
    assert_eq!(*lock(&container.loads), [vec![chart(), name("prefs")]]);
}

#[tokio::test]
async fn persistent_stores_are_loaded_and_absent_ones_keep_their_state() {
    let container = Fake::holding("prefs", r#"{"theme":"dark"}"#);
    let manager = over(&container);
    manager.initialize().await.unwrap();
    assert_eq!(state(&manager, "prefs").await, json(r#"{"theme":"dark"}"#));
    assert_eq!(state(&manager, "chartState").await, stores()[0].initial);
}

#[tokio::test]
async fn without_persistent_stores_nothing_is_loaded() {
    let container = Arc::<Fake>::default();
    let channel = Arc::<Fake>::clone(&container);
    let stores = stores().split_off(2);
    let config = WorkspaceManagerConfig { stores, container: Some(channel), ..config() };
    WorkspaceManager::new(config).initialize().await.unwrap();
    assert!(lock(&container.loads).is_empty());
}

#[tokio::test]
async fn loading_is_published_but_fires_no_trigger() {
    let container = Fake::holding("prefs", r#"{"theme":"dark"}"#);
    let manager = over(&container);
    let notes = Mutexed::default();
    let _watch =
        manager.on_path_change("/*".parse().unwrap(), noting("all", &notes)).await.unwrap();
    manager.initialize().await.unwrap();
    manager.set_state(&chart(), json("{}")).await.unwrap();
    until("the write fires", || !lock(&notes).is_empty()).await;
    assert!(lock(&notes).iter().all(|note| note.starts_with("all /chartState")));
}

#[tokio::test]
async fn a_failed_load_rejects_and_initialize_may_be_called_again() {
    let container = Fake::holding("prefs", r#"{"theme":"dark"}"#);
    container.fails.store(true, Ordering::SeqCst);
    let manager = over(&container);
    assert!(matches!(manager.initialize().await, Err(ManagerError::Container(_))));
    assert!(!manager.is_initialized());
    container.fails.store(false, Ordering::SeqCst);
    manager.initialize().await.unwrap();
    assert_eq!(state(&manager, "prefs").await, json(r#"{"theme":"dark"}"#));
}

#[tokio::test]
async fn a_container_that_is_away_at_the_start_is_merged_and_never_overwritten() {
    let theirs = r#"{"symbol":"BTC","a":{"b":1,"c":9},"items":[1,2,3],"secret":[9]}"#;
    let container = Fake::holding("chartState", theirs);
    container.away.store(true, Ordering::SeqCst);
    let manager = over(&container);
    manager.initialize().await.unwrap();
    assert!(lock(&container.loads).is_empty());
    let (client, _) = greet(&manager).await;
    send(&manager, client.session(), 0, r#"[{"op":"replace","path":"/a/b","value":2}]"#).await;
    assert_eq!(container.state("chartState"), Some(json(theirs)));
    container.away.store(false, Ordering::SeqCst);
    let merged = json(r#"{"symbol":"BTC","a":{"b":2,"c":9},"items":[1,2,3],"secret":[9]}"#);
    until("it is merged", || container.state("chartState").as_ref() == Some(&merged)).await;
    assert_eq!(state(&manager, "chartState").await, merged);
}

#[tokio::test]
async fn shutdown_before_initialize_does_nothing() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    let (_channel, recorder) = attach(&manager).await;
    assert_eq!(manager.shutdown().await.unwrap(), Unsaved::default());
    assert!(manager.has_channel() && !recorder.closed.load(Ordering::SeqCst));
    assert!(lock(&container.saves).is_empty());
}

#[tokio::test]
async fn shutdown_saves_detaches_and_may_be_followed_by_initialize() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    let (_channel, recorder) = greet(&manager).await;
    manager.set_state(&name("prefs"), json(r#"{"theme":"dark"}"#)).await.unwrap();
    assert_eq!(manager.shutdown().await.unwrap(), Unsaved::default());
    assert_eq!(container.state("prefs"), Some(json(r#"{"theme":"dark"}"#)));
    assert!(!manager.is_initialized() && !manager.has_channel());
    until("the channel is closed", || recorder.closed.load(Ordering::SeqCst)).await;
    container.edit("prefs", r#"{"theme":"light"}"#);
    manager.initialize().await.unwrap();
    assert_eq!(state(&manager, "prefs").await, json(r#"{"theme":"light"}"#));
}

#[tokio::test]
async fn shutdown_names_what_it_could_not_save() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    container.away.store(true, Ordering::SeqCst);
    manager.set_state(&name("prefs"), json("{\"a\":1}")).await.unwrap();
    manager.set_state(&name("channelState"), json("{\"a\":1}")).await.unwrap();
    let unsaved = manager.shutdown().await.unwrap();
    assert_eq!(unsaved, Unsaved { log: vec![], container: vec![name("prefs")] });
}

#[tokio::test]
async fn writing_is_refused_before_initialize_and_after_shutdown() {
    let manager = WorkspaceManager::new(config());
    let (channel, _) = attach(&manager).await;
    for _ in 0..2 {
        let hello = manager.handle_hello(channel.session(), BTreeMap::new()).await;
        let patched = manager.handle_patch(channel.session(), &chart(), 0, patch("[]")).await;
        let set = manager.set_state(&chart(), json("{}")).await.map(|_| ());
        for refused in [hello, patched, set] {
            assert!(matches!(refused, Err(ManagerError::NotInitialized)));
        }
        manager.initialize().await.unwrap();
        manager.set_state(&chart(), json("{}")).await.unwrap();
        manager.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn the_default_stores_are_what_they_say() {
    let configured: Vec<_> = default_stores()
        .into_iter()
        .map(|store| (store.name.to_string(), store.persistent))
        .collect();
    let said = DEFAULT_STORES.map(|(name, persistent)| (name.to_owned(), persistent));
    assert_eq!(configured, said);
}
