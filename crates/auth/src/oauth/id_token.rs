//! What an ID token must say to be believed (OpenID Connect Core 1.0 §3.1.3.7), and a logout token (Back-Channel Logout 1.0 §2.6).

use std::time::Duration;

use hallpass_session::Timestamp;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{
    failure::{Failure, Problem},
    jwt::{Jwt, KeySet, Signature},
};

/// How far clocks may differ.
pub(super) const SKEW: Duration = Duration::from_secs(60);

/// How old a logout token may be (ASVS 5.0 10.5.5).
const LOGOUT_AGE: Duration = Duration::from_secs(120);

/// The longest subject (OpenID Connect Core 1.0 §2).
const MAX_SUBJECT: usize = 255;

/// Which tokens are for us.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The provider's issuer, exactly.
    pub issuer: &'a str,
    /// `issuer` holds `{tenantid}`, which stands for the token's `tid`.
    pub tenants: bool,
    /// What the provider calls this application.
    pub client_id: &'a str,
}

/// What a verified ID token says.
#[derive(Clone, Debug, PartialEq)]
pub struct IdToken {
    /// Who says it.
    pub issuer: String,
    /// About whom; unique within the issuer, never changes.
    pub subject: String,
    /// Everything it says.
    pub claims: Map<String, Value>,
}

/// What a verified logout token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogoutToken {
    pub(super) issuer: String,
    pub(super) subject: Option<String>,
    pub(super) session: Option<String>,
    pub(super) id: String,
}

impl KeySet {
    /// What an ID token says, if it is from whom it must be, for us, of now, and the answer to the request with this nonce.
    /// The error says what is wrong; it is fit for a log.
    pub fn verify_id_token(
        &self,
        token: &str,
        expected: Expected<'_>,
        nonce: &str,
        now: Timestamp,
    ) -> Result<IdToken, String> {
        let jwt = Jwt::parse(token)?;
        if self.check(&jwt) != Signature::Good {
            return Err("the signature is not the provider's".to_owned());
        }
        id_token(jwt.claims, expected, nonce, now).map_err(|problem| problem.detail)
    }
}

/// What the claims of an ID token with a good signature say.
pub(super) fn id_token(
    claims: Map<String, Value>,
    expected: Expected<'_>,
    nonce: &str,
    now: Timestamp,
) -> Result<IdToken, Problem> {
    let issuer = issuer(&claims, expected)?;
    audience(&claims, expected.client_id)?;
    times(&claims, now)?;
    let given = text(&claims, "nonce").unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err(Problem::untrusted("the ID token answers another request (nonce)"));
    }
    let subject = subject(&claims).ok_or_else(|| Problem::untrusted("the ID token names nobody (sub)"))?;
    Ok(IdToken { issuer, subject, claims })
}

fn issuer(claims: &Map<String, Value>, expected: Expected<'_>) -> Result<String, Problem> {
    let given = text(claims, "iss").unwrap_or_default();
    let tenant = text(claims, "tid").filter(|tenant| is_tenant(tenant));
    let wanted = match (expected.tenants, tenant) {
        (false, _) => expected.issuer.to_owned(),
        (true, Some(tenant)) => expected.issuer.replace("{tenantid}", tenant),
        (true, None) => return Err(Problem::untrusted("the token names no tenant (tid)")),
    };
    if given == wanted && !given.is_empty() {
        return Ok(wanted);
    }
    Err(Problem::untrusted(format!("the token is not from {wanted} (iss)")))
}

/// A GUID: nothing that could turn one issuer into another.
fn is_tenant(tenant: &str) -> bool {
    tenant.len() == 36 && tenant.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), Problem> {
    let many = match claims.get("aud") {
        Some(Value::String(one)) if one == client_id => false,
        Some(Value::Array(many)) if many.iter().any(|one| one == client_id) => many.len() > 1,
        _ => return Err(Problem::untrusted("the token is for another application (aud)")),
    };
    match text(claims, "azp") {
        Some(party) if party != client_id => {
            Err(Problem::untrusted("the token was issued to another application (azp)"))
        }
        None if many => {
            Err(Problem::untrusted("the token is for several applications and issued to none (azp)"))
        }
        _ => Ok(()),
    }
}

fn times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), Problem> {
    let time = |name: &str| claims.get(name).and_then(time);
    let (Some(expires), Some(issued)) = (time("exp"), time("iat")) else {
        return Err(Problem::untrusted("the token does not say when it is valid (exp, iat)"));
    };
    if expires + SKEW <= now {
        let ago = now.since(expires).as_secs();
        return Err(Problem::new(
            Failure::Clock,
            format!("the token expired {ago} seconds ago: is the clock of this machine fast?"),
        ));
    }
    let begins = issued.max(time("nbf").unwrap_or(issued));
    if begins > now + SKEW {
        let ahead = begins.since(now).as_secs();
        return Err(Problem::new(
            Failure::Clock,
            format!("the token is valid in {ahead} seconds only: is the clock of this machine slow?"),
        ));
    }
    Ok(())
}

/// When the person signed in there, if the token says so (OpenID Connect Core 1.0 §2).
pub(super) fn authenticated(claims: &Map<String, Value>) -> Option<Timestamp> {
    claims.get("auth_time").and_then(time)
}

/// Seconds since the epoch; whole or not (RFC 7519 §2, `NumericDate`).
fn time(value: &Value) -> Option<Timestamp> {
    let whole = value.as_i64();
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and no date is that far")]
    let seconds = whole.or_else(|| value.as_f64().map(|seconds| seconds as i64))?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

fn subject(claims: &Map<String, Value>) -> Option<String> {
    text(claims, "sub").filter(|subject| (1..=MAX_SUBJECT).contains(&subject.len())).map(str::to_owned)
}

pub(super) fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// Whether a token of this type (the header's `typ`) may be a logout token.
///
/// Version 1.0 only recommends the type `logout+jwt` (§2.4), and many providers leave it out or write `JWT`. Such a token counts as long
/// as no ID token can look like it: it must have `events` with the logout event and no `nonce`, as always, and nothing that only an
/// ID token says about a sign-in (OpenID Connect Core 1.0 §2, §3.3.2.11).
fn is_logout_type(kind: Option<&str>, claims: &Map<String, Value>) -> bool {
    const OF_SIGN_INS: [&str; 5] = ["auth_time", "acr", "amr", "at_hash", "c_hash"];
    match kind {
        Some(kind) if kind.eq_ignore_ascii_case("logout+jwt") => true,
        // RFC 7515 §4.1.9: the prefix may be left out, not must.
        Some(kind) if kind.eq_ignore_ascii_case("application/logout+jwt") => true,
        Some(kind) if !kind.eq_ignore_ascii_case("JWT") => false,
        _ => !OF_SIGN_INS.iter().any(|name| claims.contains_key(*name)),
    }
}

/// What the claims of a logout token with a good signature say. `kind` is the header's `typ`.
pub(super) fn logout_token(
    kind: Option<&str>,
    claims: &Map<String, Value>,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<LogoutToken, Problem> {
    const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let issuer = issuer(claims, expected)?;
    audience(claims, expected.client_id)?;
    let event = claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object);
    if !is_logout_type(kind, claims) || !event || claims.contains_key("nonce") {
        return Err(Problem::untrusted("this is no logout token (typ, events, nonce)"));
    }
    let issued = claims.get("iat").and_then(time);
    if issued.is_none_or(|issued| issued + LOGOUT_AGE + SKEW <= now) {
        return Err(Problem::untrusted("the logout token is too old (iat)"));
    }
    if issued.is_some_and(|issued| issued > now + SKEW) {
        return Err(Problem::untrusted("the logout token is from the future (iat)"));
    }
    // Required since the errata of version 1.0 (§2.4): a token that says no end would be valid whenever it turns up.
    times(claims, now)?;
    let id = text(claims, "jti").filter(|id| !id.is_empty() && id.len() <= MAX_SUBJECT);
    let id = id.ok_or_else(|| Problem::untrusted("the logout token has no name (jti)"))?.to_owned();
    let (subject, session) = (subject(claims), text(claims, "sid").map(str::to_owned));
    if subject.is_none() && session.is_none() {
        return Err(Problem::untrusted("the logout token names neither a person nor a session (sub, sid)"));
    }
    Ok(LogoutToken { issuer, subject, session, id })
}
