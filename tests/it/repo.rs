//! Stock automerge-repo clients in Node, of both lines (1.x and 2.x), from `tests/node/repo`.
//!
//! Each script prints facts as one line of JSON; what they must be is said here.

use std::sync::Arc;

use serde_json::{Value, json};
use statehouse::ids::{DocumentId, Millis, Seq, SessionId};
use statehouse::workspace::repo::{RepoDelivery, RepoRequest, SenderId, StorageId};
use statehouse::workspace::{Delivery, Effect, Input, Opening, Request, Rights, Workspace};

use crate::node::{assert_orderly, available, play};
use crate::server::Server;

/// Who plays with whom.
const PAIRS: [[&str; 2]; 3] = [["2", "2"], ["1", "1"], ["1", "2"]];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn repo_clients_create_find_and_converge() {
    if !available("repo/converge.mjs") {
        return;
    }
    let mut server = Server::start();
    for pair in PAIRS {
        let facts = play("repo/converge.mjs", &pair, &mut server);
        let born = json!({
            "title": "first", "map": {"kept": 1}, "list": ["x", "y"], "text": "hello world",
        });
        assert_eq!(facts["seen"], born);
        assert_eq!(facts["answered"], "second");
        let merged = &facts["merged"];
        assert_eq!(merged["map"], json!({"a": {"deep": [1, 2]}, "b": true}));
        assert_eq!(merged["text"], "HELLO world!", "text is merged by character");
        let mut list: Vec<&str> =
            merged["list"].as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect();
        assert_eq!(list[..2], ["first of a", "x"]);
        list.sort_unstable();
        assert_eq!(list, ["first of a", "last of a", "last of b", "x"]);
        assert_eq!((&facts["letters_lost"], &facts["both_typed"]), (&json!([]), &json!(true)));
    }
}

#[test]
fn repo_clients_lose_nothing_offline_or_when_they_reconnect_quickly() {
    if !available("repo/offline.mjs") {
        return;
    }
    let mut server = Server::start();
    for pair in PAIRS {
        let facts = play("repo/offline.mjs", &pair, &mut server);
        assert_orderly(&facts);
        assert_eq!((&facts["offline"], &facts["reconnects"]), (&json!(60), &json!(60)));
        assert_eq!(facts["twice"], 0);
    }
}

#[test]
fn repo_clients_stay_through_kills_of_the_server() {
    if !available("repo/restart.mjs") {
        return;
    }
    let mut server = Server::start();
    for pair in PAIRS {
        let facts = play("repo/restart.mjs", &pair, &mut server);
        assert_orderly(&facts);
        assert_eq!((&facts["kills"], &facts["forgotten"]), (&json!(4), &json!(0)));
        assert_eq!(facts["same_storage"], true, "the server keeps its storage id");
    }
}

#[test]
fn large_documents_and_many_pass_one_socket() {
    if !available("repo/large.mjs") {
        return;
    }
    let facts = play("repo/large.mjs", &["2", "2"], &mut Server::start());
    assert_eq!(facts["text"], json!({"alike": true, "size": 1_000_000}));
    assert_eq!(facts["scalars"], json!({"alike": true, "size": 5_000_000}));
    // Bytes are base64 in JSON.
    assert_eq!(facts["blobs"], json!({"alike": true, "size": 20 * 333_336}));
    assert_eq!(facts["documents"], 200);
}

#[test]
fn ephemera_reach_everybody_else_once_and_in_order() {
    if !available("repo/ephemera.mjs") {
        return;
    }
    let mut server = Server::start();
    for lines in [["2", "2", "2"], ["1", "1", "1"], ["1", "2", "2"]] {
        let facts = play("repo/ephemera.mjs", &lines, &mut server);
        // 21 words of two others.
        assert_eq!(facts["heard"], json!([42, 42, 42]));
        assert_eq!(facts["on_the_wire"], json!([42, 42, 42]));
        assert_eq!((&facts["wrong"], &facts["misattributed"]), (&json!([]), &json!(0)));
        assert_eq!(facts["echoes"], json!([0, 0, 0]));
        assert_eq!(facts["session_and_count_kept"], true);
        assert_eq!(facts["addressed"], true, "targetId is the one who is told");
        assert_eq!(facts["stranger"], 0, "who has another document open hears nothing of this one");
    }
}

#[test]
fn presence_crosses_the_dialects() {
    if !available("repo/crossing.mjs") {
        return;
    }
    let facts = play("repo/crossing.mjs", &[], &mut Server::start());
    let expected = json!({
        "met": {"name": "json", "cursor": 1}, "user": "anonymous",
        "data": {"name": "a", "cursor": 7}, "still_there": [true], "goodbye": true,
        "named_after": true,
    });
    assert_eq!(facts, expected);
}

#[test]
fn the_stock_presence_works() {
    if !available("repo/presence.mjs") {
        return;
    }
    let facts = play("repo/presence.mjs", &[], &mut Server::start());
    let [a, b] = ["a", "b"].map(|name| json!({"name": name, "cursor": 0}));
    assert_eq!(facts["met"], json!({"a_sees": b, "b_sees": a}));
    let b = json!({"name": "b", "cursor": 0, "selection": {"from": 1, "to": 5}});
    assert_eq!(facts["moved"], json!({"a_sees": b, "b_sees": {"name": "a", "cursor": 7}}));
    assert_eq!((&facts["left"], &facts["still_shown"]), (&json!(true), &json!(false)));
}

#[test]
fn a_document_that_nobody_has_is_unavailable_until_it_comes() {
    if !available("repo/unavailable.mjs") {
        return;
    }
    let mut server = Server::start();
    for lines in [["2", "2"], ["1", "2"], ["2", "1"]] {
        let facts = play("repo/unavailable.mjs", &lines, &mut server);
        assert_orderly(&facts);
        for refused in ["first", "second", "before", "before_json"] {
            assert_eq!(facts[refused], "Document URL is unavailable", "{refused}");
        }
        assert_eq!(facts["unavailable"], "unavailable");
        assert_eq!(facts["brought"], json!({"from": "b", "seen": "by a"}));
        assert_eq!(facts["found"], json!({"from": "b again"}));
        assert_eq!(facts["json_made"], json!({"from": "json", "seen": "by a"}));
    }
}

#[test]
fn json_and_repo_clients_edit_one_store() {
    if !available("repo/json.mjs") {
        return;
    }
    let facts = play("repo/json.mjs", &[], &mut Server::start());
    assert_orderly(&facts);
    let initial = json!({"title": "first", "log": [], "nested": {"a": [1, null, true]}});
    assert_eq!(facts["seen"], initial);
    let made = json!({
        "counter": 3, "date": 1_700_000_000_123_u64, "bytes": "AP8Q", "infinite": null,
        "scalar": "scalar", "text": "text", "uint": 7,
    });
    assert_eq!(facts["as_json_sees"], made);
    assert_eq!(facts["seen_by_json"], json!({"title": "from repo", "body": "hello world"}));
    let merged = json!({"title": "from repo", "body": "hello brave world", "added": "by json"});
    assert_eq!(facts["merged"], merged, "a JSON client sets a string that is not declared text");
    let kinds =
        json!({"title": "scalar", "counter": "counter", "text": "string", "added": "string"});
    assert_eq!(facts["kinds"], kinds);
    for what in ["urls", "listed"] {
        assert_eq!(facts[what], json!({"made": true, "born": true}), "{what}");
    }
}

#[test]
fn remote_heads_are_told() {
    if !available("repo/heads.mjs") {
        return;
    }
    let facts = play("repo/heads.mjs", &[], &mut Server::start());
    let told = json!({
        "server_has_a_name": true, "told_of": ["keeper", "server"], "sync_info": true,
        "older_face": true, "addressed": true, "strange_times": [],
    });
    assert_eq!(facts, told);
}

#[test]
fn a_client_may_begin_offline_with_the_first_change_of_a_store() {
    if !available("repo/genesis.mjs") {
        return;
    }
    let config = "[[store]]\nname = \"board\"\ninitial = { list = [\"a\", \"b\", \"c\"] }\n";
    let facts = play("repo/genesis.mjs", &[], &mut Server::with_config(config));
    assert_orderly(&facts);
    assert_eq!(facts["status"], 200);
    assert_eq!(facts["started"], json!({"list": ["a", "b", "c", "offline 0"]}));
    let list = facts["merged"]["list"].as_array().unwrap();
    assert_eq!(list[..3], [json!("a"), json!("b"), json!("c")], "the initial list is there once");
    for name in ["offline 0", "offline 1", "json"] {
        assert!(list.contains(&json!(name)), "{name} in {list:?}");
    }
}

/// Asserts what became of every socket that said something: all that it was answered.
fn assert_fates<'a>(facts: &Value, expected: impl IntoIterator<Item = (&'a str, &'a [&'a str])>) {
    let expected = expected
        .into_iter()
        .flat_map(|(fate, names)| names.iter().map(move |name| ((*name).to_owned(), json!(fate))));
    assert_eq!(*facts, Value::Object(expected.collect()));
}

#[test]
fn raw_sockets_disturb_nobody() {
    if !available("repo/raw.mjs") {
        return;
    }
    let facts = play("repo/raw.mjs", &[], &mut Server::start());
    let joined = json!({
        "named": true, "addressed": true, "version": "1", "ephemeral": false, "storage": "string",
    });
    let joins = json!({
        "answers": [joined, joined, joined], "refusal": "string", "let_in": 0, "one_storage": true,
    });
    assert_eq!(facts["joins"], joins);
    assert_eq!(facts["joins_again"], json!({"alike": true, "fate": "nothing", "peers": 2}));
    assert_eq!(facts["same_name"], json!({"last_is_open": true, "fate": "nothing"}));
    let words = json!([[true, "true"]]);
    let others = json!({"verdict": "nothing", "words": words, "made": 0});
    assert_eq!(facts["other_senders"], others, "nobody speaks for others");
    assert_eq!(facts["unknown_document"], json!({"addressed": true, "came": true}));
    assert_eq!(facts["id_as_bytes"], json!({"came": true}));
    let counts = json!([1, 2_147_483_648_u64, 4_294_967_297_u64, 35_184_372_088_832_u64]);
    let numbers = json!({"counts": counts, "said": counts, "fate": "nothing"});
    assert_eq!(facts["numbers_and_undefined"], numbers);
    let calm = ["nothing", "nothing"];
    let flood = json!({"heard": 5_000, "in_order": true, "fates": calm});
    assert_eq!(facts["flood"], flood, "a bystander hears every word");
    assert_eq!(facts["loops"], json!({"heard": [10, 10], "echoes": 0}));
    assert_eq!(facts["leaves"], json!({"code": 1000, "back": true, "errors": 0}));
    assert_eq!(facts["ping"], json!({"pings": true, "fate": "nothing"}));
    assert_refusals(&facts);
    assert_eq!(keys(&facts).len(), 17, "every case was played");
}

/// What is refused is answered, and closes the socket only where nothing could follow.
fn assert_refusals(facts: &Value) {
    let closed = "error bad-message, closed 1002";
    let early = ["sync", "request", "ephemeral", "unknown"];
    assert_fates(&facts["before_join"]["fates"], [(closed, &early[..])]);
    assert_eq!(facts["before_join"]["made"], "doc-unavailable", "it made no document");
    let garbage = [
        "empty",
        "noise",
        "number",
        "list",
        "nothing",
        "no_type",
        "odd_type",
        "half",
        "deep",
        "long_map",
        "long_text",
        "long_bytes",
        "endless",
    ];
    assert_fates(&facts["garbage"]["before"], [(closed, &garbage[..])]);
    assert_fates(&facts["garbage"]["after"], [("error bad-message", &garbage[..])]);
    let text = json!({"fate": "closed 1003", "strange": 0});
    assert_eq!(facts["text_frame"], text, "the server never sends a text frame");
    assert_eq!(facts["unknown_type"]["fate"], "nothing", "what is not known is skipped");

    let no_document =
        ["sync_not_base58", "sync_bad_checksum", "sync_of_a_path", "request_of_nothing"];
    let bad_message = [
        "sync_without_data",
        "sync_of_text",
        "sync_of_no_document",
        "request_of_bytes",
        "count_negative",
        "count_text",
        "session_number",
        "word_of_nothing",
        "subscription_text",
        "heads_list",
        "heads_not_base58",
        "sender_missing",
        "join_by_nobody",
        "join_by_a_map",
    ];
    let fates = [
        ("doc-unavailable", &no_document[..]),
        ("error bad-message", &bad_message[..]),
        ("doc-unavailable, error bad-sync", &["sync_of_nothing"]),
        (closed, &["join_by_another"]),
    ];
    assert_fates(&facts["odd_fields"], fates);

    // Filters are never looked into, so one that would end an Automerge peer is harmless.
    let filters = ["probes", "no_bits", "no_entries", "huge"];
    let (unreadable, refused) = (["heads", "changes", "noise"], ["change", "bundle"]);
    let none = "doc-unavailable, error bad-sync";
    for (document, answer, refusal) in
        [("shared", "sync", "error bad-sync, sync"), ("fresh", "doc-unavailable", none)]
    {
        let fates = [(answer, &filters[..]), (none, &unreadable), (refusal, &refused)];
        assert_fates(&facts["hostile_sync"][document], fates);
    }
}

/// Two questions stay unanswered; then the client counts as gone, without a word.
#[test]
fn a_repo_client_that_answers_no_ping_is_let_go() {
    if !available("repo/raw.mjs") {
        return;
    }
    let mut server = Server::with_config("[limits]\nrepo_ping_ms = 500");
    let facts = play("repo/raw.mjs", &["no_pong"], &mut server);
    let expected = json!({"code": 1006, "pings": 2, "quiet": "nothing"});
    assert_eq!(facts["no_pong"], expected);
}

/// A stock client takes a server that is silent for a second for one that has nothing: so a join
/// must not wait for a document, however long that takes to load.
#[test]
fn a_join_is_answered_before_any_document_is_loaded() {
    let document = DocumentId::of(&"w".parse().unwrap(), &"s".parse().unwrap());
    let mut workspace = Workspace::open(Opening {
        id: "w".parse().unwrap(),
        config: Arc::default(),
        stored: vec![("s".parse().unwrap(), Seq(7))],
        held: Vec::new(),
        epoch: 0,
        actor: [9; 16],
        storage: StorageId("here".into()),
    });
    let session = SessionId(1);
    let say = |request| Input::say(session, Request::Repo(request));
    let message = [0x42, 0, 0, 0, 0].to_vec();
    let turn = vec![
        Input::Attach { session, user: "u".to_owned(), rights: Arc::new(Rights::all()) },
        say(RepoRequest::Join { name: SenderId("client".into()), storage: None }),
        say(RepoRequest::Document { document, message }),
    ];
    let effects = workspace.handle(turn, Millis(0));
    let [Effect::Deliver { to, delivery }, Effect::Load { store }] = &*effects else {
        panic!("{effects:?}")
    };
    let peer = Delivery::Repo(RepoDelivery::Joined { storage: StorageId("here".into()) });
    assert_eq!((&**to, delivery, store.as_str()), (&[session][..], &peer, "s"));
}
