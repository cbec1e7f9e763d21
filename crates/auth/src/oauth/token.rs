//! The token endpoint (RFC 6749 §4.1.3, §6).

use base64::{Engine, engine::general_purpose::STANDARD};
use hallpass_session::{Secret, Timestamp};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded::byte_serialize};

use super::{
    Endpoints, Entry,
    attempt::Attempt,
    client_key::ASSERTION_TYPE,
    failure::{Failure, Problem, printable},
    fetch::{self, Answer, Fetch},
    id_token::text,
    provider::{ClientAuth, Protocol},
};

/// What a provider hands out.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) access: Secret<String>,
    pub(super) refresh: Option<Secret<String>>,
    pub(super) id_token: Option<Secret<String>>,
    /// How long the access token is good, in seconds.
    pub(super) expires_in: Option<u64>,
}

/// What the token endpoint calls the things that an operator has to set right; GitHub has words of its own.
const OURS: &[&str] =
    &["unsupported_grant_type", "invalid_scope", "invalid_request", "redirect_uri_mismatch"];

/// Those that are about the client itself.
pub(super) const UNKNOWN_CLIENT: &[&str] =
    &["invalid_client", "unauthorized_client", "incorrect_client_credentials", "application_suspended"];

/// A code that was used, has expired, or belongs to another request.
pub(super) const STALE: &[&str] = &["invalid_grant", "bad_verification_code"];

impl Entry {
    /// A code becomes tokens.
    pub(super) async fn exchange(
        &self,
        fetch: &dyn Fetch,
        endpoints: &Endpoints,
        code: &str,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<Tokens, Problem> {
        let fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", attempt.redirect_uri.as_str()),
            ("code_verifier", attempt.verifier.as_str()),
        ];
        self.ask(fetch, endpoints, fields, now).await
    }

    /// A refresh token becomes a new access token.
    pub(super) async fn refresh(
        &self,
        fetch: &dyn Fetch,
        endpoints: &Endpoints,
        refresh: &Secret<String>,
        now: Timestamp,
    ) -> Result<Tokens, Problem> {
        let fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose().as_str())];
        self.ask(fetch, endpoints, fields, now).await
    }

    async fn ask(
        &self,
        fetch: &dyn Fetch,
        endpoints: &Endpoints,
        fields: Vec<(&str, &str)>,
        now: Timestamp,
    ) -> Result<Tokens, Problem> {
        let url = &endpoints.token;
        let answer = self.answer(fetch, endpoints, fields, now).await?;
        let Value::Object(object) = &answer.body else { return Err(answer.unexpected(url)) };
        // GitHub says errors with status 200.
        if object.contains_key("error") || !answer.status.is_success() {
            return Err(refused(object, url));
        }
        tokens(object, url)
    }

    /// What the token endpoint says to these fields, whatever it is.
    pub(super) async fn answer(
        &self,
        fetch: &dyn Fetch,
        endpoints: &Endpoints,
        mut fields: Vec<(&str, &str)>,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        let client_id = self.provider.client_id.as_str();
        let (apple, assertion);
        let (in_form, in_header) = match &self.provider.client_auth {
            ClientAuth::None => (None, None),
            ClientAuth::Secret(secret) if endpoints.secret_in_form => (Some(secret), None),
            ClientAuth::Post(secret) => (Some(secret), None),
            ClientAuth::Secret(secret) | ClientAuth::Basic(secret) => (None, Some(secret)),
            ClientAuth::Apple(key) => {
                apple = key.client_secret(client_id, now);
                (Some(&apple), None)
            }
            ClientAuth::PrivateKey(key) => {
                // A provider's metadata can name another's token endpoint, and no other's issuer (draft-ietf-oauth-rfc7523bis).
                let audience = match &self.provider.protocol {
                    Protocol::OpenId(openid) if !openid.tenants => openid.issuer.as_str(),
                    _ => endpoints.token.as_str(),
                };
                assertion = key.assertion(client_id, audience, now);
                let proof =
                    [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.expose())];
                fields.extend(proof);
                (None, None)
            }
        };
        if in_header.is_none() {
            fields.push(("client_id", client_id));
        }
        if let Some(secret) = in_form {
            fields.push(("client_secret", secret.expose()));
        }
        let authorization = in_header.map(|secret| basic(client_id, secret.expose()));
        fetch::post(fetch, &endpoints.token, &fields, authorization).await
    }
}

/// RFC 6749 §2.3.1: both are form-encoded first.
fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret))))
}

fn refused(object: &Map<String, Value>, url: &Url) -> Problem {
    // Facebook's error is an object.
    let error = text(object, "error").unwrap_or("an error without a name");
    let description = text(object, "error_description").unwrap_or_default();
    let failure = match error {
        error if OURS.contains(&error) || UNKNOWN_CLIENT.contains(&error) => Failure::Misconfigured,
        error if STALE.contains(&error) => Failure::Unexpected,
        "temporarily_unavailable" | "server_error" => Failure::Unavailable,
        _ => Failure::Provider,
    };
    let detail = format!("{} said {}: {}", fetch::place(url), printable(error), printable(description));
    Problem::new(failure, detail)
}

fn tokens(object: &Map<String, Value>, url: &Url) -> Result<Tokens, Problem> {
    let secret = |name| text(object, name).map(|token| Secret::new(token.to_owned()));
    let bearer = text(object, "token_type").is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    let access = secret("access_token").filter(|_| bearer);
    let access = access.ok_or_else(|| {
        Problem::new(Failure::Provider, format!("{} gave no bearer token", fetch::place(url)))
    })?;
    // Some write the number as text.
    let expires_in = object.get("expires_in");
    let expires_in = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    Ok(Tokens { access, refresh: secret("refresh_token"), id_token: secret("id_token"), expires_in })
}
