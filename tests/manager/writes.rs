//! What server code reads and writes.

use std::collections::BTreeMap;

use statehouse::hub::HubError;
use statehouse::manager::{ManagerError, WorkspaceManager};
use statehouse::workspace::{Edit, Refusal};

use crate::world::{a_moment, chart, config, greet, json, name, object, patch, ready, state};

#[tokio::test]
async fn set_state_sends_one_patch_and_nothing_where_nothing_changed() {
    let manager = ready().await;
    let (_alice, heard) = greet(&manager).await;
    let prefs = name("prefs");
    let written = manager.set_state(&prefs, json(r#"{"a":1,"b":2}"#)).await.unwrap();
    assert_eq!((written.seq.0, written.changed), (1, true));
    let again = manager.set_state(&prefs, json(r#"{"a":1,"b":2}"#)).await.unwrap();
    assert_eq!((again.seq.0, again.changed), (1, false));
    a_moment().await;
    let ops = r#"[{"op":"add","path":"/a","value":1},{"op":"add","path":"/b","value":2}]"#;
    assert_eq!(heard.take(), [format!("patch prefs 1 {ops}")]);
}

#[tokio::test]
async fn update_state_merges_shallowly_and_only_objects() {
    let manager = ready().await;
    let updated = manager.update_state(&chart(), object(r#"{"a":{"b":7},"n":null}"#)).await;
    assert!(updated.unwrap().unwrap().changed);
    let state_now = json(r#"{"symbol":"BTC","a":{"b":7},"items":[1,2],"n":null}"#);
    assert_eq!(state(&manager, "chartState").await, state_now);
    manager.set_state(&chart(), json("[1]")).await.unwrap();
    assert_eq!(manager.update_state(&chart(), object(r#"{"a":1}"#)).await.unwrap(), None);
    assert_eq!(state(&manager, "chartState").await, json("[1]"));
}

#[tokio::test]
async fn merge_and_patch_change_a_part_and_a_cursor_merges_with_what_came_between() {
    let manager = ready().await;
    manager.merge_state(&chart(), json(r#"{"a":{"c":null}}"#)).await.unwrap();
    let (read, cursor) = manager.get_state_with_cursor(&chart()).await.unwrap().unwrap();
    assert_eq!(read, json(r#"{"symbol":"BTC","a":{"b":1},"items":[1,2]}"#));
    let append = patch(r#"[{"op":"add","path":"/items/-","value":3}]"#);
    manager.patch_state(&chart(), append).await.unwrap();
    let late = Edit::Set(json(r#"{"symbol":"ETH","a":{"b":1},"items":[1,2]}"#));
    manager.change_at(&chart(), cursor, late).await.unwrap();
    let merged = json(r#"{"symbol":"ETH","a":{"b":1},"items":[1,2,3]}"#);
    assert_eq!(state(&manager, "chartState").await, merged);
    let refused = patch(r#"[{"op":"test","path":"/symbol","value":"BTC"}]"#);
    let refused = manager.patch_state(&chart(), refused).await.unwrap_err();
    assert!(matches!(refused, ManagerError::Hub(HubError::Refused(Refusal::Patch(_)))));
}

#[tokio::test]
async fn serialize_state_is_indented_json_in_the_order_of_the_configuration() {
    let mut config = config();
    config.stores.reverse();
    let manager = WorkspaceManager::new(config);
    manager.initialize().await.unwrap();
    manager.set_state(&chart(), json(r#"{"x":[1]}"#)).await.unwrap();
    let text = r#"{
  "channelState": {},
  "prefs": {},
  "chartState": {
    "x": [
      1
    ]
  }
}"#;
    assert_eq!(manager.serialize_state().await.unwrap(), text);
}

#[tokio::test]
async fn changes_since_counts_all_stores_alike_and_cursors_count_each() {
    let manager = ready().await;
    let prefs = name("prefs");
    for n in 1..=5 {
        manager.update_state(&chart(), object(&format!(r#"{{"n":{n}}}"#))).await.unwrap();
    }
    assert_eq!(manager.current_seq().await.unwrap().0, 5);
    let seqs = manager.changes_since_cursors(BTreeMap::new()).await.unwrap().seqs;
    manager.set_state(&prefs, json(r#"{"a":1}"#)).await.unwrap();
    let since = manager.current_seq().await.unwrap();
    assert!(manager.changes_since(since).await.unwrap().is_empty(), "as in the original");
    let changes = manager.changes_since_cursors(seqs).await.unwrap();
    let patches = [(prefs, patch(r#"[{"op":"add","path":"/a","value":1}]"#))];
    assert_eq!(changes.patches, patches.into());
    assert_eq!(changes.truncated, []);
}
