//! `GET /openapi.json`: the HTTP side of the server for programs (`OpenAPI` 3.1).

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{PathItem, RefOr};
use utoipa::{Modify, OpenApi};

use super::caller::Stranger;
use super::problem::Problem;
use super::{events, genesis, http, listing, tickets};
use crate::limits;
use crate::protocol::schema;

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
    modifiers(&Credentials, &Parameters)
)]
struct Api;

/// Where the configuration asks who somebody is, he shows a token or a ticket; elsewhere nobody
/// needs one.
struct Credentials;

/// The name of the scheme of tokens.
const BEARER: &str = "bearer";
/// The name of the scheme of tickets, and of the member of the query that holds one.
const TICKET: &str = "ticket";

impl Modify for Credentials {
    fn modify(&self, described: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let about = "of `POST /v1/tickets`, for clients that can send no header: it lets in once";
        let mut ticket = ApiKeyValue::new(TICKET);
        ticket.description = Some(about.to_owned());
        let ticket = ApiKey::Query(ticket);
        let components = described.components.get_or_insert_default();
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
        components.add_security_scheme(TICKET, SecurityScheme::ApiKey(ticket));
        let by = |scheme| SecurityRequirement::new(scheme, [] as [&str; 0]);
        described.security = Some(vec![SecurityRequirement::default(), by(BEARER), by(TICKET)]);
    }
}

/// What is true of parameters wherever they stand: a name has its characters, and what may be left
/// out is not there, rather than `null`.
struct Parameters;

impl Modify for Parameters {
    fn modify(&self, described: &mut utoipa::openapi::OpenApi) {
        let all = described.paths.paths.values_mut().flat_map(parameters);
        for Parameter { name, schema, .. } in all {
            let Some(RefOr::T(Schema::Object(shape))) = schema else { continue };
            if let SchemaType::Array(types) = &shape.schema_type
                && let Some(only) = types.iter().find(|it| **it != Type::Null)
            {
                shape.schema_type = SchemaType::Type(only.clone());
            }
            match name.as_str() {
                "workspace" | "store" => {
                    shape.pattern = Some(format!("^{NAME}$"));
                    shape.max_length = Some(limits::NAME_BYTES_MAX);
                }
                "path" => shape.pattern = Some(schema::pointer_pattern()),
                _ => {}
            }
        }
    }
}

/// A name of a workspace or store, as a regular expression. `.` and `..` are none.
const NAME: &str = r"(?!\.\.?$)[A-Za-z0-9._:\-]+";

fn parameters(path: &mut PathItem) -> impl Iterator<Item = &mut Parameter> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    let operations = [get, put, post, delete, patch].into_iter().flatten();
    let all = operations.filter_map(|operation| operation.parameters.as_mut()).flatten();
    all.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
}

/// The description as text, the same in every build of these sources.
static TEXT: LazyLock<Result<String, serde_json::Error>> =
    LazyLock::new(|| described().map(|described| format!("{described:#}\n")));

/// The description, with patches as the sockets have them too.
fn described() -> Result<Value, serde_json::Error> {
    const SCHEMAS: &str = "#/components/schemas/";
    let mut described = serde_json::to_value(Api::openapi())?;
    let parts = ["JsonPatch", "JsonOperation", "JsonPointer"];
    let parts =
        schema::definitions(SCHEMAS).into_iter().filter(|(name, _)| parts.contains(&&**name));
    if let Some(Value::Object(schemas)) = described.pointer_mut("/components/schemas") {
        schemas.extend(parts);
    }
    for place in [PATCH_BODY, PATCH_OF_CHANGE] {
        if let Some(patch) = described.pointer_mut(place) {
            *patch = json!({"$ref": format!("{SCHEMAS}JsonPatch")});
        }
    }
    if let Some(Value::Object(paths)) = described.get_mut("paths") {
        paths.values_mut().for_each(require_headers);
    }
    Ok(described)
}

/// Says of the headers of answers which of them are always there: those whose description does not
/// begin with "if".
fn require_headers(path: &mut Value) {
    fn inside(value: &mut Value) -> impl Iterator<Item = &mut Value> {
        value.as_object_mut().into_iter().flat_map(|members| members.values_mut())
    }
    let responses = inside(path).filter_map(|operation| operation.get_mut("responses"));
    let headers = responses.flat_map(inside).filter_map(|answer| answer.get_mut("headers"));
    for header in headers.flat_map(inside) {
        let may_be_absent = header.get("description").and_then(Value::as_str);
        let may_be_absent = may_be_absent.is_some_and(|about| about.starts_with("if "));
        if let Value::Object(header) = header {
            header.insert("required".to_owned(), (!may_be_absent).into());
        }
    }
}

/// Where patches are: JSON Pointers into the description.
const PATCH_BODY: &str = "/paths/~1v1~1workspaces~1{workspace}~1stores~1{store}/patch/requestBody\
                          /content/application~1json-patch+json/schema";
const PATCH_OF_CHANGE: &str = "/components/schemas/Change/properties/patch";

/// Answers with the description.
pub(super) async fn serve(_: Stranger) -> Result<Response, Problem> {
    const TYPE: HeaderValue = HeaderValue::from_static(http::JSON);
    match &*TEXT {
        Ok(text) => Ok(([(header::CONTENT_TYPE, TYPE)], text.as_str()).into_response()),
        Err(error) => Err(Problem::internal(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1` writes the file anew.
    #[test]
    fn the_description_in_docs_is_that_of_the_sources() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let now = TEXT.as_ref().unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, now).unwrap();
        }
        assert_eq!(&std::fs::read_to_string(file).unwrap(), now, "run with UPDATE=1");
    }

    /// Clients are generated from it: what it says of a path must be all that the path can do.
    #[test]
    fn it_has_every_path_and_status() {
        let text = TEXT.as_ref().unwrap();
        let described: Value = serde_json::from_str(text).unwrap();
        assert!(described["openapi"].as_str().unwrap().starts_with("3.1"));
        let store = &described["paths"]["/v1/workspaces/{workspace}/stores/{store}"];
        let methods: Vec<&String> = store.as_object().unwrap().keys().collect();
        assert_eq!(methods, ["delete", "get", "patch", "put"]);
        for status in ["200", "400", "401", "404", "408", "412", "413", "415", "422", "429", "503"]
        {
            assert!(store["patch"]["responses"][status].is_object(), "{status}");
        }
        for place in [PATCH_BODY, PATCH_OF_CHANGE] {
            let patch = described.pointer(place).unwrap();
            assert_eq!(*patch, json!({"$ref": "#/components/schemas/JsonPatch"}), "{place}");
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
