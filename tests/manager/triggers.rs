//! Handlers of path changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use statehouse::hub::Handler;
use statehouse::limits::TRIGGER_DEPTH_MAX;
use statehouse::workspace::Context;

use crate::world::{Mutexed, a_moment, greet, json, lock, name, noting, ready, send, until};

#[tokio::test]
async fn a_pattern_is_a_path_or_all_below_it() {
    let manager = ready().await;
    let (alice, _) = greet(&manager).await;
    let notes = Mutexed::default();
    let mut watches = Vec::new();
    let patterns =
        ["/*", "/chartState", "/chartState/*", "/chartState/a", "/chartState/a/*", "/prefs/*"];
    for pattern in patterns {
        let handler = noting(pattern, &notes);
        watches.push(manager.on_path_change(pattern.parse().unwrap(), handler).await.unwrap());
    }
    send(&manager, alice.session(), 0, r#"[{"op":"replace","path":"/a/b","value":2}]"#).await;
    until("three fire", || lock(&notes).len() == 3).await;
    a_moment().await;
    let fired = ["/*", "/chartState/*", "/chartState/a/*"];
    assert_eq!(*lock(&notes), fired.map(|who| format!("{who} /chartState/a/b 1 2")));
    lock(&notes).clear();
    send(&manager, alice.session(), 1, r#"[{"op":"replace","path":"","value":{"a":1}}]"#).await;
    let before = r#"{"a":{"b":2,"c":1},"items":[1,2],"symbol":"BTC"}"#;
    for who in ["/*", "/chartState"] {
        let whole = format!(r#"{who} /chartState {before} {{"a":1}}"#);
        until("the whole store fires", || lock(&notes).contains(&whole)).await;
    }
    // The original was silent here, though the value had changed.
    let below = r#"/chartState/a /chartState/a {"b":2,"c":1} 1"#.to_owned();
    until("what is below fires too", || lock(&notes).contains(&below)).await;
    assert!(!lock(&notes).iter().any(|note| note.starts_with("/prefs")));
}

#[tokio::test]
async fn a_handler_is_told_where_and_when() {
    let manager = ready().await;
    let contexts: Mutexed<Vec<Context>> = Mutexed::default();
    let keeps = Arc::clone(&contexts);
    let keep = Handler::new(move |fired| {
        lock(&keeps).push(fired.firing.context);
        async { Ok(()) }
    });
    let _watch = manager.on_path_change("/prefs/*".parse().unwrap(), keep).await.unwrap();
    manager.set_state(&name("prefs"), json(r#"{"a":1,"b":2}"#)).await.unwrap();
    until("both paths fire", || lock(&contexts).len() == 2).await;
    let contexts = lock(&contexts);
    for (context, path) in contexts.iter().zip(["/prefs/a", "/prefs/b"]) {
        assert_eq!((context.store.as_str(), &*context.path, context.seq.0), ("prefs", path, 1));
        assert_eq!((&*context.user_id, &*context.session_id), ("alice", "session-1"));
    }
}

#[tokio::test]
async fn handlers_run_in_order_and_a_failing_one_does_not_stop_the_next() {
    let manager = ready().await;
    let notes = Mutexed::default();
    let path = || "/prefs/a".parse().unwrap();
    let first = manager.on_path_change(path(), noting("first", &notes)).await.unwrap();
    let fails = Handler::new(|_fired| async { Err("handler".into()) });
    let _fails = manager.on_path_change(path(), fails).await.unwrap();
    let _last = manager.on_path_change(path(), noting("last", &notes)).await.unwrap();
    manager.set_state(&name("prefs"), json(r#"{"a":1}"#)).await.unwrap();
    until("both run", || lock(&notes).len() == 2).await;
    assert_eq!(*lock(&notes), ["first /prefs/a - 1", "last /prefs/a - 1"]);
    drop(first);
    manager.set_state(&name("prefs"), json(r#"{"a":2}"#)).await.unwrap();
    until("the last runs", || lock(&notes).len() == 3).await;
    a_moment().await;
    assert_eq!(lock(&notes)[2..], ["last /prefs/a 1 2"]);
}

#[tokio::test]
async fn a_handler_may_write_and_a_circle_comes_to_an_end() {
    let manager = ready().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counts = Handler::new({
        let (manager, runs) = (manager.clone(), Arc::clone(&runs));
        move |_fired| {
            let manager = manager.clone();
            let n = runs.fetch_add(1, Ordering::SeqCst);
            async move {
                manager.set_state(&name("prefs"), json(&format!(r#"{{"n":{n}}}"#))).await?;
                Ok(())
            }
        }
    });
    let _watch = manager.on_path_change("/prefs/*".parse().unwrap(), counts).await.unwrap();
    manager.set_state(&name("prefs"), json(r#"{"n":-1}"#)).await.unwrap();
    let depth_max = usize::try_from(TRIGGER_DEPTH_MAX).unwrap();
    until("it has run", || runs.load(Ordering::SeqCst) == depth_max).await;
    a_moment().await;
    assert_eq!(runs.load(Ordering::SeqCst), depth_max);
}
