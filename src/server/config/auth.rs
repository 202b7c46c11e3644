//! Who is let in, as it stands in the configuration: `[auth]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;
use crate::ids::Secret;
use crate::server::auth::{AuthConfig, KeySource, Signing};

/// The claim that is read if the configuration names none.
const CLAIM: &str = "statehouse";

/// Every key of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthTable {
    #[serde(default)]
    algorithms: Vec<Signing>,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    claim: Option<String>,
    revoked_file: Option<PathBuf>,
}

impl AuthTable {
    pub(super) fn into_config(self) -> Result<AuthConfig, ConfigError> {
        let refuse =
            |message: &str| ConfigError::Value { key: "auth", message: message.to_owned() };
        let sources = [
            self.secret.map(KeySource::Secret),
            self.secret_file.map(KeySource::SecretFile),
            self.key_file.map(KeySource::PemFile),
            self.jwks_file.map(KeySource::JwksFile),
            self.jwks_url.map(KeySource::JwksUrl),
        ];
        let mut sources = sources.into_iter().flatten();
        let (Some(keys), None) = (sources.next(), sources.next()) else {
            let one = "it has one of secret, secret_file, key_file, jwks_file, jwks_url";
            return Err(refuse(one));
        };
        if self.algorithms.is_empty() {
            return Err(refuse("algorithms: name at least one of HS256, EdDSA, RS256"));
        }
        let secret = matches!(keys, KeySource::Secret(_) | KeySource::SecretFile(_));
        let fits = |signing: &Signing| (*signing == Signing::Hs256) == secret;
        if !self.algorithms.iter().all(fits) {
            return Err(refuse(
                "algorithms: a secret is for HS256 alone, public keys are for EdDSA and RS256",
            ));
        }
        let claim = self.claim.unwrap_or_else(|| CLAIM.to_owned());
        if let KeySource::JwksUrl(url) = &keys
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            return Err(refuse("jwks_url: it begins with https:// or http://"));
        }
        Ok(AuthConfig {
            signing: self.algorithms,
            keys,
            issuer: self.issuer,
            audience: self.audience,
            claim,
            revoked_file: self.revoked_file,
        })
    }
}
