//! An OpenID provider in memory that signs whatever it is told to: honest by default, as wrong as a test wants.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

pub mod app;
pub mod held;
pub mod ids;
pub mod races;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_auth::oauth::{Fetch, FetchError};
use http::{Request, Response};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

pub const ISSUER: &str = "https://login.example.com";

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signing {
    Honest,
    /// `alg: none`, without a signature.
    None,
    /// HS256 with the public key as secret.
    Confused,
    /// By a key that the provider never published, under the name of one that it did.
    Stranger,
    /// Honest, and one byte of the claims changed afterwards.
    Changed,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a thing that it does or not")]
pub struct State {
    pub metadata: Value,
    /// Changes to the claims of the next ID tokens; null removes one.
    pub claims: Value,
    pub userinfo: Value,
    pub signing: Signing,
    pub down: bool,
    /// The token endpoint answers with a form.
    pub form: bool,
    /// Every answer begins with a byte order mark.
    pub mark: bool,
    /// What stands at a path instead of the usual answer.
    pub instead: HashMap<&'static str, (u16, &'static str)>,
    /// Whether the token endpoint knows refresh tokens still.
    pub refreshes: bool,
    /// Whether a sign-in brings a refresh token.
    pub gives_refresh: bool,
    pub expires_in: u64,
    /// Whether it answers with keys when it is asked for them.
    pub has_keys: bool,
    /// What it says about the time.
    pub date: Option<String>,
    /// How often keys were asked for.
    pub jwks: u32,
    /// The forms that the token endpoint got.
    pub asked: Vec<HashMap<String, String>>,
    keys: Vec<(String, Arc<EcdsaKeyPair>)>,
    /// The nonce and challenge of each code.
    codes: HashMap<String, (String, String)>,
    /// Claims of one person, by the code that stands for them.
    people: HashMap<String, Value>,
    serial: u32,
}

/// Clones are the same provider.
#[derive(Clone)]
pub struct Provider(Arc<Mutex<State>>);

fn new_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Provider {
    pub fn new() -> Self {
        let at = |path: &str| format!("{ISSUER}{path}");
        let metadata = json!({
            "issuer": ISSUER,
            "authorization_endpoint": at("/auth"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/me"),
            "jwks_uri": at("/jwks"),
        });
        Self(Arc::new(Mutex::new(State {
            metadata,
            claims: json!({}),
            userinfo: json!({ "sub": "ann" }),
            signing: Signing::Honest,
            down: false,
            form: false,
            mark: false,
            instead: HashMap::new(),
            refreshes: true,
            gives_refresh: true,
            expires_in: 3600,
            has_keys: true,
            date: None,
            jwks: 0,
            asked: Vec::new(),
            keys: vec![("key 1".to_owned(), Arc::new(new_key()))],
            codes: HashMap::new(),
            people: HashMap::new(),
            serial: 1,
        })))
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// A new key; the old ones are gone at once.
    pub fn rotate(&self) {
        self.change(|state| {
            state.serial += 1;
            state.keys = vec![(format!("key {}", state.serial), Arc::new(new_key()))];
        });
    }

    /// The person agrees: the code for an authorization request.
    pub fn agree(&self, authorize: &str) -> String {
        let url = Url::parse(authorize).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        self.change(|state| {
            state.serial += 1;
            let code = format!("code-{}", state.serial);
            let request = (query.get("nonce").cloned().unwrap_or_default(), query["code_challenge"].clone());
            state.codes.insert(code.clone(), request);
            code
        })
    }

    /// The person with these claims agrees.
    pub fn agree_as(&self, authorize: &str, claims: Value) -> String {
        let code = self.agree(authorize);
        self.change(|state| state.people.insert(code.clone(), claims));
        code
    }

    /// A token with these claims.
    pub fn sign(&self, kind: &str, claims: &Value) -> String {
        self.change(|state| state.sign(kind, claims))
    }
}

impl State {
    fn sign(&self, kind: &str, claims: &Value) -> String {
        let (id, key) = &self.keys[0];
        let alg = match self.signing {
            Signing::None => "none",
            Signing::Confused => "HS256",
            _ => "ES256",
        };
        let mut header = json!({ "alg": alg, "kid": id });
        if !kind.is_empty() {
            header["typ"] = kind.into();
        }
        let signed = format!("{}.{}", part(&header), part(claims));
        let ecdsa =
            |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec();
        let signature = match self.signing {
            Signing::None => Vec::new(),
            Signing::Confused => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.jwks().to_string().as_bytes());
                hmac::sign(&secret, signed.as_bytes()).as_ref().to_vec()
            }
            Signing::Stranger => ecdsa(&new_key()),
            Signing::Honest | Signing::Changed => ecdsa(key),
        };
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        if self.signing != Signing::Changed {
            return token;
        }
        let mut claims = claims.clone();
        claims["sub"] = "root".into();
        let parts: Vec<&str> = token.split('.').collect();
        format!("{}.{}.{}", parts[0], part(&claims), parts[2])
    }

    fn jwks(&self) -> Value {
        let key = |(id, key): &(String, Arc<EcdsaKeyPair>)| {
            let point = key.public_key().as_ref();
            let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": number(&point[1..33]), "y": number(&point[33..]) })
        };
        json!({ "keys": self.keys.iter().map(key).collect::<Vec<_>>() })
    }

    fn token(&mut self, fields: &HashMap<String, String>, now: i64) -> (u16, Value) {
        self.asked.push(fields.clone());
        if fields["grant_type"] == "refresh_token" {
            if !self.refreshes {
                return (400, json!({ "error": "invalid_grant" }));
            }
            self.serial += 1;
            let access = format!("access-{}", self.serial);
            return (
                200,
                json!({ "access_token": access, "token_type": "Bearer", "expires_in": self.expires_in }),
            );
        }
        let known = fields.get("code").and_then(|code| self.codes.remove(code));
        let Some((nonce, challenge)) = known else { return (400, json!({ "error": "invalid_grant" })) };
        let digest = ring::digest::digest(&ring::digest::SHA256, fields["code_verifier"].as_bytes());
        if URL_SAFE_NO_PAD.encode(digest) != challenge {
            return (400, json!({ "error": "invalid_grant" }));
        }
        let mut claims = json!({
            "iss": ISSUER, "sub": "ann", "aud": "app", "nonce": nonce, "iat": now, "exp": now + 600,
            "auth_time": now,
            "email": "ann@example.com", "email_verified": true,
        });
        let person = self.people.remove(&fields["code"]);
        for (name, value) in person.as_ref().unwrap_or(&self.claims).as_object().unwrap() {
            claims[name] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            }
        }
        let token = self.sign("JWT", &claims);
        let mut body = json!({
            "access_token": "access-1", "token_type": "Bearer",
            "expires_in": self.expires_in, "id_token": token,
        });
        if self.gives_refresh {
            body["refresh_token"] = "refresh-1".into();
        }
        (200, body)
    }

    fn answer(&mut self, path: &str, body: &[u8], now: i64) -> (u16, Value) {
        match path {
            "/.well-known/openid-configuration" => (200, self.metadata.clone()),
            "/jwks" => {
                self.jwks += 1;
                if self.has_keys { (200, self.jwks()) } else { (404, json!({})) }
            }
            "/token" => self.token(&form_urlencoded::parse(body).into_owned().collect(), now),
            "/me" => (200, self.userinfo.clone()),
            _ => (404, json!({})),
        }
    }
}

/// The provider's clock stands where the tests' clock began.
pub const NOW: i64 = 1_795_424_473;

#[async_trait]
impl Fetch for Provider {
    async fn fetch(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let (path, host) = (request.uri().path().to_owned(), request.uri().host().unwrap().to_owned());
        assert_eq!(host, "login.example.com", "nobody else is asked");
        // As over a network: others go on meanwhile.
        tokio::task::yield_now().await;
        self.change(|state| {
            if state.down {
                return Err(FetchError::Unreachable("connection refused".to_owned()));
            }
            let (status, body) = state.answer(&path, request.body(), NOW);
            let status = state.instead.get(&*path).map_or(status, |(status, _)| *status);
            let mut response = Response::builder().status(status);
            if let Some(date) = &state.date {
                response = response.header("date", date);
            }
            let mut text = body.to_string();
            if state.form && path == "/token" {
                let fields = body.as_object().unwrap().iter();
                let fields = fields.map(|(name, value)| match value {
                    Value::String(text) => (name, text.clone()),
                    other => (name, other.to_string()),
                });
                text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            }
            if let Some((_, instead)) = state.instead.get(&*path) {
                (*instead).clone_into(&mut text);
            }
            let mark = if state.mark { "\u{feff}" } else { "" };
            Ok(response.body(format!("{mark}{text}").into_bytes()).unwrap())
        })
    }
}
