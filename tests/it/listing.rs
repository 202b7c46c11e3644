//! `GET /v1/workspaces/{workspace}`.

use automerge::AutoCommit;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use statehouse::ids::DocumentId;

use crate::client::{Socket, look};
use crate::server::Server;

const CONFIG: &str = r#"
    [[store]]
    name = "zeta"
    initial = { a = 1 }

    [[store]]
    name = "view"
    scope = "session"

    [[store]]
    name = "draft"
    persistent = false
"#;

async fn get(server: &Server, path: &str) -> Response {
    reqwest::get(format!("{}{path}", server.url())).await.unwrap()
}

async fn json_of(response: Response, kind: &str) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

async fn listing(server: &Server, workspace: &str) -> Value {
    let response = get(server, &format!("/v1/workspaces/{workspace}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut listing = json_of(response, "application/json").await;
    for store in listing["stores"].as_array_mut().unwrap() {
        assert_eq!(store["automergeUrl"], url(workspace, store["name"].as_str().unwrap()));
        let members = store.as_object_mut().unwrap();
        let (url, id) = (members.remove("automergeUrl"), members.remove("documentId"));
        assert_eq!(url.unwrap(), format!("automerge:{}", id.unwrap().as_str().unwrap()));
    }
    listing
}

fn url(workspace: &str, store: &str) -> String {
    DocumentId::of(&workspace.parse().unwrap(), &store.parse().unwrap()).url()
}

/// The heads of the first change of a store.
async fn genesis(server: &Server, store: &str) -> Vec<String> {
    let response = get(server, &format!("/v1/workspaces/w/stores/{store}/genesis")).await;
    let mut document = AutoCommit::load(&response.bytes().await.unwrap()).unwrap();
    document.get_heads().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_workspace_lists_its_stores_in_their_order() {
    let mut server = Server::with_config(CONFIG);
    let fresh = listing(&server, "w").await;
    let start = genesis(&server, "zeta").await;
    let zeta = json!({"name": "zeta", "persistent": true, "seq": 0, "heads": start, "bytes": 7});
    let draft = json!({"name": "draft", "persistent": false, "seq": fresh["stores"][1]["seq"],
        "heads": [], "bytes": 2});
    assert_eq!(fresh, json!({"workspace": "w", "stores": [zeta, draft]}));

    let mut socket = Socket::connect(&server.socket("w")).await;
    for (store, seq) in [("gamma", 1), ("alpha", 1), ("zeta", 1), ("zeta", 2)] {
        let patch = json!([{"op": "add", "path": "/ä", "value": [store, seq]}]);
        socket.send(&json!({"type": "hello", "stores": [store], "caps": ["ack"]})).await;
        socket.json().await;
        let edit = json!({"type": "patch", "store": store, "seq": seq - 1, "patch": patch});
        socket.send(&edit).await;
        let ack = socket.json().await;
        assert_eq!((&ack["type"], &ack["seq"]), (&json!("ack"), &json!(seq)));
    }
    socket.close().await;
    let full = listing(&server, "w").await;
    let stores = full["stores"].as_array().unwrap();
    let names: Vec<&str> = stores.iter().map(|store| store["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["zeta", "draft", "alpha", "gamma"]);
    for store in stores.iter().filter(|store| store["name"] != "draft") {
        let (seq, state) = look(&server.socket("w"), store["name"].as_str().unwrap()).await;
        assert_eq!(store["seq"], seq);
        assert_eq!(store["bytes"], state.to_string().len());
        let head = store["heads"][0].as_str().unwrap();
        assert!(head.len() == 64 && head.bytes().all(|byte| byte.is_ascii_hexdigit()), "{head}");
    }
    assert_ne!(stores[0]["heads"], json!(start));

    assert!(server.terminate().success());
    server.start_again(None);
    let again = listing(&server, "w").await;
    for (before, after) in stores.iter().zip(again["stores"].as_array().unwrap()) {
        if before["persistent"] == true {
            assert_eq!(before, after, "it is the same after a restart");
        }
    }
    assert_eq!(listing(&server, "other").await["stores"][0]["seq"], 0, "and nobody else's");
}

#[tokio::test]
async fn what_is_no_name_has_no_listing() {
    let server = Server::start();
    assert_eq!(listing(&server, "w").await, json!({"workspace": "w", "stores": []}));
    let longest = "x".repeat(128);
    assert_eq!(listing(&server, &longest).await["workspace"], longest);
    for bad in ["a%20b", "%ff", "a%2Fb", &format!("{longest}x")] {
        let response = get(&server, &format!("/v1/workspaces/{bad}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
        let problem = json_of(response, "application/problem+json").await;
        assert_eq!(problem["code"], "bad-name", "{bad}");
    }
}
