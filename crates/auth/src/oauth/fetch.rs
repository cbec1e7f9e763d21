//! [`Fetch`]: how providers are asked. The application brings its HTTP client, or takes ours (feature `http-client`).

use std::{borrow::Cow, time::UNIX_EPOCH};

use async_trait::async_trait;
use hallpass_session::Timestamp;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, USER_AGENT},
};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::failure::{Failure, Problem, printable};

/// The longest answer that is read, in bytes. Metadata and keys of the large providers have a tenth of it.
pub const MAX_RESPONSE: usize = 256 * 1024;

/// Sends requests to providers.
///
/// An implementation ends every request within some seconds, follows no redirects, reads at most [`MAX_RESPONSE`] bytes, and
/// verifies certificates.
#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    /// The response, whatever its status.
    async fn fetch(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError>;
}

/// A provider gave no answer that could be read. Its message goes to the log.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be reached, or did not answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// It answered, but the answer broke off or is too long.
    #[error("{0}")]
    Unreadable(String),
}

/// Asks nobody.
pub(super) struct Nobody;

#[async_trait]
impl Fetch for Nobody {
    async fn fetch(&self, _: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        Err(FetchError::Unreachable("there are no providers".to_owned()))
    }
}

/// An answer of JSON.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Null when it is no JSON.
    pub(super) body: Value,
    /// Its type by its own account.
    kind: String,
    /// What its clock says.
    pub(super) date: Option<Timestamp>,
}

impl Answer {
    /// The object of a success.
    pub(super) fn object(self, url: &Url) -> Result<Map<String, Value>, Problem> {
        match self {
            Self { status, body: Value::Object(object), .. } if status.is_success() => Ok(object),
            answer => Err(answer.unexpected(url)),
        }
    }

    /// What is wrong with an answer that is not what was asked for.
    pub(super) fn unexpected(&self, url: &Url) -> Problem {
        let (place, status) = (place(url), self.status);
        if status.is_redirection() {
            let detail = format!("{place} answered {status}: it has moved; configure where it is now");
            return Problem::new(Failure::Misconfigured, detail);
        }
        if !status.is_success() {
            return Problem::new(Failure::Misconfigured, format!("{place} answered {status}"));
        }
        let kind = printable(&self.kind);
        let what = if self.body.is_null() { "no JSON" } else { "JSON of another shape than expected" };
        Problem::new(Failure::Provider, format!("{place} answered {status} with {what} ({kind})"))
    }
}

/// A URL without its query, for logs.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// GET, with a token if there is one.
pub(super) async fn get(fetch: &dyn Fetch, url: &Url, bearer: Option<&str>) -> Result<Answer, Problem> {
    let mut request = Request::builder().method(Method::GET).uri(url.as_str());
    if let Some(token) = bearer {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    send(fetch, url, request, Vec::new()).await
}

/// POST of a form, with an `Authorization` header if there is one.
pub(super) async fn post(
    fetch: &dyn Fetch,
    url: &Url,
    fields: &[(&str, &str)],
    authorization: Option<String>,
) -> Result<Answer, Problem> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    send(fetch, url, request, body.into_bytes()).await
}

/// What was answered: JSON, with a byte order mark or without; from a token endpoint also a form, as GitHub's and older ones send it.
fn read(body: &[u8], form: bool) -> Value {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let read = serde_json::from_slice(body).unwrap_or_default();
    if read != Value::Null || !form {
        return read;
    }
    let text = |text: Cow<'_, str>| text.trim().to_owned();
    let pairs = form_urlencoded::parse(body).map(|(name, value)| (text(name), Value::String(text(value))));
    let fields: Map<String, Value> = pairs.collect();
    let is_answer = fields.contains_key("access_token") || fields.contains_key("error");
    if is_answer { Value::Object(fields) } else { Value::Null }
}

async fn send(
    fetch: &dyn Fetch,
    url: &Url,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<Answer, Problem> {
    // GitHub's API demands a name; its token endpoint answers in a form unless JSON is asked for.
    let form = request.method_ref() == Some(&Method::POST);
    let request = request.header(ACCEPT, "application/json").header(USER_AGENT, "hallpass").body(body);
    let request = request
        .map_err(|_| Problem::new(Failure::Misconfigured, format!("{} cannot be asked", place(url))))?;
    let response = fetch.fetch(request).await;
    let response = response.map_err(|error| {
        let how = match error {
            FetchError::Unreachable(_) => "cannot be reached",
            FetchError::Unreadable(_) => "answered something that cannot be read",
        };
        let detail = format!("{} {how}: {error}", place(url));
        Problem { detail, ..error.into() }
    })?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Problem::new(Failure::Unavailable, format!("{} answered {status}", place(url))));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("of no type").to_owned();
    Ok(Answer { status, body: read(response.body(), form), kind, date: date(response.headers()) })
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}
