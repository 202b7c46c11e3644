//! JSON Schema as the rules of a store (draft 2020-12, or the older one that `$schema` names).

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::Gate;
use crate::document::Breach;
use crate::json::{Json, Key, Pointer};

/// Why a schema is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Another document is referred to: nothing is fetched, neither from the network nor from the
    /// disk.
    #[error("{0}: a schema refers to itself only, or to what it holds under $defs")]
    Elsewhere(String),
    /// It is not a schema.
    #[error("{0}")]
    Invalid(String),
}

/// A compiled JSON Schema. Everything that it refers to is in it.
///
/// `format` says nothing that counts, except in the drafts in which it does; `pattern` is matched
/// in linear time, so it has neither look-around nor back-references.
#[derive(Debug)]
pub struct JsonSchema {
    validator: Validator,
}

impl JsonSchema {
    /// Compiles a schema.
    pub fn compile(schema: &Json) -> Result<Self, SchemaError> {
        let schema = Value::from(schema);
        let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| refused(&error))?;
        Ok(Self { validator })
    }
}

impl Gate for JsonSchema {
    fn breaches(&self, state: &Json) -> Vec<Breach> {
        let state = Value::from(state);
        if self.validator.is_valid(&state) {
            return Vec::new();
        }
        self.validator.iter_errors(&state).flat_map(|error| breaches_of(&error)).collect()
    }
}

fn refused(error: &ValidationError<'_>) -> SchemaError {
    match error.kind() {
        ValidationErrorKind::Referencing(error) => SchemaError::Elsewhere(error.to_string()),
        // What is looked at here is the schema itself.
        _ => SchemaError::Invalid(format!("{}: {error}", error.instance_path())),
    }
}

/// One for each member, where one error names several.
fn breaches_of(error: &ValidationError<'_>) -> Vec<Breach> {
    let members: Vec<Option<Key>> = match error.kind() {
        ValidationErrorKind::Required { property } => {
            vec![property.as_str().map(Key::from)]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected }
            if !unexpected.is_empty() =>
        {
            unexpected.iter().map(|name| Some(Key::from(name.as_str()))).collect()
        }
        _ => vec![None],
    };
    // Of a place that no pointer names, the whole is at fault.
    let place = Pointer::parse(error.instance_path().as_str()).unwrap_or_default();
    let said = said(error);
    let rule = error.evaluation_path().as_str();
    let breach = |member| Breach {
        place: place.clone(),
        member,
        rule: rule.into(),
        said: said.as_str().into(),
    };
    members.into_iter().map(breach).collect()
}

/// What is wrong, in words that name no member: who reads this may see one of them, and not the
/// others.
fn said(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { .. }
        | ValidationErrorKind::UnevaluatedProperties { .. } => {
            "a member is there that may not be".to_owned()
        }
        ValidationErrorKind::PropertyNames { .. } => {
            "a member has a name that it may not have".to_owned()
        }
        _ => error.masked().to_string(),
    }
}
