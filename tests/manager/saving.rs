//! The container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use statehouse::manager::{Unsaved, WorkspaceManager, WorkspaceManagerConfig};
use statehouse::storage::ChangeLog;
use statehouse::storage::memory::MemoryLog;
use tokio::sync::watch;

use crate::world::{Fake, chart, config, json, lock, name, over, patch, ready, state, until};

#[tokio::test]
async fn save_dirty_stores_saves_what_is_persistent_and_dirty_in_one_call() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    for store in ["prefs", "channelState", "chartState"] {
        manager.set_state(&name(store), json(r#"{"a":1}"#)).await.unwrap();
    }
    manager.save_dirty_stores().await.unwrap();
    let one = json(r#"{"a":1}"#);
    let both = BTreeMap::from([(chart(), one.clone()), (name("prefs"), one)]);
    assert_eq!(*lock(&container.saves), [both]);
    manager.save_dirty_stores().await.unwrap();
    assert_eq!(lock(&container.saves).len(), 1, "nothing is dirty");
}

#[tokio::test]
async fn without_a_container_there_is_nothing_to_save_to() {
    let manager = ready().await;
    manager.save_dirty_stores().await.unwrap();
    manager.save_store(&chart()).await.unwrap();
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    container.away.store(true, Ordering::SeqCst);
    manager.save_dirty_stores().await.unwrap();
    manager.save_store(&chart()).await.unwrap();
    assert!(lock(&container.saves).is_empty());
}

#[tokio::test]
async fn save_store_saves_one_persistent_store_even_if_it_is_clean() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    manager.save_store(&name("channelState")).await.unwrap();
    manager.save_store(&name("unknown")).await.unwrap();
    assert!(lock(&container.saves).is_empty());
    manager.save_store(&name("prefs")).await.unwrap();
    assert_eq!(container.state("prefs"), Some(json("{}")));
}

#[tokio::test]
async fn what_changes_during_a_save_is_saved_after_it() {
    let (pace, slow) = watch::channel(true);
    let container = Arc::new(Fake { slow: Some(slow), ..Fake::default() });
    let manager = over(&container);
    manager.initialize().await.unwrap();
    manager.set_state(&name("prefs"), json(r#"{"v":"A"}"#)).await.unwrap();
    until("the save has begun", || !lock(&container.saves).is_empty()).await;
    manager.set_state(&name("prefs"), json(r#"{"v":"B"}"#)).await.unwrap();
    pace.send(false).unwrap();
    assert_eq!(manager.shutdown().await.unwrap(), Unsaved::default());
    assert_eq!(container.state("prefs"), Some(json(r#"{"v":"B"}"#)));
}

#[tokio::test]
async fn what_the_owner_changes_at_the_container_is_merged() {
    let container = Fake::holding("chartState", r#"{"items":[1,2],"n":0}"#);
    let manager = over(&container);
    manager.initialize().await.unwrap();
    for round in 1..=3 {
        container.edit("chartState", &format!(r#"{{"items":[0,1,2],"n":{round}}}"#));
        let items = patch(r#"[{"op":"add","path":"/items/-","value":3}]"#);
        manager.patch_state(&chart(), items).await.unwrap();
        manager.save_dirty_stores().await.unwrap();
        let merged = json(&format!(r#"{{"items":[0,1,2,3],"n":{round}}}"#));
        assert_eq!(state(&manager, "chartState").await, merged);
        assert_eq!(container.state("chartState"), Some(merged));
        manager.set_state(&chart(), json(r#"{"items":[1,2],"n":0}"#)).await.unwrap();
        manager.save_dirty_stores().await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_answer_of_the_container_does_no_harm() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    container.fails.store(true, Ordering::SeqCst);
    manager.set_state(&name("prefs"), json(r#"{"items":[1]}"#)).await.unwrap();
    manager.save_dirty_stores().await.unwrap_err();
    // The save had arrived, and only its answer was lost.
    container.edit("prefs", r#"{"items":[1]}"#);
    container.fails.store(false, Ordering::SeqCst);
    let more = patch(r#"[{"op":"add","path":"/items/-","value":2}]"#);
    manager.patch_state(&name("prefs"), more).await.unwrap();
    manager.save_dirty_stores().await.unwrap();
    assert_eq!(container.state("prefs"), Some(json(r#"{"items":[1,2]}"#)));
    assert_eq!(state(&manager, "prefs").await, json(r#"{"items":[1,2]}"#));
}

#[tokio::test]
async fn a_container_that_is_behind_the_log_undoes_nothing() {
    let log: Arc<dyn ChangeLog> = Arc::new(MemoryLog::new());
    let container = Arc::<Fake>::default();
    let start = || {
        let container = Arc::<Fake>::clone(&container);
        let log = Some(Arc::clone(&log));
        WorkspaceManager::new(WorkspaceManagerConfig {
            container: Some(container),
            log,
            ..config()
        })
    };
    let first = start();
    first.initialize().await.unwrap();
    first.set_state(&name("prefs"), json(r#"{"items":[1]}"#)).await.unwrap();
    first.save_dirty_stores().await.unwrap();
    container.away.store(true, Ordering::SeqCst);
    container.fails.store(true, Ordering::SeqCst);
    first.set_state(&name("prefs"), json(r#"{"items":[1,2]}"#)).await.unwrap();
    first.shutdown().await.unwrap();
    drop(first);
    container.away.store(false, Ordering::SeqCst);
    container.fails.store(false, Ordering::SeqCst);
    let second = start();
    second.initialize().await.unwrap();
    assert_eq!(state(&second, "prefs").await, json(r#"{"items":[1,2]}"#));
    second.save_dirty_stores().await.unwrap();
    assert_eq!(container.state("prefs"), Some(json(r#"{"items":[1,2]}"#)));
    // What was changed there by somebody else is new, and counts.
    drop(second);
    container.edit("prefs", r#"{"items":[1,2],"theme":"dark"}"#);
    let third = start();
    third.initialize().await.unwrap();
    assert_eq!(state(&third, "prefs").await, json(r#"{"items":[1,2],"theme":"dark"}"#));
}
