//! The table of scalars: how a JSON scalar is written, and how an Automerge scalar reads.
//!
//! | JSON | written as | read from |
//! |---|---|---|
//! | integer | `Int`; `Uint` only above `i64::MAX` | `Int`, `Uint`, `Counter`, `Timestamp` (ms) |
//! | other number | `F64` | `F64`; NaN and the infinities read as `null` |
//! | string | `Str`, or a `Text` object where the policy says so | `Str`, `Text` |
//! | `true`, `false`, `null` | themselves | themselves |
//! | string (base64, RFC 4648) | - | `Bytes`, and scalars of types not known here |

use automerge::{ScalarValue, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::json::Json;

/// How a scalar reads as JSON.
pub(super) fn read_scalar(scalar: &ScalarValue) -> Json {
    match scalar {
        ScalarValue::Null => Json::Null,
        ScalarValue::Boolean(b) => Json::Bool(*b),
        ScalarValue::Int(i) | ScalarValue::Timestamp(i) => Json::Int(*i),
        ScalarValue::Counter(counter) => Json::Int(i64::from(counter)),
        ScalarValue::Uint(u) => read_uint(*u),
        ScalarValue::F64(f) => Json::from(*f),
        ScalarValue::Str(s) => Json::String(s.as_str().into()),
        ScalarValue::Bytes(bytes) | ScalarValue::Unknown { bytes, .. } => {
            Json::String(STANDARD.encode(bytes).into())
        }
    }
}

fn read_uint(value: u64) -> Json {
    i64::try_from(value).map_or(Json::Uint(value), Json::Int)
}

/// How a JSON scalar is written; `None` for arrays and objects.
pub(super) fn write_scalar(json: &Json) -> Option<ScalarValue> {
    match json {
        Json::Null => Some(ScalarValue::Null),
        Json::Bool(b) => Some(ScalarValue::Boolean(*b)),
        Json::Int(i) => Some(ScalarValue::Int(*i)),
        Json::Uint(u) => Some(ScalarValue::Uint(*u)),
        Json::Float(f) => Some(ScalarValue::F64(*f)),
        Json::String(s) => Some(ScalarValue::Str((&**s).into())),
        Json::Array(_) | Json::Object(_) => None,
    }
}

/// The value of a counter, if that is what stands there.
pub(super) fn counter(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Scalar(scalar) => match scalar.as_ref() {
            ScalarValue::Counter(counter) => Some(i64::from(counter)),
            _ => None,
        },
        Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_read_as_the_table_says() {
        let table = [
            (ScalarValue::Uint(7), Json::Int(7)),
            (ScalarValue::Uint(u64::MAX), Json::Uint(u64::MAX)),
            (ScalarValue::counter(-3), Json::Int(-3)),
            (ScalarValue::Timestamp(1_700_000_000_000), Json::Int(1_700_000_000_000)),
            (ScalarValue::F64(1.0), Json::Float(1.0)),
            (ScalarValue::F64(f64::NAN), Json::Null),
            (ScalarValue::F64(f64::NEG_INFINITY), Json::Null),
            (ScalarValue::Bytes(vec![1, 2, 255]), Json::String("AQL/".into())),
        ];
        for (scalar, json) in table {
            assert_eq!(read_scalar(&scalar), json, "{scalar:?}");
        }
    }
}
