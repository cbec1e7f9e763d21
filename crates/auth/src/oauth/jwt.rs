//! Signed tokens (JWS compact serialisation, RFC 7515) and the keys that verify them (JWK, RFC 7517).
//!
//! The signatures are ring's. Only asymmetric algorithms exist here: there is no `none`, and no HMAC for which a public key could
//! be passed off as the secret (RFC 8725 §2.1, §3.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{self, SHA256, SHA384, SHA512, digest},
    signature::{
        self, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
        RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// No honest token is longer.
const MAX_LENGTH: usize = 16 * 1024;

/// What signs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// Whether tokens signed that way are believed.
pub(super) fn is_known(algorithm: &str) -> bool {
    Algorithm::parse(algorithm).is_some()
}

impl Algorithm {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// The hash within it; Ed25519 has SHA-512 (RFC 8032 §5.1).
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => &SHA256,
            Self::Rs384 | Self::Ps384 | Self::Es384 => &SHA384,
            Self::Rs512 | Self::Ps512 | Self::EdDsa => &SHA512,
        }
    }
}

/// A token taken apart; nothing in it is proven yet.
#[derive(Debug)]
pub(super) struct Jwt<'a> {
    algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; says what is wrong with it.
    pub(super) fn parse(token: &'a str) -> Result<Self, String> {
        let bad = || "the token is malformed".to_owned();
        if token.len() > MAX_LENGTH {
            return Err("the token is too long".to_owned());
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(bad)?;
        let (header, claims) = signed.split_once('.').ok_or_else(bad)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| bad());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| bad())?;
        if header.crit.is_some() {
            return Err("the token has a critical extension that nobody here understands".to_owned());
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or("the token's algorithm is not accepted")?;
        let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| bad())?;
        let signature = decode(signature)?;
        Ok(Self { algorithm, key_id: header.kid, kind: header.typ, claims, signed, signature })
    }

    /// Whether the access token that came along belongs to this token, if it says so (`at_hash`, OpenID Connect Core 1.0 §3.1.3.8).
    pub(super) fn check_at_hash(&self, access_token: &str) -> Result<(), String> {
        let Some(given) = self.claims.get("at_hash") else { return Ok(()) };
        let digest = digest(self.algorithm.digest(), access_token.as_bytes());
        let half = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..digest.as_ref().len() / 2]);
        let belongs = given.as_str() == Some(half.as_str());
        belongs
            .then_some(())
            .ok_or_else(|| "the access token beside the ID token is of another (at_hash)".to_owned())
    }
}

/// A public key.
#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm it may be used with.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// `None` for keys of other kinds and uses, symmetric ones above all.
    fn key(self) -> Option<Key> {
        if self.r#use.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let point = |length: usize| {
            let (x, y) = (part(&self.x)?, part(&self.y)?);
            // Uncompressed, as SEC 1 writes a point.
            (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
        };
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                Material::Rsa { n: without_zeros(part(&self.n)?), e: without_zeros(part(&self.e)?) }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(part(&self.x)?),
            _ => return None,
        };
        let algorithm = match &self.alg {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        Some(Key { id: self.kid, algorithm, material })
    }
}

/// ring refuses leading zeros, which some providers write.
fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

impl Key {
    fn verifies(&self, jwt: &Jwt<'_>) -> bool {
        if self.algorithm.is_some_and(|algorithm| algorithm != jwt.algorithm) {
            return false;
        }
        let (message, signature) = (jwt.signed.as_bytes(), jwt.signature.as_slice());
        let elliptic = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (&self.material, jwt.algorithm) {
            (Material::Rsa { n, e }, algorithm) => rsa(algorithm)
                .is_some_and(|rsa| RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok()),
            (Material::P256(key), Algorithm::Es256) => elliptic(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), Algorithm::Es384) => elliptic(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Material::Ed25519(key), Algorithm::EdDsa) => elliptic(&signature::ED25519, key),
            _ => false,
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return None,
    })
}

/// The public keys of a provider (JWK Set, RFC 7517 §5).
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

/// What a key set says to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Good,
    Bad,
    /// No key of this name: perhaps the provider has new ones.
    UnknownKey,
}

impl KeySet {
    /// Reads a JWK Set. Keys of unknown kinds are left out; `None` when it is no key set at all.
    pub fn parse(json: &Value) -> Option<Self> {
        let keys = json.get("keys")?.as_array()?;
        let key = |key: &Value| serde_json::from_value::<Jwk>(key.clone()).ok()?.key();
        Some(Self(keys.iter().filter_map(key).collect()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn check(&self, jwt: &Jwt<'_>) -> Signature {
        let named = |key: &&Key| jwt.key_id.is_none() || key.id == jwt.key_id;
        let mut candidates = self.0.iter().filter(named).peekable();
        if candidates.peek().is_none() {
            return Signature::UnknownKey;
        }
        match candidates.any(|key| key.verifies(jwt)) {
            true => Signature::Good,
            // Without a name, it may be by a key that is not known yet.
            false if jwt.key_id.is_none() => Signature::UnknownKey,
            false => Signature::Bad,
        }
    }
}
