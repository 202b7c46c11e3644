//! Tokens and single requests: what uses a ticket up, and what a reader of a part learns.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use super::guest::{CONFIG, grant, start, token};
use super::ticket;
use crate::api::Api;
use crate::client::Socket;
use crate::server::Server;

/// The danger: a client that was not let in for another reason finds its ticket gone.
#[tokio::test]
async fn a_ticket_that_let_nobody_in_still_counts() {
    let server = Server::with_config(&format!("{CONFIG}[limits]\nsockets_per_s = 1\n"));
    let good = token("ann", &grant("*", true));
    let bearer = format!("Bearer {good}");
    let url = server.socket("acme");
    loop {
        let ticket = ticket(&server, &good).await;
        let with_ticket = format!("{url}?ticket={ticket}");
        let plain = with_ticket.replacen("ws", "http", 1);
        while Socket::try_connect_with(&url, &[("authorization", &bearer)]).await.is_ok() {}
        let answer = Client::new().get(plain).send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 400 | 426 | 429), "{}", answer.status());
        let mut refused = 0;
        while let Err(error) = Socket::try_connect(&with_ticket).await {
            let Error::Http(answer) = error else { panic!("{error}") };
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            refused += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Otherwise the bucket had filled just then.
        if refused > 0 {
            break;
        }
    }
}

#[tokio::test]
async fn a_beginning_is_only_of_what_is_or_may_be() {
    let server = start();
    let api = Api::of(&server, "acme");
    let writer = format!("Bearer {}", token("ann", &grant("*", true)));
    let reader = format!("Bearer {}", token("eve", &grant("*", false)));
    let begins = async |store: &str, bearer: &str| {
        api.get(&format!("/stores/{store}/genesis"), &[("authorization", bearer)]).await
    };
    assert_eq!(begins("s", &writer).await.status, 204);
    begins("s", &reader).await.is_problem(404, "no-store");
    assert_eq!(api.put("s", &[("authorization", &writer)], &json!(1)).await.status, 200);
    assert_eq!(begins("s", &reader).await.status, 204);
    begins("t", &reader).await.is_problem(404, "no-store");
}

#[tokio::test]
async fn who_sees_a_part_is_not_told_who_wrote_elsewhere() {
    let server = start();
    let api = Api::of(&server, "acme");
    let bearer = |user: &str, grants: &Value| format!("Bearer {}", token(user, grants));
    let (ann, bob) = (bearer("ann", &grant("*", true)), bearer("bob", &grant("*", true)));
    for (who, state) in [(&ann, json!({"a": 1})), (&bob, json!({"a": 1, "b": 1}))] {
        assert_eq!(api.put("s", &[("authorization", who)], &state).await.status, 200);
    }
    let last = api.put("s?path=/a", &[("authorization", &ann)], &json!(2)).await;
    assert_eq!(last.seq(), 3);

    let part = json!([{"workspaces": ["acme"], "stores": ["s"], "paths": ["/a"]}]);
    let eve = bearer("eve", &part);
    let page = api.get("/stores/s/changes?since=0", &[("authorization", &eve)]).await.json();
    let told = |page: &Value| -> Vec<(u64, String)> {
        let changes = page["changes"].as_array().unwrap().iter();
        let one =
            |it: &Value| (it["seq"].as_u64().unwrap(), it["user"].as_str().unwrap().to_owned());
        changes.map(one).collect()
    };
    assert_eq!(told(&page), [(1, "ann".to_owned()), (3, "ann".to_owned())]);
    assert_eq!(page["seq"], 3);
    let one = api.get("/stores/s/changes?since=1&limit=1", &[("authorization", &eve)]).await.json();
    assert_eq!(one, json!({"changes": [], "seq": 3, "next": 2}), "and goes on from there");
    let whole = api.get("/stores/s/changes?since=0", &[("authorization", &bob)]).await.json();
    assert_eq!(told(&whole).len(), 3);
}
