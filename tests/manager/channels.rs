//! Channels and hellos.

use std::collections::BTreeMap;

use statehouse::manager::ManagerError;

use crate::world::{attach, chart, greet, json, lock, name, patch, ready, state, stores, until};

#[tokio::test]
async fn channels_come_and_go_and_none_replaces_another() {
    let manager = ready().await;
    assert!(!manager.has_channel());
    let (first, heard_first) = greet(&manager).await;
    let (second, heard_second) = greet(&manager).await;
    manager.set_state(&name("prefs"), json(r#"{"a":1}"#)).await.unwrap();
    let told = [r#"patch prefs 1 [{"op":"add","path":"/a","value":1}]"#];
    until("both are told", || {
        lock(&heard_first.told).len() == 1 && lock(&heard_second.told).len() == 1
    })
    .await;
    assert_eq!(heard_first.take(), told);
    drop(first);
    assert!(manager.has_channel());
    manager.set_state(&name("prefs"), json("{}")).await.unwrap();
    until("one is told", || !lock(&heard_second.told).is_empty()).await;
    assert!(heard_first.take().is_empty());
    drop(second);
    assert!(!manager.has_channel());
}

#[tokio::test]
async fn without_a_channel_all_else_works_and_a_hello_is_answered_nothing() {
    let manager = ready().await;
    let (channel, recorder) = attach(&manager).await;
    let session = channel.session();
    drop(channel);
    manager.handle_hello(session, BTreeMap::new()).await.unwrap();
    assert!(recorder.take().is_empty());
    let edited = manager.handle_patch(session, &chart(), 0, patch("[]")).await;
    assert!(matches!(edited, Err(ManagerError::NoSession)));
    manager.set_state(&name("prefs"), json(r#"{"a":1}"#)).await.unwrap();
    assert_eq!(state(&manager, "prefs").await, json(r#"{"a":1}"#));
}

#[tokio::test]
async fn a_hello_is_answered_for_all_stores_in_their_order() {
    let manager = ready().await;
    manager.set_state(&name("prefs"), json(r#"{"a":1}"#)).await.unwrap();
    manager.set_state(&name("prefs"), json(r#"{"a":2}"#)).await.unwrap();
    let (channel, recorder) = attach(&manager).await;
    let hello = async |seqs: &[(&str, i64)]| {
        let seqs = seqs.iter().map(|(store, seq)| (name(store), *seq)).collect();
        manager.handle_hello(channel.session(), seqs).await.unwrap();
        recorder.take()
    };
    let chart = format!("snapshot chartState 0 {}", stores()[0].initial);
    let snapshots = [&chart, r#"snapshot prefs 2 {"a":2}"#, "snapshot channelState 0 {}"];
    assert_eq!(hello(&[]).await, snapshots);
    assert!(hello(&[("chartState", 0), ("prefs", 2), ("channelState", 0)]).await.is_empty());
    let behind = hello(&[("chartState", 0), ("prefs", 1), ("channelState", 0)]).await;
    assert_eq!(behind, [r#"patch prefs 2 [{"op":"replace","path":"/a","value":2}]"#]);
    let ahead = hello(&[("chartState", 0), ("prefs", 9), ("channelState", 0)]).await;
    assert_eq!(ahead, snapshots[1..2]);
}
