//! [`Fetch`]: how providers are asked. The application brings its HTTP client, or takes ours (feature `http-client`).

use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use hallpass_session::Timestamp;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, USER_AGENT},
};
use serde_json::{Map, Value};
use url::Url;

use super::failure::{Failure, Problem};

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

/// A provider could not be reached, or did not answer in time. Its message goes to the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Asks nobody.
pub(super) struct Nobody;

#[async_trait]
impl Fetch for Nobody {
    async fn fetch(&self, _: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        Err(FetchError("there are no providers".to_owned()))
    }
}

/// An answer of JSON.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// What its clock says.
    pub(super) date: Option<Timestamp>,
}

impl Answer {
    /// The object of a success.
    pub(super) fn object(self, url: &Url) -> Result<Map<String, Value>, Problem> {
        match self {
            Self { status, body: Value::Object(object), .. } if status.is_success() => Ok(object),
            Self { status, .. } => Err(unexpected(status, url)),
        }
    }
}

pub(super) fn unexpected(status: StatusCode, url: &Url) -> Problem {
    let failure = if status.is_client_error() { Failure::Misconfigured } else { Failure::Unreachable };
    Problem::new(failure, format!("{} answered {status}, or not what was expected", place(url)))
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
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    send(fetch, url, request, body.into_bytes()).await
}

async fn send(
    fetch: &dyn Fetch,
    url: &Url,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<Answer, Problem> {
    // GitHub's API demands a name; its token endpoint answers in a form unless JSON is asked for.
    let request = request.header(ACCEPT, "application/json").header(USER_AGENT, "hallpass").body(body);
    let request = request
        .map_err(|_| Problem::new(Failure::Misconfigured, format!("{} cannot be asked", place(url))))?;
    let response = fetch.fetch(request).await;
    let response = response.map_err(|error| {
        Problem::new(Failure::Unreachable, format!("{} cannot be reached: {error}", place(url)))
    })?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Problem::new(Failure::Unreachable, format!("{} answered {status}", place(url))));
    }
    let body = serde_json::from_slice(response.body()).unwrap_or_default();
    Ok(Answer { status, body, date: date(response.headers()) })
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}
