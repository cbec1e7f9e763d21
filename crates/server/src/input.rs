//! What clients send: the same fields as JSON or as a form.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use hallpass_auth::Origin;
use hallpass_session::Secret;
use http::{
    HeaderMap, Method, StatusCode,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE},
    request::Parts,
};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use tokio::time::timeout;
use url::form_urlencoded;

use crate::{
    app::App,
    connections::Room,
    error::ApiError,
    routes::{is_health, takes_password},
};

/// The largest body any route takes, in bytes: a form with two passwords of 4096 characters, each written as `%XX`.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// The largest body of routes that take no password, in bytes.
const MAX_SMALL_BODY: usize = 16 * 1024;

/// How much of a larger one is read and thrown away, in bytes.
const MAX_DISCARDED: usize = 1024 * 1024;

/// The fields of a request's body. It has no `Debug`: fields hold passwords.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The text of a field; an error when it is something else.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid(format!("{name} must be text"))),
        }
    }

    /// Whether the field is there, be it null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text of a field that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<String, ApiError> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(ApiError::invalid(format!("{name} is missing"))),
        }
    }

    /// The same for a password.
    pub(crate) fn secret(&self, name: &str) -> Result<Secret<String>, ApiError> {
        self.required(name).map(Secret::new)
    }

    /// Whether a box is ticked.
    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "on" | "true" | "1"),
            _ => false,
        }
    }

    fn json(body: &[u8]) -> Result<Self, ApiError> {
        // serde's own message may show what was typed: only the place is told.
        let place = |error: serde_json::Error| {
            let twice = error.to_string().starts_with(TWICE);
            let what = if twice { TWICE } else { "The body is no JSON object" };
            ApiError::invalid(format!("{what} (line {}, column {})", error.line(), error.column()))
        };
        serde_json::from_slice(body).map(|Unique(fields)| Self(fields)).map_err(place)
    }

    fn form(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Map::new();
        for (name, text) in form_urlencoded::parse(body) {
            // What stands for bytes that are no UTF-8.
            if name.contains(char::REPLACEMENT_CHARACTER) || text.contains(char::REPLACEMENT_CHARACTER) {
                return Err(ApiError::invalid("The form holds text that is not UTF-8"));
            }
            if fields.insert(name.into_owned(), Value::String(text.into_owned())).is_some() {
                return Err(ApiError::invalid(TWICE));
            }
        }
        Ok(Self(fields))
    }
}

/// Two readers of a request, a proxy's filter and this server, may each take another of two values (CWE-235).
const TWICE: &str = "A field is there twice";

/// An object whose keys are there once.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys)
    }
}

struct UniqueKeys;

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut fields = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Unique(fields))
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = media_type(request.headers());
        let encoded = demand_plain(request.headers());
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| ApiError::invalid("The body did not arrive whole"))?;
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        encoded?;
        let body = without_mark(&body);
        match kind.as_deref() {
            _ if is_wide(body) => Err(not_utf8()),
            Some("application/json") => Self::json(body),
            Some("application/x-www-form-urlencoded") => Self::form(body),
            _ => Err(ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        }
    }
}

/// Receives the whole body before anything else happens. Whoever answers while a client is still sending must close the
/// connection, and the client may then see neither the answer nor, on a connection it shares, that of its next request.
pub(crate) async fn receive(State(app): State<App>, request: Request, next: Next) -> Response {
    let room = request.extensions().get::<Room>().cloned();
    if room.as_ref().is_some_and(Room::is_for_health_only) && !is_health(request.uri().path()) {
        return full().into_response();
    }
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let limit = limit(parts.uri.path());
    match timeout(app.config().limits.request_timeout, read(body, limit, room)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(error)) => error.into_response(),
        Err(_) => ApiError::of_status(StatusCode::REQUEST_TIMEOUT).into_response(),
    }
}

/// 503: the server has no room for this request.
fn full() -> ApiError {
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_busy", "The server is busy; try again");
    ApiError { retry_after: Some(Duration::from_secs(1)), ..error }
}

/// The largest body of this route, in bytes.
fn limit(path: &str) -> usize {
    if takes_password(path) { MAX_BODY } else { MAX_SMALL_BODY }
}

/// The whole body. What is too large is read on for a while all the same, for the same reason. Memory grows with what
/// arrives, never with what a client says will.
async fn read(mut body: Body, limit: usize, room: Option<Room>) -> Result<Bytes, ApiError> {
    let most =
        body.size_hint().upper().and_then(|most| usize::try_from(most).ok()).unwrap_or(limit).min(limit);
    let mut whole = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid("The body did not arrive whole"))?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        if seen <= limit {
            grow(&mut whole, data.len(), most);
            whole.extend_from_slice(data);
        } else if seen > MAX_DISCARDED {
            break;
        } else {
            whole = BytesMut::new();
            room.iter().for_each(Room::release);
        }
        if room.as_ref().is_some_and(Room::is_over) {
            return Err(full());
        }
    }
    if seen > limit { Err(ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE)) } else { Ok(whole.freeze()) }
}

/// Makes room for `more` bytes: twice what there is, but not beyond `most`.
fn grow(whole: &mut BytesMut, more: usize, most: usize) {
    let needed = whole.len() + more;
    if needed > whole.capacity() {
        let capacity = (2 * whole.capacity()).clamp(needed, most.max(needed));
        let mut larger = BytesMut::with_capacity(capacity);
        larger.extend_from_slice(whole);
        *whole = larger;
    }
}

/// Refuses what is not plain UTF-8 by its own account.
fn demand_plain(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "Send the body without a Content-Encoding";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    match charset(headers).as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        Some(_) => Err(not_utf8()),
    }
}

fn not_utf8() -> ApiError {
    let message = "Send the body in UTF-8";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_charset", message)
}

/// The body without the byte order mark of UTF-8, which some editors and clients write in front (RFC 8259 §8.1).
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Whether this is UTF-16 or UTF-32: a byte order mark, or a zero beside the first character.
fn is_wide(body: &[u8]) -> bool {
    matches!(body, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..])
}

/// The value of one field of a form, for checks that come before the handler.
pub(crate) fn form_field(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(without_mark(body)).find(|(key, _)| key == name).map(|(_, text)| text.into_owned())
}

/// The type of the body, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase())
}

/// The character set that the body has by its own account, in small letters.
fn charset(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let charset = kind.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    charset.map(str::to_ascii_lowercase)
}

/// Who asks, and what they want back.
pub(crate) struct Asker {
    pub(crate) origin: Origin,
    /// A browser shows the answer: pages and redirects instead of JSON.
    pub(crate) page: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let origin = Origin::from_request_parts(parts, state).await?;
        Ok(Self { origin, page: wants_page(&parts.headers) })
    }
}

/// Whether the client is a browser that shows what it gets.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Whether a request with this method changes nothing (RFC 9110 §9.2.1).
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}
