//! Where a request comes from, by what browsers say: the check of changes that other sites may have caused.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hallpass_session::{Client, Scheme};
use http::{
    HeaderMap, HeaderName,
    header::{ORIGIN, REFERER},
};
use url::Url;

use super::refused;
use crate::{app::App, config::Config, input::is_safe, routes::oauth};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses changes from other sites by `Origin`, `Sec-Fetch-Site`, else `Referer`; but not those that the CORS policy
/// lets act, nor what sign-in providers post.
pub(crate) async fn refuse_other_sites(State(app): State<App>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Client>();
    if is_safe(request.method())
        || oauth::is_posted_by_providers(request.uri().path())
        || is_from_here(request.headers(), client, app.config())
    {
        return next.run(request).await;
    }
    refused().into_response()
}

/// A header field that may be there once.
enum Field<'a> {
    Missing,
    One(&'a str),
    /// Twice, or no text: no browser sends that, so it proves nothing.
    Bad,
}

impl<'a> Field<'a> {
    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        let mut fields = headers.get_all(name).iter();
        match (fields.next(), fields.next()) {
            (None, _) => Self::Missing,
            (Some(field), None) => field.to_str().map_or(Self::Bad, Self::One),
            (Some(_), Some(_)) => Self::Bad,
        }
    }
}

/// Whether browsers' headers say that the request comes from this site or a trusted origin. A request without any of
/// them is no browser's: every browser since 2020 sends `Origin` with changes, and only browsers add cookies to what
/// another site asks for.
fn is_from_here(headers: &HeaderMap, client: Option<&Client>, config: &Config) -> bool {
    use Field::{Bad, Missing, One};
    match (Field::of(headers, &ORIGIN), Field::of(headers, &FETCH_SITE)) {
        (Bad, _) | (_, Bad) => false,
        (One(origin), _) if is_trusted(origin, config) => true,
        (_, One(site)) => matches!(site, "same-origin" | "none"),
        (One(origin), Missing) => is_own(origin, client, config),
        (Missing, Missing) => match Field::of(headers, &REFERER) {
            Missing => true,
            One(page) => Url::parse(page).is_ok_and(|page| {
                let origin = page.origin().ascii_serialization();
                is_trusted(&origin, config) || is_own(&origin, client, config)
            }),
            Bad => false,
        },
    }
}

/// Whether this is the origin of `public_url`, or one that the operator names.
fn is_trusted(origin: &str, config: &Config) -> bool {
    config.trusted_origins.iter().any(|trusted| trusted == origin) || config.cors.allows_acting(origin)
}

/// Whether this is the origin that the request was addressed to, under a host that is ours. On https its http twin,
/// which anybody in the network can speak for, is another origin.
fn is_own(origin: &str, client: Option<&Client>, config: &Config) -> bool {
    let Some((client, host)) = client.and_then(|client| Some((client, client.host.as_deref()?))) else {
        return false;
    };
    let is_https = config.is_https() || client.scheme == Scheme::Https;
    let authority = match origin.split_once("://") {
        Some(("https", authority)) => authority,
        Some(("http", authority)) if !is_https => authority,
        _ => return false,
    };
    // Browsers leave out the port that a scheme has by itself; what stands before us may write it (RFC 9110 §4.2.3).
    let usual = if origin.starts_with("https:") { ":443" } else { ":80" };
    let bare = |text: &str| text.strip_suffix(usual).unwrap_or(text).to_ascii_lowercase();
    bare(authority) == bare(host) && config.allowed_hosts.allows(host)
}
