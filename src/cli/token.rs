//! `token`: making a token, and looking into one.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use statehouse::hub::clock;
use statehouse::ids::Secret;
use statehouse::json::Pointer;
use statehouse::limits;
use statehouse::workspace::Glob;

use super::admin::Admin;
use super::{Failure, output, parse_pointer};

/// Arguments of `token`.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a new token.
    New(Box<New>),
    /// Take back a token, or those of a user: the server lets them in no more, and sends away who
    /// is in with them.
    Revoke(Revoke),
    /// Print what a token says. Whether it is true, only a server knows.
    Inspect(Inspect),
}

/// Arguments of `token new`.
#[derive(Debug, Args)]
struct New {
    /// The secret of the server, for HS256: a file that holds only that
    #[arg(long, value_name = "FILE", required_unless_present = "key_file")]
    secret_file: Option<PathBuf>,
    /// An Ed25519 private key as PEM (PKCS #8), for `EdDSA`; the server has the public one
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    key_file: Option<PathBuf>,
    /// Who shows it
    #[arg(long, value_name = "USER")]
    sub: String,
    /// In which workspaces it counts; a star stands for any part of a name
    #[arg(long = "workspace", value_name = "NAME", required = true)]
    workspaces: Vec<Glob>,
    /// For which stores in them
    #[arg(long = "store", value_name = "NAME", default_value = "*")]
    stores: Vec<Glob>,
    /// Nothing may be changed
    #[arg(long)]
    read_only: bool,
    /// Only this place in them and below, in plain JSON, for example /notes/*/body
    #[arg(long = "path", value_name = "POINTER", value_parser = parse_pointer)]
    paths: Vec<Pointer>,
    /// How long it counts: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_seconds)]
    ttl: u64,
    /// Who made it
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// For which server
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// The claim in which the server looks for what may be done
    #[arg(long, value_name = "NAME", default_value = "statehouse")]
    claim: String,
    /// The name of the token, by which it can be revoked [default: a random one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
struct Revoke {
    /// The token of this id
    #[arg(long, value_name = "ID", required_unless_present = "sub", conflicts_with = "sub")]
    jti: Option<String>,
    /// All tokens of this user
    #[arg(long, value_name = "USER")]
    sub: Option<String>,
    /// Only those that were made up to then: seconds since 1970, or "now"
    #[arg(long, value_name = "TIME", requires = "sub", value_parser = parse_moment)]
    up_to: Option<u64>,
    #[command(flatten)]
    admin: Admin,
}

/// Arguments of `token inspect`.
#[derive(Debug, Args)]
struct Inspect {
    /// The token
    #[arg(value_name = "TOKEN", env = "STATEHOUSE_TOKEN", hide_env_values = true)]
    token: Secret,
}

#[derive(Serialize)]
struct GrantClaim {
    workspaces: Vec<String>,
    stores: Vec<String>,
    read: bool,
    write: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<String>>,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::New(new) => output::print(&new.token()?),
            What::Revoke(revoke) => revoke.run(),
            What::Inspect(inspect) => inspect.run(),
        }
    }
}

impl New {
    fn token(&self) -> Result<String, Failure> {
        let (algorithm, key) = self.key()?;
        let texts = |globs: &[Glob]| globs.iter().map(ToString::to_string).collect();
        let paths = self.paths.iter().map(ToString::to_string).collect();
        let grant = GrantClaim {
            workspaces: texts(&self.workspaces),
            stores: texts(&self.stores),
            read: true,
            write: !self.read_only,
            paths: (!self.paths.is_empty()).then_some(paths),
        };
        let now = clock::now().0 / 1_000;
        let id = self.id.clone().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let mut claims = serde_json::Map::new();
        let optional = [("iss", &self.issuer), ("aud", &self.audience)];
        let named = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        claims.extend(named.map(|(name, value)| (name.to_owned(), Value::from(value.as_str()))));
        claims.insert("sub".to_owned(), self.sub.as_str().into());
        claims.insert("jti".to_owned(), id.into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), now.saturating_add(self.ttl).into());
        let grants = serde_json::to_value([grant]);
        let grants = grants.map_err(|error| Failure::Failed(error.to_string()))?;
        claims.insert(self.claim.clone(), grants);
        encode(&Header::new(algorithm), &claims, &key)
            .map_err(|error| Failure::Failed(format!("cannot sign the token: {error}")))
    }

    fn key(&self) -> Result<(Algorithm, EncodingKey), Failure> {
        let read = |path: &Path| {
            let read = std::fs::read(path);
            read.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
        };
        if let Some(path) = &self.key_file {
            let wrong = |_error| {
                Failure::Usage(format!("{}: it is no Ed25519 private key", path.display()))
            };
            return Ok((Algorithm::EdDSA, EncodingKey::from_ed_pem(&read(path)?).map_err(wrong)?));
        }
        let path = self.secret_file.as_deref().unwrap_or(Path::new(""));
        let secret = read(path)?;
        let secret = secret.trim_ascii_end();
        if secret.len() < limits::AUTH_SECRET_BYTES_MIN {
            let least = limits::AUTH_SECRET_BYTES_MIN;
            let short = format!("{}: a secret has at least {least} bytes", path.display());
            return Err(Failure::Usage(short));
        }
        Ok((Algorithm::HS256, EncodingKey::from_secret(secret)))
    }
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        let Self { jti, sub, up_to, admin } = self;
        let members = [("jti", jti.map(Value::from)), ("sub", sub.map(Value::from))];
        let members = members.into_iter().chain([("up_to", up_to.map(Value::from))]);
        let body: Value =
            members.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        admin.ask(Method::POST, "/revoke", Some(&body))
    }
}

impl Inspect {
    fn run(&self) -> Result<(), Failure> {
        let mut parts = self.token.expose().split('.');
        let mut part = || {
            let bytes = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok()
        };
        let (Some(head), Some(claims)) = (part(), part()) else {
            return Err(Failure::Usage("it is not a token".to_owned()));
        };
        output::print_pretty(&serde_json::json!({ "head": head, "claims": claims }))
    }
}

/// A moment in seconds since 1970.
fn parse_moment(text: &str) -> Result<u64, String> {
    if text == "now" {
        return Ok(clock::now().0 / 1_000);
    }
    text.parse().map_err(|_error| "expected seconds since 1970, or now".to_owned())
}

/// A time as a number and its unit, in seconds.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let expected = || "expected a number and s, m, h or d, for example 90m".to_owned();
    let (number, unit) = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| Some((text.get(..at)?, unit)))
        .ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_error| expected())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(expected()),
    };
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(parse_seconds("90s"), Ok(90));
        assert_eq!(parse_seconds("2m"), Ok(120));
        assert_eq!(parse_seconds("1h"), Ok(3_600));
        assert_eq!(parse_seconds("7d"), Ok(604_800));
        for bad in ["", "h", "1", "1w", "-1h", "0s", "1.5h", "99999999999999999d", "1й"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
