//! Tokens, good and bad; tickets; and a clock that is turned by hand.

use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use futures_executor::block_on;
use futures_util::future::BoxFuture;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::*;
use crate::hub::host::Work;
use crate::workspace::View;

const SECRET: &str = "the secret of these tests, long enough for HS256";
const ED_PRIVATE: &[u8] = include_bytes!("../../../tests/keys/ed25519.pem");
const ED_OTHER: &[u8] = include_bytes!("../../../tests/keys/ed25519-other.pem");
const ED_PUBLIC: &[u8] = include_bytes!("../../../tests/keys/ed25519.pub.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("../../../tests/keys/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../../tests/keys/rsa.pub.pem");
/// The time at which everything happens, in seconds.
const NOW: u64 = 1_800_000_000;

/// A machine whose clock is turned by hand, and whose chance counts.
#[derive(Debug)]
struct Clock {
    now: AtomicU64,
    drawn: AtomicU64,
}

impl Clock {
    fn at(seconds: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(seconds * 1_000), drawn: AtomicU64::new(0) })
    }

    fn set(&self, ms: u64) {
        self.now.store(ms, Ordering::Relaxed);
    }
}

impl Host for Clock {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::Relaxed))
    }

    fn random(&self) -> [u8; 16] {
        u128::from(self.drawn.fetch_add(1, Ordering::Relaxed)).to_be_bytes()
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) {
        drop(writer);
    }

    fn run_blocking(&self, work: Work) {
        work();
    }
}

fn config(signing: Signing, keys: KeySource) -> AuthConfig {
    AuthConfig {
        signing: vec![signing],
        keys,
        issuer: Some("us".to_owned()),
        audience: Some("here".to_owned()),
        claim: "statehouse".to_owned(),
        revoked_file: None,
    }
}

fn with_secret() -> AuthConfig {
    config(Signing::Hs256, KeySource::Secret(Secret::new(SECRET)))
}

fn open(config: &AuthConfig) -> (Arc<Auth>, Arc<Clock>) {
    let clock = Clock::at(NOW);
    let host: Arc<dyn Host> = Arc::<Clock>::clone(&clock);
    (Arc::new(Auth::open(config, host).unwrap()), clock)
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn encode(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Signs whatever is given.
fn sign_text(head: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let signed = format!("{}.{}", encode(head), encode(claims));
    let signature = crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

/// Signs these with the secret.
fn sign(head: &Value, claims: &Value) -> String {
    sign_text(&head.to_string(), &claims.to_string(), &secret(), Algorithm::HS256)
}

fn head() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn good() -> Value {
    json!({
        "sub": "ann", "iss": "us", "aud": "here", "exp": NOW + 60, "nbf": NOW - 60, "iat": NOW,
        "jti": "one", "statehouse": [{"workspaces": ["acme"], "stores": ["notes*"]}],
    })
}

/// The good claims with this one changed; null takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    claims
}

fn judge(auth: &Auth, token: &str) -> Result<String, AuthError> {
    block_on(auth.check(&Secret::new(token))).map(|pass| pass.user.to_string())
}

#[test]
fn good_tokens_are_taken() {
    let (auth, _) = open(&with_secret());
    let ann = || Ok("ann".to_owned());
    for claims in [
        good(),
        with("nbf", Value::Null),
        with("jti", Value::Null),
        with("statehouse", Value::Null),
        with("aud", json!(["there", "here"])),
        with("exp", json!(1_800_000_000.5)),
        with("exp", json!(NOW - 4)),
        with("nbf", json!(NOW + 4)),
        with("exp", json!(u64::MAX)),
        with("other", json!({"deep": [1, {"a": null}]})),
    ] {
        assert_eq!(judge(&auth, &sign(&head(), &claims)), ann(), "{claims}");
    }
    for head in [
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "typ": "at+jwt", "kid": "any"}),
        json!({"alg": "HS256", "typ": "jwt", "x": 1}),
    ] {
        assert_eq!(judge(&auth, &sign(&head, &good())), ann(), "{head}");
    }
}

fn unrevokable() -> AuthError {
    AuthError::Invalid("its id is not one that can be revoked")
}

/// Tokens whose claims are wrong although the signature is right.
#[test]
fn tokens_that_say_something_else_are_refused() {
    let (auth, _) = open(&with_secret());
    for (claims, why) in [
        (with("exp", json!(NOW - 6)), AuthError::Expired),
        (with("exp", json!(0)), AuthError::Expired),
        (with("exp", Value::Null), AuthError::Invalid("it has no time to expire")),
        (with("exp", json!("2099")), AuthError::Invalid("it has no time to expire")),
        (with("exp", json!(-1)), AuthError::Invalid("it has no time to expire")),
        (with("nbf", json!(NOW + 6)), AuthError::Invalid("it does not count yet")),
        (with("nbf", json!("0")), AuthError::Invalid("it does not count yet")),
        (with("iss", json!("them")), AuthError::Invalid("it is from another issuer")),
        (with("iss", Value::Null), AuthError::Invalid("it is from another issuer")),
        (with("iss", json!(["us"])), AuthError::Invalid("it is from another issuer")),
        (with("aud", json!("there")), AuthError::Invalid("it is for another audience")),
        (with("aud", json!([])), AuthError::Invalid("it is for another audience")),
        (with("aud", json!({})), AuthError::Invalid("it is for another audience")),
        (with("aud", Value::Null), AuthError::Invalid("it is for another audience")),
        (with("sub", Value::Null), AuthError::Invalid("it names no user")),
        (with("sub", json!("")), AuthError::Invalid("it names no user")),
        (with("sub", json!(7)), AuthError::Invalid("it names no user")),
        (with("sub", json!("a\nb")), AuthError::Invalid("it names no user")),
        (with("sub", json!("server")), AuthError::Invalid("it names no user")),
        (with("sub", json!("container")), AuthError::Invalid("it names no user")),
        (with("sub", json!("anonymous")), AuthError::Invalid("it names no user")),
        (with("sub", json!("x".repeat(257))), AuthError::Invalid("it names no user")),
        (with("jti", json!(1)), AuthError::Invalid("its id is no text")),
        (with("jti", json!("")), unrevokable()),
        (with("jti", json!(" one")), unrevokable()),
        (with("jti", json!("a\nb")), unrevokable()),
        (with("jti", json!("x".repeat(257))), unrevokable()),
    ] {
        assert_eq!(judge(&auth, &sign(&head(), &claims)), Err(why), "{claims}");
    }
}

/// A grant that is not understood is none, and then the whole token is none: whoever signed it
/// meant something.
#[test]
fn grants_that_cannot_be_understood_are_refused() {
    let (auth, _) = open(&with_secret());
    let many = vec![json!({"workspaces": ["a"]}); 65];
    for grants in [
        json!("all"),
        json!({}),
        json!([{}]),
        json!([{"workspaces": "acme"}]),
        json!([{"workspaces": ["a/b"]}]),
        json!([{"workspaces": ["acme"], "store": ["x"]}]),
        json!([{"workspaces": ["acme"], "stores": ["?"]}]),
        json!([{"workspaces": ["acme"], "write": "yes"}]),
        json!([{"workspaces": ["acme"], "paths": ["a"]}]),
        json!([{"workspaces": ["acme"], "paths": vec!["/a"; 65]}]),
        json!([{"workspaces": vec!["a"; 65]}]),
        json!(many),
    ] {
        let claims = with("statehouse", grants);
        let why = AuthError::Invalid("what it grants cannot be understood");
        assert_eq!(judge(&auth, &sign(&head(), &claims)), Err(why), "{claims}");
    }
}

/// Tokens whose form or head is wrong, or that are signed by somebody else.
#[test]
fn tokens_that_are_none_are_refused() {
    let (auth, _) = open(&with_secret());
    let token = sign(&head(), &good());
    let [first, second, third] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let text = |head: &str, claims: &str| sign_text(head, claims, &secret(), Algorithm::HS256);
    let (plain, claims) = (head().to_string(), good().to_string());
    let twice = |member: &str| format!("{{{member},{}", claims.trim_start_matches('{'));
    let deep = format!(r#"{{"alg":"HS256","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let other = EncodingKey::from_secret(b"another secret, which is long enough as well");
    let mut bad = vec![
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        first.to_owned(),
        format!("{first}.{second}"),
        format!("{first}.{second}."),
        format!("{first}.{second}.{third}.{third}"),
        format!(".{second}.{third}"),
        format!("{first}..{third}"),
        format!("{token}A"),
        format!("{token}="),
        format!(" {token}"),
        token.chars().take(token.len() - 2).collect(),
        format!("{first}.{}.{third}", encode(&with("sub", json!("bob")).to_string())),
        format!("{}.{second}.{third}", STANDARD.encode(&plain).replace('=', "") + "+/"),
        format!("{}.{second}.{third}", URL_SAFE.encode(plain.clone() + " ")),
        sign_text(&plain, &claims, &other, Algorithm::HS256),
        sign_text(&plain, &claims, &secret(), Algorithm::HS384),
        text("", &claims),
        text("[]", &claims),
        text("{}", &claims),
        text(&plain, "[]"),
        text(&plain, "null"),
        text(&plain, ""),
        text(&plain, &format!("{claims} x")),
        text(&plain, claims.trim_end_matches('}')),
        text(&deep, &claims),
        text(r#"{"alg":"HS256","alg":"HS256"}"#, &claims),
        text(r#"{"alg":"HS256","crit":[]}"#, &claims),
        text(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims),
        text(r#"{"alg":"HS256","typ":"JWE"}"#, &claims),
        text(r#"{"alg":"HS256","typ":7}"#, &claims),
        text(r#"{"alg":"HS256","kid":7}"#, &claims),
        text(&plain, &twice(r#""sub":"bob""#)),
        text(&plain, &twice(r#""exp":9999999999"#)),
        text(&plain, &twice(r#""x":{"a":1,"a":2}"#)),
        sign(&head(), &with("pad", json!("x".repeat(8 << 10)))),
    ];
    for alg in ["none", "None", "NONE", "", "hs256", "HS384", "HS512", "RS256", "EdDSA", "ES256"] {
        bad.push(sign(&json!({"alg": alg}), &good()));
        bad.push(format!("{}.{second}.", encode(&json!({"alg": alg}).to_string())));
    }
    assert_eq!(judge(&auth, &token), Ok("ann".to_owned()));
    for token in &bad {
        let answer = judge(&auth, token);
        assert!(matches!(answer, Err(AuthError::Invalid(_))), "{token}: {answer:?}");
        let said = format!("{:?} {}", answer, answer.as_ref().unwrap_err());
        let end = token.len().checked_sub(9).and_then(|at| token.get(at..));
        assert!(!end.is_some_and(|end| said.contains(end)), "{said}");
    }
}

/// The oldest trick: the public key, which everybody has, as the secret of an HMAC.
#[test]
fn a_public_key_is_no_secret() {
    for (signing, public, algorithm, private) in [
        (
            Signing::Rs256,
            RSA_PUBLIC,
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap(),
        ),
        (
            Signing::EdDsa,
            ED_PUBLIC,
            Algorithm::EdDSA,
            EncodingKey::from_ed_pem(ED_PRIVATE).unwrap(),
        ),
    ] {
        let (_folder, path) = file("key.pem", public);
        let (auth, _) = open(&config(signing, KeySource::PemFile(path)));
        let claims = good().to_string();
        let head = |alg: &str| json!({"alg": alg}).to_string();
        let token = sign_text(&head(signing.name()), &claims, &private, algorithm);
        assert_eq!(judge(&auth, &token), Ok("ann".to_owned()));
        let forged = EncodingKey::from_secret(public);
        for alg in ["HS256", signing.name()] {
            let token = sign_text(&head(alg), &claims, &forged, Algorithm::HS256);
            assert!(judge(&auth, &token).is_err(), "{alg}");
        }
        let other = EncodingKey::from_ed_pem(ED_OTHER).unwrap();
        let token = sign_text(&head(signing.name()), &claims, &other, Algorithm::EdDSA);
        assert!(judge(&auth, &token).is_err());
    }
}

/// The public key as a member of a set, under this name.
fn named(id: &str, more: Value) -> Value {
    // The last 32 bytes of the DER are the key (RFC 8410).
    let text = std::str::from_utf8(ED_PUBLIC).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
    let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id});
    let Value::Object(more) = more else { panic!("members") };
    key.as_object_mut().unwrap().extend(more);
    key
}

/// A token that is signed by the key of this name.
fn signed_by(id: &str) -> String {
    let private = EncodingKey::from_ed_pem(ED_PRIVATE).unwrap();
    let head = json!({"alg": "EdDSA", "kid": id}).to_string();
    sign_text(&head, &good().to_string(), &private, Algorithm::EdDSA)
}

/// Sets of keys: by name, for their own algorithm and use, and no secrets.
#[test]
fn a_key_of_a_set_is_found_by_its_name() {
    let oct = json!({"kty": "oct", "kid": "oct", "k": encode(SECRET), "alg": "HS256"});
    let keys = json!({"keys": [
        named("a", json!({})), named("for encryption", json!({"use": "enc"})),
        named("for another", json!({"alg": "RS256"})), oct,
    ]});
    let (_folder, path) = file("keys.json", keys.to_string().as_bytes());
    let mut config = config(Signing::EdDsa, KeySource::JwksFile(path));
    config.signing.push(Signing::Rs256);
    let (auth, _) = open(&config);
    // The set is not asked for again.
    auth.asked.store(NOW * 1_000, Ordering::Relaxed);
    let private = EncodingKey::from_ed_pem(ED_PRIVATE).unwrap();
    let token =
        |head: Value| sign_text(&head.to_string(), &good().to_string(), &private, Algorithm::EdDSA);
    let ann = Ok("ann".to_owned());
    assert_eq!(judge(&auth, &token(json!({"alg": "EdDSA", "kid": "a"}))), ann);
    assert_eq!(judge(&auth, &token(json!({"alg": "EdDSA"}))), ann, "there is only one");
    for id in ["b", "", "for encryption", "for another", "oct"] {
        let unknown = Err(AuthError::Invalid("its key is not known"));
        assert_eq!(judge(&auth, &token(json!({"alg": "EdDSA", "kid": id}))), unknown, "{id}");
    }
    let hmac = sign(&json!({"alg": "HS256", "kid": "oct"}), &good());
    assert!(judge(&auth, &hmac).is_err());
    assert!(judge(&auth, &token(json!({"alg": "RS256", "kid": "a"}))).is_err());
}

#[test]
fn a_token_gives_what_it_says_and_where() {
    let (auth, _) = open(&with_secret());
    let grants = json!([
        {"workspaces": ["acme", "team-*"], "stores": ["notes*"], "write": true},
        {"workspaces": ["acme"], "stores": ["log"], "paths": ["/public"]},
        {"workspaces": ["*"], "stores": ["drop"], "read": false, "write": true},
    ]);
    let token = Credential::Token(Secret::new(&sign(&head(), &with("statehouse", grants))));
    let rights = |workspace: &str| {
        let admitted = block_on(auth.admit(&token, &workspace.parse().unwrap()));
        Rights::clone(admitted.unwrap().rights())
    };
    let store = |name: &str| name.parse().unwrap();
    let acme = rights("acme");
    assert!(acme.writes(&store("notes1")) && !acme.writes(&store("log")));
    assert_eq!(acme.reading(&store("log")), View::Parts(vec!["/public".parse().unwrap()]));
    assert!(!acme.reads(&store("drop")) && !acme.writes(&store("drop")));
    assert!(rights("team-1").writes(&store("notes")) && !rights("team-1").reads(&store("log")));
    assert!(!rights("other").reads(&store("notes")));
    let nothing = Credential::Token(Secret::new(&sign(&head(), &with("statehouse", json!([])))));
    let refused = block_on(auth.admit(&nothing, &"acme".parse().unwrap()));
    assert_eq!(refused.unwrap_err(), AuthError::Forbidden);
}

#[test]
fn a_token_counts_until_it_expires() {
    let (auth, clock) = open(&with_secret());
    let token = sign(&head(), &good());
    let expires = (NOW + 60) * 1_000 + limits::AUTH_LEEWAY_MS;
    clock.set(expires - 1);
    assert_eq!(judge(&auth, &token), Ok("ann".to_owned()));
    let guard =
        block_on(auth.admit(&Credential::Token(Secret::new(&token)), &"acme".parse().unwrap()));
    clock.set(expires);
    assert_eq!(judge(&auth, &token), Err(AuthError::Expired));
    assert_eq!(block_on(guard.unwrap().ended()), AuthError::Expired);
}

#[test]
fn a_ticket_lets_in_once_and_not_for_long() {
    let (auth, clock) = open(&with_secret());
    let workspace = "acme".parse().unwrap();
    let issue = || {
        let token = Secret::new(&sign(&head(), &with("exp", json!(NOW + 9_999))));
        block_on(auth.ticket(&token)).unwrap()
    };
    let redeem = |ticket: &Secret| {
        let admitted = block_on(auth.admit(&Credential::Ticket(ticket.clone()), &workspace));
        admitted.map(|guard| guard.user().to_string())
    };
    let ticket = issue();
    assert_eq!(ticket.expose().len(), 43, "32 bytes");
    assert_eq!(redeem(&ticket), Ok("ann".to_owned()));
    assert_eq!(redeem(&ticket), Err(AuthError::Invalid("the ticket is not valid")));
    // Shown in the wrong place it is gone, too.
    let ticket = issue();
    let elsewhere = "other".parse().unwrap();
    let refused = block_on(auth.admit(&Credential::Ticket(ticket.clone()), &elsewhere));
    assert_eq!(refused.unwrap_err(), AuthError::Forbidden);
    assert!(redeem(&ticket).is_err());
    let late = issue();
    clock.set(NOW * 1_000 + limits::TICKET_MS_MAX);
    assert!(redeem(&late).is_err());
    // One user cannot take the room of all others: his first ones go.
    let first = issue();
    let all: Vec<Secret> = (0..limits::TICKETS_PER_USER_MAX).map(|_| issue()).collect();
    assert!(redeem(&first).is_err());
    assert!(all.iter().all(|ticket| redeem(ticket).is_ok()));
    assert_eq!(format!("{ticket:?}"), "Secret(..)");
}

/// A ticket gives no more time than the token it came from.
#[test]
fn a_ticket_of_a_token_that_has_expired_is_none() {
    let (auth, clock) = open(&with_secret());
    let token = Secret::new(&sign(&head(), &with("exp", json!(NOW + 1))));
    let ticket = Credential::Ticket(block_on(auth.ticket(&token)).unwrap());
    clock.set((NOW + 1) * 1_000 + limits::AUTH_LEEWAY_MS);
    let admitted = block_on(auth.admit(&ticket, &"acme".parse().unwrap()));
    assert_eq!(admitted.unwrap_err(), AuthError::Expired);
}

#[test]
fn a_renewal_is_of_the_same_user() {
    let (auth, _) = open(&with_secret());
    let token = |user: &str| Secret::new(&sign(&head(), &with("sub", json!(user))));
    let workspace = "acme".parse().unwrap();
    let guard = block_on(auth.admit(&Credential::Token(token("ann")), &workspace)).unwrap();
    assert!(block_on(guard.renew(token("ann"))).is_ok());
    let refused = block_on(guard.renew(token("bob"))).unwrap_err();
    assert_eq!(refused, AuthError::Invalid("it names another user"));
}

#[test]
fn who_is_revoked_does_not_come_in() {
    let (_folder, path) = file("revoked", b"jti:one\nsub:eve\n");
    let (auth, _) = open(&AuthConfig { revoked_file: Some(path.clone()), ..with_secret() });
    assert_eq!(judge(&auth, &sign(&head(), &good())), Err(AuthError::Revoked));
    let eve = with("sub", json!("eve"));
    assert_eq!(judge(&auth, &sign(&head(), &eve)), Err(AuthError::Revoked));
    let two = sign(&head(), &with("jti", json!("two")));
    assert_eq!(judge(&auth, &two), Ok("ann".to_owned()));
    std::fs::write(&path, "jti:two").unwrap();
    block_on(auth.refresh_revoked());
    assert_eq!(judge(&auth, &two), Err(AuthError::Revoked));
    // A list that cannot be read does not let anybody in again.
    std::fs::write(&path, "nonsense").unwrap();
    block_on(auth.refresh_revoked());
    assert_eq!(judge(&auth, &two), Err(AuthError::Revoked));
}

#[test]
fn keys_that_are_none_keep_the_server_from_starting() {
    let refused = |config: &AuthConfig| Auth::open(config, Clock::at(NOW)).unwrap_err();
    let short = KeySource::Secret(Secret::new("too short"));
    assert!(refused(&config(Signing::Hs256, short)).contains("at least 32 bytes"));
    let (_folder, path) = file("key.pem", RSA_PUBLIC);
    let wrong = config(Signing::EdDsa, KeySource::PemFile(path));
    assert!(refused(&wrong).contains("no public key"));
    let absent = config(Signing::EdDsa, KeySource::JwksFile("/nonexistent/keys".into()));
    assert!(refused(&absent).contains("/nonexistent/keys"));
    let said = format!("{:?}", with_secret());
    assert!(!said.contains(SECRET), "{said}");
}

/// Answers requests for a set of keys, with what it is at the moment; counts them.
async fn serve_keys(keys: Arc<std::sync::Mutex<Option<Value>>>, asked: Arc<AtomicU64>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys.json", listener.local_addr().unwrap());
    let answer = move || {
        asked.fetch_add(1, Ordering::Relaxed);
        let keys = keys.lock().unwrap().clone();
        async move { keys.map(|keys| keys.to_string()).ok_or(StatusCode::BAD_GATEWAY) }
    };
    let routes = axum::Router::new().route("/keys.json", axum::routing::get(answer));
    drop(tokio::spawn(async move { axum::serve(listener, routes).await }));
    url
}

#[tokio::test]
async fn keys_at_an_address_are_asked_for_when_they_are_needed_and_not_more() {
    let set = |ids: &[&str]| {
        let keys: Vec<Value> = ids.iter().map(|id| named(id, json!({}))).collect();
        Some(json!({ "keys": keys }))
    };
    let served = Arc::new(std::sync::Mutex::new(set(&["a"])));
    let asked = Arc::new(AtomicU64::new(0));
    let url = serve_keys(Arc::clone(&served), Arc::clone(&asked)).await;
    let (auth, clock) = open(&config(Signing::EdDsa, KeySource::JwksUrl(url)));
    let keeping = tokio::spawn(Arc::clone(&auth).keep());
    let judge = async |id: &str| auth.check(&Secret::new(&signed_by(id))).await.map(|_pass| ());
    let unknown = Err(AuthError::Invalid("its key is not known"));
    assert_eq!(judge("a").await, Ok(()), "whoever comes first waits for the keys");
    let first = asked.load(Ordering::Relaxed);
    // Names that nobody knows do not make it ask and ask.
    for _ in 0..20 {
        assert_eq!(judge("b").await, unknown);
    }
    assert_eq!(asked.load(Ordering::Relaxed), first);
    // A new key is found when it is needed, some time later.
    *served.lock().unwrap() = set(&["b"]);
    clock.set(NOW * 1_000 + limits::JWKS_REFRESH_MS_MIN);
    assert_eq!(judge("b").await, Ok(()));
    assert_eq!(judge("a").await, unknown, "what is not in the set any more is gone");
    // While there is no answer, the last one counts.
    *served.lock().unwrap() = None;
    auth.refresh_keys().await;
    assert_eq!(judge("b").await, Ok(()));
    *served.lock().unwrap() = Some(json!({"keys": "none"}));
    auth.refresh_keys().await;
    assert_eq!(judge("b").await, Ok(()));
    assert!(asked.load(Ordering::Relaxed) >= first + 3);
    keeping.abort();
}
