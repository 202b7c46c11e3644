//! A token: a JWT (RFC 7519) in the compact form of a JWS (RFC 7515), read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Keys, Signing};
use super::revoked::is_name;
use super::strict::Strict;
use super::{AuthError, Pass};
use crate::ids::Millis;
use crate::json::Pointer;
use crate::limits;
use crate::workspace::{ANONYMOUS, Glob, Grant};

/// What a token has to say beside its signature.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) signing: Vec<Signing>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    /// The claim that holds what may be done.
    pub(super) claim: String,
}

/// A token that was taken apart; nothing in it is believed yet.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    signed: &'a str,
    signature: &'a str,
    claims: &'a str,
    signing: Signing,
    key: Option<String>,
}

/// What a grant looks like in a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantClaim {
    workspaces: Vec<String>,
    stores: Option<Vec<String>>,
    read: Option<bool>,
    write: Option<bool>,
    paths: Option<Vec<String>>,
}

impl Expected {
    /// Takes a token apart, as far as that needs no key.
    pub(super) fn open<'a>(&self, token: &'a str) -> Result<Parts<'a>, AuthError> {
        if token.len() > limits::AUTH_TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid("it is too long"));
        }
        let malformed = AuthError::Invalid("it is not a signed token");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed.clone())?;
        let (head, claims) = signed.split_once('.').ok_or_else(|| malformed.clone())?;
        if claims.contains('.') || signature.is_empty() {
            return Err(malformed);
        }
        let head = object(head)?;
        // An extension that changes what the signature means (RFC 7515, section 4.1.11).
        if head.contains_key("crit") {
            return Err(AuthError::Invalid("it asks for what is not known here"));
        }
        let of_type = |kind: &Value| {
            let kind = kind.as_str().unwrap_or_default();
            kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt")
        };
        if !head.get("typ").is_none_or(of_type) {
            return Err(AuthError::Invalid("it is of another type"));
        }
        let named = head.get("alg").and_then(Value::as_str).unwrap_or_default();
        let signing = self.signing.iter().find(|signing| signing.name() == named);
        let signing = *signing.ok_or(AuthError::Invalid("its algorithm is not taken here"))?;
        let key = match head.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(malformed),
        };
        Ok(Parts { signed, signature, claims, signing, key })
    }

    /// What a token gives that was signed by one of these keys; `None`: its key is not among them.
    pub(super) fn check(
        &self,
        parts: &Parts<'_>,
        keys: &Keys,
        now: Millis,
    ) -> Option<Result<Pass, AuthError>> {
        let Parts { signed, signature, claims, signing, key } = parts;
        if !keys.check(key.as_deref(), *signing, signed, signature)? {
            return Some(Err(AuthError::Invalid("its signature is wrong")));
        }
        Some(object(claims).and_then(|claims| self.read(&claims, now)))
    }

    fn read(&self, claims: &Map<String, Value>, now: Millis) -> Result<Pass, AuthError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if let Some(issuer) = &self.issuer
            && text("iss") != Some(issuer)
        {
            return Err(AuthError::Invalid("it is from another issuer"));
        }
        if !self.is_meant(claims.get("aud")) {
            return Err(AuthError::Invalid("it is for another audience"));
        }
        let Some(Some(expires)) = claims.get("exp").map(time) else {
            return Err(AuthError::Invalid("it has no time to expire"));
        };
        let expires = Millis(expires.0.saturating_add(limits::AUTH_LEEWAY_MS));
        if expires <= now {
            return Err(AuthError::Expired);
        }
        let late = now.0.saturating_add(limits::AUTH_LEEWAY_MS);
        match claims.get("nbf").map(time) {
            None => {}
            Some(Some(from)) if from.0 <= late => {}
            Some(_) => return Err(AuthError::Invalid("it does not count yet")),
        }
        let user = text("sub").filter(|user| is_user(user));
        let user = user.ok_or(AuthError::Invalid("it names no user"))?.into();
        let id = match claims.get("jti") {
            None => None,
            Some(Value::String(id)) if is_name(id) => Some(id.as_str().into()),
            // One that the list of the revoked cannot hold could never be taken back.
            Some(Value::String(_)) => {
                return Err(AuthError::Invalid("its id is not one that can be revoked"));
            }
            Some(_) => return Err(AuthError::Invalid("its id is no text")),
        };
        let grants = claims.get(&self.claim).map_or(Ok(Vec::new()), grants)?;
        // Of one that does not say when it was made, nothing is assumed.
        let made = claims.get("iat").and_then(time);
        Ok(Pass { user, id, made, expires, grants: grants.into() })
    }

    /// A token for somebody else is for nobody here (RFC 7519, section 4.1.3).
    fn is_meant(&self, claimed: Option<&Value>) -> bool {
        let is_us = |one: &Value| one.as_str() == self.audience.as_deref();
        match (claimed, &self.audience) {
            (None, audience) => audience.is_none(),
            (Some(_), None) => false,
            (Some(Value::Array(several)), Some(_)) => several.iter().any(is_us),
            (Some(one), Some(_)) => one.is_string() && is_us(one),
        }
    }
}

/// A part of a token that holds an object.
fn object(part: &str) -> Result<Map<String, Value>, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|_not_base64| AuthError::Invalid("it is not base64url"))?;
    match serde_json::from_slice(&bytes) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        Ok(_) | Err(_) => Err(AuthError::Invalid("it does not hold what a token holds")),
    }
}

/// Seconds since 1970, also with a fraction (RFC 7519, section 2).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and `as` saturates"
)]
fn time(value: &Value) -> Option<Millis> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    Some(Millis((seconds * 1_000.0) as u64))
}

/// Whether a user may be called so: not as the server calls itself and those without a name.
fn is_user(name: &str) -> bool {
    let reserved = ["server", "container", ANONYMOUS];
    (1..=limits::AUTH_USER_BYTES_MAX).contains(&name.len())
        && !reserved.contains(&name)
        && !name.chars().any(char::is_control)
}

/// What may be done, and where. What is not understood in it, nothing is granted for.
fn grants(claim: &Value) -> Result<Vec<(Vec<Glob>, Grant)>, AuthError> {
    let wrong = || AuthError::Invalid("what it grants cannot be understood");
    let claims = Vec::<GrantClaim>::deserialize(claim).map_err(|_unknown| wrong())?;
    if claims.len() > limits::AUTH_GRANTS_MAX {
        return Err(wrong());
    }
    let globs = |texts: &[String]| -> Result<Vec<Glob>, AuthError> {
        if texts.len() > limits::AUTH_GRANTS_MAX {
            return Err(wrong());
        }
        let globs = texts.iter().map(|text| text.parse());
        globs.collect::<Result<_, _>>().map_err(|_no_glob| wrong())
    };
    let path = |text: &String| text.parse::<Pointer>().map_err(|_no_path| wrong());
    let grant = |claim: GrantClaim| {
        let GrantClaim { workspaces, stores, read, write, paths } = claim;
        let every = || vec!["*".to_owned()];
        if paths.as_ref().is_some_and(|paths| paths.len() > limits::AUTH_GRANTS_MAX) {
            return Err(wrong());
        }
        let paths = paths.map(|paths| paths.iter().map(path).collect::<Result<Vec<_>, _>>());
        let grant = Grant {
            stores: globs(&stores.unwrap_or_else(every))?,
            read: read.unwrap_or(true),
            write: write.unwrap_or(false),
            paths: paths.transpose()?,
        };
        Ok((globs(&workspaces)?, grant))
    };
    claims.into_iter().map(grant).collect()
}
