//! Patches of clients.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use statehouse::hub::HubError;
use statehouse::manager::ManagerError;
use statehouse::workspace::Refusal;

use crate::world::{
    Fake, a_moment, chart, greet, json, lock, name, object, over, patch, ready, send, state,
    stores, until,
};

#[tokio::test]
async fn an_accepted_patch_takes_one_seq_and_only_the_others_are_told() {
    let manager = ready().await;
    let (alice, heard_alice) = greet(&manager).await;
    let (_bob, heard_bob) = greet(&manager).await;
    send(&manager, alice.session(), 0, r#"[{"op":"replace","path":"/symbol","value":"ETH"}]"#)
        .await;
    assert!(heard_alice.take().is_empty());
    let told = r#"patch chartState 1 [{"op":"replace","path":"/symbol","value":"ETH"}]"#;
    assert_eq!(heard_bob.take(), [told]);
    assert_eq!(manager.current_seq().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_conflicting_patch_is_merged_and_answered_with_a_snapshot() {
    let manager = ready().await;
    let (alice, heard_alice) = greet(&manager).await;
    manager.update_state(&chart(), object(r#"{"symbol":"ETH"}"#)).await.unwrap().unwrap();
    until("alice is told", || !heard_alice.take().is_empty()).await;
    send(&manager, alice.session(), 0, r#"[{"op":"replace","path":"/a/b","value":2}]"#).await;
    let merged = r#"{"a":{"b":2,"c":1},"items":[1,2],"symbol":"ETH"}"#;
    assert_eq!(heard_alice.take(), [format!("snapshot chartState 2 {merged}")]);
}

#[tokio::test]
async fn a_patch_to_a_store_that_does_not_exist_is_a_typed_error() {
    let manager = ready().await;
    let (alice, _) = greet(&manager).await;
    let refused =
        manager.handle_patch(alice.session(), &name("unknown"), 0, patch("[]")).await.unwrap_err();
    assert!(matches!(refused, ManagerError::Hub(HubError::Refused(Refusal::NoStore))));
}

#[tokio::test]
async fn a_patch_is_all_or_nothing_and_is_saved_only_if_it_changed_something() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    let (alice, heard) = greet(&manager).await;
    let half = r#"[{"op":"remove","path":"/symbol"},{"op":"remove","path":"/nowhere"}]"#;
    send(&manager, alice.session(), 0, half).await;
    assert_eq!(state(&manager, "chartState").await, stores()[0].initial);
    assert_eq!(heard.take(), [format!("snapshot chartState 0 {}", stores()[0].initial)]);
    a_moment().await;
    assert!(lock(&container.saves).is_empty());
}

#[tokio::test]
async fn a_patch_is_at_the_container_before_its_promise_is_kept() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    let (alice, _) = greet(&manager).await;
    send(&manager, alice.session(), 0, r#"[{"op":"replace","path":"/a","value":0}]"#).await;
    let saved = json(r#"{"symbol":"BTC","a":0,"items":[1,2]}"#);
    assert_eq!(container.state("chartState"), Some(saved));
}

#[tokio::test]
async fn a_failing_container_does_not_fail_the_patch_and_is_tried_again() {
    let container = Arc::<Fake>::default();
    let manager = over(&container);
    manager.initialize().await.unwrap();
    let (alice, _) = greet(&manager).await;
    let (_bob, heard_bob) = greet(&manager).await;
    container.fails.store(true, Ordering::SeqCst);
    send(&manager, alice.session(), 0, r#"[{"op":"replace","path":"/a","value":0}]"#).await;
    assert_eq!(heard_bob.take().len(), 1);
    container.fails.store(false, Ordering::SeqCst);
    until("it is saved", || container.state("chartState").is_some()).await;
}
