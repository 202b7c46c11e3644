//! Configurations, good and bad.

use super::*;
use crate::document::Strings;
use crate::json::{Json, JsonLimits};
use crate::limits as bounds;
use crate::workspace::{Durability, Scope, WorkspaceLimits};

/// Reads a configuration from a file and an environment.
#[expect(clippy::unwrap_in_result, reason = "the error is what is tested")]
fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statehouse.toml");
    std::fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::read(Some(&path), environment).map_err(|error| error.to_string())
}

fn refused(text: &str, reason: &str) {
    let error = read(text, &[]).expect_err(text);
    assert!(error.contains(reason), "{text}\n{error}");
}

#[test]
fn without_a_file_everything_is_open() {
    let config = Config::read(None, []).unwrap();
    assert_eq!(config.listen, "127.0.0.1:4600");
    assert_eq!(config.data, Path::new("./statehouse-data"));
    assert!(config.workspace.create_stores && config.workspace.stores.is_empty());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.workspace.limits, WorkspaceLimits::default());
}

#[test]
fn every_key_means_something() {
    let config = read(
        r#"
        listen = "127.0.0.1:0"
        data = "/srv/state"
        durability = "relaxed"
        create_stores = false
        origins = ["https://app.example"]

        [[store]]
        name = "chartState"
        initial = { symbol = "BTC/USD", n = 1, f = 1.5, on = true, list = [{}], day = 2026-01-02 }
        text = ["/notes/*/body"]
        keys = { "/shapes" = "id" }
        strings = "text"

        [[store]]
        name = "view"
        scope = "session"

        [[store]]
        name = "draft"
        persistent = false
        "#,
        &[],
    )
    .unwrap();
    assert_eq!((config.listen.as_str(), config.data.to_str()), ("127.0.0.1:0", Some("/srv/state")));
    assert_eq!(config.origins, ["https://app.example"]);
    let workspace = config.workspace;
    assert_eq!(workspace.durability, Durability::Relaxed);
    assert!(!workspace.create_stores);
    let [chart, view, draft] = &*workspace.stores else { panic!("three stores") };
    let initial = r#"{"symbol":"BTC/USD","n":1,"f":1.5,"on":true,"list":[{}],"day":"2026-01-02"}"#;
    assert_eq!(chart.initial, Json::parse(initial, &JsonLimits::default()).unwrap());
    assert_eq!(chart.policy.text.len(), 1);
    assert_eq!(chart.policy.strings, Strings::Text);
    assert!(chart.persistent && chart.scope == Scope::Workspace);
    assert!(!view.persistent && view.scope == Scope::Session);
    assert!(!draft.persistent && draft.scope == Scope::Workspace);
}

#[test]
fn what_means_nothing_is_refused_with_its_line() {
    refused("lsiten = \"x\"", "unknown field `lsiten`");
    refused("\n\nlsiten = \"x\"", "line 3");
    refused("[limits]\nidle = 5", "unknown field `idle`");
    refused("[[store]]\nname = \"a\"\npersistant = true", "line 3");
    refused("listen = 5", "line 1");
    refused("durability = \"none\"", "unknown variant `none`");
    refused("listen =", "line 1");
}

#[test]
fn stores_that_contradict_are_refused() {
    let store = |rest: &str| format!("[[store]]\nname = \"a\"\n{rest}");
    refused("[[store]]\nname = \"a/b\"", "store \"a/b\"");
    refused(&store(&store("")), "listed twice");
    refused(&store("scope = \"session\"\npersistent = true"), "not persistent");
    refused(&store("text = [\"notes\"]"), "text \"notes\"");
    refused(&store("keys = { \"shapes\" = \"id\" }"), "keys");
    refused(&store("schema = \"no-such-file.json\""), "schema no-such-file.json: ");
    refused(&store("schema = { type = \"objekt\" }"), "schema: /type");
    refused(&store("schema = { type = \"array\" }"), "the initial state does not keep it");
    let elsewhere = "schema = { \"$ref\" = \"https://example.com/a.json\" }";
    refused(&store(elsewhere), "refers to itself only");
    refused(&store("schema = { pattern = \"(?=a)\" }"), "schema: /pattern");
    refused(&store("initial = { n = inf }"), "initial");
    refused(&store("initial = { __proto__ = 1 }"), "initial");
    refused("[limits]\nframe_bytes = 9\nmessage_bytes = 8", "limits.frame_bytes");
}

#[test]
fn every_limit_can_be_set() {
    let config = read(
        "
        [limits]
        idle_ms = 1
        memory_bytes = 2
        outbox_bytes = 3
        frame_bytes = 4
        message_bytes = 5
        sockets = 6
        request_ms = 7
        outbox_stall_ms = 8
        ping_ms = 9
        repo_ping_ms = 16
        repo_message_bytes = 17
        drain_ms = 0
        stop_ms = 18
        sessions = 19
        requests_per_s = 20
        sockets_per_s = 21
        messages_per_s = 22
        workspace_bytes = 23
        stores = 10
        document_bytes = 1100
        json_depth = 12
        key_bytes = 13
        patch_ops = 14
        presence_bytes = 15
        ",
        &[],
    )
    .unwrap();
    let limits = Limits {
        idle_ms: 1,
        memory_bytes: 2,
        outbox_bytes: 3,
        frame_bytes: 4,
        message_bytes: 5,
        sockets: 6,
        request_ms: 7,
        outbox_stall_ms: 8,
        ping_ms: 9,
        repo_ping_ms: 16,
        repo_message_bytes: 17,
        drain_ms: 0,
        stop_ms: 18,
        requests_per_s: 20,
        sockets_per_s: 21,
        messages_per_s: 22,
    };
    assert_eq!(config.limits, limits);
    let json = JsonLimits {
        document_bytes_max: 1_100,
        depth_max: 12,
        key_bytes_max: 13,
        patch_ops_max: 14,
        forbid_prototype_keys: true,
    };
    assert_eq!(
        config.workspace.limits,
        WorkspaceLimits {
            json,
            presence_bytes_max: 15,
            stores_max: 10,
            sessions_max: 19,
            bytes_max: 23,
        }
    );
}

/// Each limit with its ceiling; one that is missing here is missing in the count, too.
#[test]
fn a_limit_lies_between_one_and_its_ceiling() {
    let usize = |n: usize| u64::try_from(n).unwrap();
    let ceilings = [
        ("idle_ms", bounds::IDLE_MS_CEILING),
        ("stores", usize(bounds::STORES_CEILING)),
        ("document_bytes", usize(bounds::DOCUMENT_BYTES_CEILING)),
        ("json_depth", usize(bounds::JSON_DEPTH_MAX)),
        ("key_bytes", usize(bounds::KEY_BYTES_CEILING)),
        ("patch_ops", usize(bounds::PATCH_OPS_CEILING)),
        ("presence_bytes", usize(bounds::PRESENCE_BYTES_CEILING)),
        ("sockets", usize(bounds::SOCKETS_CEILING)),
        ("request_ms", bounds::REQUEST_MS_CEILING),
        ("stop_ms", bounds::STOP_MS_CEILING),
        ("sessions", usize(bounds::SESSIONS_CEILING)),
        ("requests_per_s", bounds::REQUESTS_PER_S_CEILING.into()),
        ("sockets_per_s", bounds::SOCKETS_PER_S_CEILING.into()),
        ("messages_per_s", bounds::MESSAGES_PER_S_CEILING.into()),
        ("message_bytes", usize(bounds::MESSAGE_BYTES_CEILING)),
        ("outbox_bytes", usize(bounds::OUTBOX_BYTES_CEILING)),
        ("outbox_stall_ms", bounds::OUTBOX_STALL_MS_CEILING),
        ("ping_ms", bounds::PING_MS_CEILING),
        ("repo_ping_ms", bounds::PING_MS_CEILING),
        ("repo_message_bytes", usize(bounds::REPO_MESSAGE_BYTES_CEILING)),
        ("frame_bytes", usize(bounds::FRAME_BYTES_CEILING)),
    ];
    for (key, ceiling) in ceilings {
        let with = |value: u64| {
            let room = if key == "frame_bytes" { "message_bytes = 67108864\n" } else { "" };
            // What is no larger than a message is a frame, so a small message needs a small one.
            let small = if key == "message_bytes" && value == 1 { "frame_bytes = 1\n" } else { "" };
            read(&format!("[limits]\n{room}{small}{key} = {value}"), &[])
        };
        for good in [1, ceiling] {
            assert!(with(good).is_ok(), "{key} = {good}: {:?}", with(good));
        }
        for bad in [0, ceiling + 1] {
            let error = with(bad).expect_err(key);
            let expected = format!("limits.{key}: it is 1 to {ceiling}, and not {bad}");
            assert_eq!(error, expected);
        }
    }
    refused("[limits]\nmemory_bytes = 0", "limits.memory_bytes");
    refused("[limits]\nping_ms = -1", "line 2");
    let error = read("", &[("STATEHOUSE_LIMITS__JSON_DEPTH", "65")]).unwrap_err();
    assert!(error.contains("limits.json_depth"), "{error}");
}

#[test]
fn an_initial_state_keeps_to_the_limits() {
    let store = "[[store]]\nname = \"a\"\ninitial = { longer = 1 }";
    assert!(read(&format!("[limits]\nkey_bytes = 6\n{store}"), &[]).is_ok());
    refused(&format!("[limits]\nkey_bytes = 5\n{store}"), "initial: a key is too long");
}

#[test]
fn the_environment_goes_before_the_file() {
    let environment = [
        ("STATEHOUSE_LISTEN", "127.0.0.1:1"),
        ("STATEHOUSE_DATA", "2026"),
        ("STATEHOUSE_CREATE_STORES", "false"),
        ("STATEHOUSE_LIMITS__IDLE_MS", "7"),
        ("STATEHOUSE_ORIGINS", "[\"*\"]"),
        ("STATEHOUSE_STORE", "[{ name = \"a\" }]"),
        ("STATEHOUSE_SERVER", "http://elsewhere"),
        ("PATH", "/bin"),
    ];
    let config =
        read("listen = \"x\"\n[limits]\nidle_ms = 1\nmemory_bytes = 2", &environment).unwrap();
    assert_eq!(config.listen, "127.0.0.1:1");
    assert_eq!(config.data, Path::new("2026"), "a number where a text is expected is its text");
    assert_eq!((config.limits.idle_ms, config.limits.memory_bytes), (7, 2));
    assert_eq!(config.origins, ["*"]);
    assert_eq!((config.workspace.create_stores, config.workspace.stores.len()), (false, 1));
}

#[test]
fn a_variable_that_means_nothing_is_refused_if_it_is_surely_ours() {
    let error = |name, value| read("", &[(name, value)]).unwrap_err();
    assert!(error("STATEHOUSE_LIMITS__IDEL_MS", "7").contains("STATEHOUSE_LIMITS__IDEL_MS"));
    assert!(error("STATEHOUSE_LIMITS__IDLE_MS", "soon").contains("STATEHOUSE_LIMITS__IDLE_MS"));
    assert!(error("STATEHOUSE_CREATE_STORES", "perhaps").contains("STATEHOUSE_CREATE_STORES"));
    read("", &[("STATEHOUSE_PORT", "tcp://10.0.0.1:4600")]).expect("that is Kubernetes");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = Config::read(Some(Path::new("/nonexistent/x.toml")), []).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/x.toml"));
}

#[test]
fn who_is_let_in_is_said_once_and_fits() {
    let auth = |rest: &str| format!("[auth]\n{rest}");
    let (hs, ed) = ("algorithms = [\"HS256\"]\n", "algorithms = [\"EdDSA\", \"RS256\"]\n");
    let config = read(&auth(&format!("{ed}jwks_url = \"https://keys\"\nclaim = \"x\"")), &[]);
    let config = config.unwrap().auth.unwrap();
    assert_eq!((config.signing.len(), config.claim.as_str()), (2, "x"));
    let config = read(&auth(&format!("{hs}secret = \"s3cret\"")), &[]).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(config.auth.unwrap().claim, "statehouse");
    let one = "it has one of secret, secret_file, key_file, jwks_file, jwks_url";
    refused(&auth(hs), one);
    refused(&auth(&format!("{hs}secret = \"a\"\nsecret_file = \"b\"")), one);
    refused(&auth("secret = \"a\""), "name at least one");
    refused(&auth("algorithms = [\"none\"]\nsecret = \"a\""), "unknown variant `none`");
    refused(&auth(&format!("{ed}secret = \"a\"")), "a secret is for HS256 alone");
    refused(&auth(&format!("{hs}key_file = \"a\"")), "a secret is for HS256 alone");
    refused(&auth(&format!("{ed}jwks_url = \"file:///etc/keys\"")), "begins with https://");
    refused(&auth(&format!("{ed}jwks = \"a\"")), "unknown field `jwks`");
    let environment = [
        ("STATEHOUSE_AUTH__ALGORITHMS", "[\"HS256\"]"),
        ("STATEHOUSE_AUTH__SECRET_FILE", "secret"),
        ("STATEHOUSE_TOKEN", "of a client"),
    ];
    assert!(read("", &environment).unwrap().auth.is_some());
}
