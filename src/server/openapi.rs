//! `GET /openapi.json`: the HTTP side of the server for programs (`OpenAPI` 3.1).

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{events, genesis, http, listing, tickets};

/// What stands in the sources beside each handler.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "statehouse",
        description = "Stores of JSON that JSON clients and Automerge clients edit at once. \
                       PROTOCOL.md has the sockets, and every header and code in words."
    ),
    paths(
        listing::serve,
        http::read,
        http::patch,
        http::put,
        http::delete,
        http::changes::list,
        http::changes::export,
        genesis::serve,
        events::serve,
        tickets::serve,
    ),
    modifiers(&Bearer)
)]
struct Api;

/// Where the configuration asks who somebody is, he shows a token; elsewhere nobody needs one.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, described: &mut utoipa::openapi::OpenApi) {
        const NAME: &str = "bearer";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = described.components.get_or_insert_default();
        components.add_security_scheme(NAME, SecurityScheme::Http(bearer));
        let token = SecurityRequirement::new(NAME, [] as [&str; 0]);
        described.security = Some(vec![SecurityRequirement::default(), token]);
    }
}

/// The description as text, the same in every build of these sources.
fn text() -> Result<String, serde_json::Error> {
    Api::openapi().to_pretty_json().map(|json| json + "\n")
}

/// Answers with the description.
pub(super) async fn serve() -> impl IntoResponse {
    const TYPE: HeaderValue = HeaderValue::from_static(http::JSON);
    // An empty body is no JSON, and so no description.
    ([(header::CONTENT_TYPE, TYPE)], text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1` writes the file anew.
    #[test]
    fn the_description_in_docs_is_that_of_the_sources() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let now = text().unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &now).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), now, "run with UPDATE=1");
    }

    /// Clients are generated from it: what it says of a path must be all that the path can do.
    #[test]
    fn it_has_every_path_and_status() {
        let text = text().unwrap();
        let described: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(described["openapi"].as_str().unwrap().starts_with("3.1"));
        let store = &described["paths"]["/v1/workspaces/{workspace}/stores/{store}"];
        let methods: Vec<&String> = store.as_object().unwrap().keys().collect();
        assert_eq!(methods, ["delete", "get", "patch", "put"]);
        for status in ["200", "400", "404", "409", "412", "413", "415", "422", "429", "503"] {
            assert!(store["patch"]["responses"][status].is_object(), "{status}");
        }
        let paths = described["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 7);
        let operations = paths.values().flat_map(|path| path.as_object().unwrap().values());
        let mut ids: Vec<_> = operations.map(|it| it["operationId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!((ids.len(), all), (10, 10), "each has a name of its own: {ids:?}");
    }
}
