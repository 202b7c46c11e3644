//! The keys that tokens are signed with, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;

use crate::ids::Secret;
use crate::limits;

/// How a token may be signed. A key is for one of them, whatever a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Signing {
    /// HMAC with SHA-256 (RFC 7518, section 3.2): the same secret signs and checks.
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA PKCS #1 1.5 with SHA-256 (RFC 7518, section 3.3).
    #[serde(rename = "RS256")]
    Rs256,
}

impl Signing {
    /// Its name in the head of a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }
}

/// Where the keys are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A secret, as it stands in the configuration.
    Secret(Secret),
    /// A file that holds only the secret.
    SecretFile(PathBuf),
    /// A file with one public key as PEM.
    PemFile(PathBuf),
    /// A file with a set of public keys (RFC 7517); read again when a token names another one.
    JwksFile(PathBuf),
    /// The same at an address.
    JwksUrl(String),
}

/// One key.
struct Key {
    id: Option<String>,
    signing: Signing,
    check: DecodingKey,
}

/// The keys at one time.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// What is there without asking anybody; of a set at an address, nothing.
    pub(super) fn at_hand(source: &KeySource, allowed: &[Signing]) -> Result<Self, String> {
        match source {
            KeySource::Secret(secret) => Self::of_secret(secret.expose().as_bytes()),
            KeySource::SecretFile(path) => {
                Self::of_secret(read(path)?.trim_ascii_end()).map_err(|error| at(path, &error))
            }
            KeySource::PemFile(path) => {
                Self::of_pem(&read(path)?, allowed).map_err(|error| at(path, &error))
            }
            KeySource::JwksFile(path) => {
                Self::of_set(&read(path)?, allowed).map_err(|error| at(path, &error))
            }
            KeySource::JwksUrl(_) => Ok(Self::default()),
        }
    }

    fn of_secret(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < limits::AUTH_SECRET_BYTES_MIN {
            let least = limits::AUTH_SECRET_BYTES_MIN;
            return Err(format!("a secret for HS256 has at least {least} bytes"));
        }
        let key = DecodingKey::from_secret(secret);
        Ok(Self(vec![Key { id: None, signing: Signing::Hs256, check: key }]))
    }

    fn of_pem(pem: &[u8], allowed: &[Signing]) -> Result<Self, String> {
        let read = |signing| {
            let key = match signing {
                Signing::EdDsa => DecodingKey::from_ed_pem(pem),
                Signing::Rs256 => DecodingKey::from_rsa_pem(pem),
                Signing::Hs256 => return None,
            };
            key.ok().map(|check| Key { id: None, signing, check })
        };
        let keys: Vec<Key> = allowed.iter().copied().filter_map(read).collect();
        if keys.is_empty() {
            return Err("it holds no public key for these algorithms".to_owned());
        }
        Ok(Self(keys))
    }

    /// The keys of a set (RFC 7517, section 5) that can be used; others are passed over.
    pub(super) fn of_set(text: &[u8], allowed: &[Signing]) -> Result<Self, String> {
        let set: JwkSet =
            serde_json::from_slice(text).map_err(|error| format!("it is no key set: {error}"))?;
        if set.keys.len() > limits::AUTH_KEYS_MAX {
            return Err(format!("it has more than {} keys", limits::AUTH_KEYS_MAX));
        }
        let keys = set.keys.iter().filter_map(Key::of_jwk);
        Ok(Self(keys.filter(|key| allowed.contains(&key.signing)).collect()))
    }

    /// Whether a token that names this key, or none, could be checked. A token without a name is
    /// checked with the only key for its algorithm.
    fn find(&self, id: Option<&str>, signing: Signing) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| {
            // A key without a name is the one there is: a token may call it what it likes.
            let named = id.zip(key.id.as_deref()).is_none_or(|(id, key)| id == key);
            named && key.signing == signing
        });
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }

    /// Whether the signature is one of the named key over these bytes; `None`: there is no such
    /// key.
    pub(super) fn check(
        &self,
        id: Option<&str>,
        signing: Signing,
        signed: &str,
        signature: &str,
    ) -> Option<bool> {
        let key = self.find(id, signing)?;
        let checked = crypto::verify(signature, signed.as_bytes(), &key.check, signing.algorithm());
        Some(checked.unwrap_or(false))
    }
}

impl Key {
    /// A public key that is meant for signatures. A secret has no place in a set: whoever may read
    /// the set could sign.
    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let signing = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Signing::Rs256,
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Signing::EdDsa
            }
            _ => return None,
        };
        let meant = match jwk.common.key_algorithm {
            None => true,
            Some(KeyAlgorithm::RS256) => signing == Signing::Rs256,
            Some(KeyAlgorithm::EdDSA) => signing == Signing::EdDsa,
            Some(_) => false,
        };
        let usage = jwk.common.public_key_use.as_ref();
        let signs = usage.is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let check = DecodingKey::from_jwk(jwk).ok().filter(|_| meant && signs)?;
        Some(Self { id: jwk.common.key_id.clone(), signing, check })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| at(path, &error.to_string()))?.len();
    if size > limits::AUTH_FILE_BYTES_MAX {
        return Err(at(path, "it is too large"));
    }
    std::fs::read(path).map_err(|error| at(path, &error.to_string()))
}

fn at(path: &Path, error: &str) -> String {
    format!("{}: {error}", path.display())
}
