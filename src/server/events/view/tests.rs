//! A reader of a view has, at every moment, the value at its place: no more, and no less.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::arbitrary;

fn parse(value: &Value) -> Json {
    Json::from(value.clone())
}

fn store() -> StoreName {
    "s".parse().unwrap()
}

fn snapshot(state: &Json) -> Outgoing {
    let state = state.clone();
    Outgoing::new(Delivery::Snapshot { store: store(), seq: Seq(1), state, cursor: None })
}

fn step(before: &Json, after: &Json) -> Outgoing {
    let patch = Arc::new(between(before, after, &Identity::default()));
    Outgoing::new(Delivery::Patch { store: store(), seq: Seq(2), patch, cursor: None })
}

fn view(path: &str, format: Format) -> View {
    View::new(Some(path.parse().unwrap()).filter(|path: &Pointer| !path.is_root()), format)
}

/// What a reader of the events has, by its own understanding of them.
fn read(held: &mut Option<Json>, event: &Event) {
    let message: Value = serde_json::from_str(&event.data).unwrap();
    if let Some(state) = message.get("snapshot") {
        *held = Some(parse(state));
    } else if message["type"] == "snapshot" {
        *held = message.get("state").map(parse);
    } else {
        let ops = message.get("patch").or(message.get("delta")).unwrap();
        let patch = JsonPatch::from_json(&parse(ops)).unwrap();
        match (held.as_ref(), patch.ops.as_slice()) {
            (None, [JsonOp::Add { path, value }]) if path.is_root() => *held = Some(value.clone()),
            (Some(_), [JsonOp::Remove { path }]) if path.is_root() => *held = None,
            (Some(before), _) => *held = Some(patched(before, &patch).unwrap()),
            (None, _) => panic!("{ops} goes on from nothing"),
        }
    }
}

fn paths() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "/a", "/0", "/b/0", "/a/b", "/1/id", "/nowhere/at/all"])
}

proptest! {
    #[test]
    fn a_view_follows_its_place(
        states in prop::collection::vec(arbitrary::json(), 2..8),
        path in paths(),
    ) {
        for format in [Format::Socket, Format::AgUi] {
            let mut view = view(path, format);
            let mut held = None;
            read(&mut held, &view.event(&snapshot(&states[0])).unwrap());
            for pair in states.windows(2) {
                if let Some(event) = view.event(&step(&pair[0], &pair[1])) {
                    read(&mut held, &event);
                }
                prop_assert!(!view.is_lost());
                let there = pair[1].get(&path.parse().unwrap()).cloned();
                let expected = match format {
                    Format::Socket => there,
                    Format::AgUi => Some(there.unwrap_or(Json::Null)),
                };
                prop_assert_eq!(held.as_ref(), expected.as_ref());
            }
        }
    }
}

#[test]
fn what_is_elsewhere_is_not_shown() {
    let before = parse(&json!({"a": 1, "b": 2}));
    let after = parse(&json!({"a": 1, "b": 3}));
    let mut view = view("/a", Format::Socket);
    let shown = view.event(&snapshot(&before)).unwrap();
    assert_eq!(
        shown.written(Some("s=1")),
        "event: snapshot\nid: s=1\ndata: \
        {\"type\":\"snapshot\",\"store\":\"s\",\"seq\":1,\"state\":1}\n\n"
    );
    assert_eq!(view.event(&step(&before, &after)), None);
}

/// The danger: what moves because something in front of it goes is shown as it was.
#[test]
fn a_place_in_an_array_is_another_when_the_array_moves() {
    let before = parse(&json!([{"id": 1, "x": 1}, {"id": 2, "x": 2}]));
    let after = parse(&json!([{"id": 2, "x": 2}]));
    let mut view = view("/0/x", Format::Socket);
    assert!(view.event(&snapshot(&before)).is_some());
    let event = view.event(&step(&before, &after)).unwrap();
    let patch: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(patch["patch"], json!([{"op": "replace", "path": "", "value": 2}]));
}

#[test]
fn a_patch_on_an_unknown_state_calls_for_a_snapshot() {
    let state = parse(&json!({"a": 1}));
    let mut view = view("/a", Format::Socket);
    assert_eq!(view.event(&step(&state, &parse(&json!({"a": 2})))), None);
    assert!(view.is_lost() && !view.is_lost(), "it says so once");
}

#[test]
fn absence_and_null_are_told_apart() {
    let data = |state: Value| {
        let event = view("/a", Format::Socket).event(&snapshot(&parse(&state))).unwrap();
        serde_json::from_str::<Value>(&event.data).unwrap().get("state").cloned()
    };
    assert_eq!(data(json!({"a": null})), Some(Value::Null));
    assert_eq!(data(json!({})), None);
}

#[test]
fn a_run_of_ag_ui_ends_once() {
    let shown = |event: Option<axum::body::Bytes>| {
        let text = String::from_utf8(event?.to_vec()).unwrap();
        let data = text.strip_prefix("data: ").unwrap();
        Some(serde_json::from_str::<Value>(data).unwrap())
    };
    let run = || view("", Format::AgUi).named("w/s".to_owned(), "7".to_owned());
    let finished = json!({"type": "RUN_FINISHED", "threadId": "w/s", "runId": "7"});
    assert_eq!(shown(run().goodbye(Closing::RESTART)), Some(finished));
    let failed = json!({"type": "RUN_ERROR", "message": "expired", "code": "expired"});
    assert_eq!(shown(run().goodbye(Closing::EXPIRED)), Some(failed));

    let mut run = run();
    let refusal = crate::workspace::Refusal::NoStore;
    let refused = run.event(&Outgoing::new(Delivery::Error { store: None, refusal })).unwrap();
    let expected = json!({
        "type": "RUN_ERROR", "message": "there is no such store", "code": "no-store",
    });
    assert_eq!(serde_json::from_str::<Value>(&refused.data).unwrap(), expected);
    assert!(run.is_over() && run.goodbye(Closing::RESTART).is_none(), "there is nothing after it");
    assert!(view("", Format::Socket).greeting().is_empty());
}
