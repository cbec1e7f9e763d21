//! Paths as clients write them: below the path of `public_url`, with a slash at the end, in capitals, percent-encoded.
//!
//! Express's router ignores a slash at the end and the case of letters unless it is told otherwise, and so do clients
//! that were written for it.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{OriginalUri, Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{Method, Uri, uri::PathAndQuery};

use crate::{app::App, routes::is_page};

/// In the pattern of a route: what stands here is a provider's name, which has small letters only.
const NAME: &str = "{name}";

/// The paths of all routes.
pub(crate) struct Paths {
    base: String,
    routes: Vec<Vec<&'static str>>,
}

/// The client wrote the path in another way than we do.
#[derive(Clone, Copy)]
pub(crate) struct WrittenOtherwise;

impl Paths {
    /// `base` is the path below which browsers reach the server, without a slash at the end.
    pub(crate) fn new(base: &str, routes: impl Iterator<Item = &'static str>) -> Self {
        Self { base: base.to_owned(), routes: routes.map(|route| route.split('/').collect()).collect() }
    }

    /// The path of ours that is meant, and whether it was written as we write it. A proxy may have removed the base.
    fn read(&self, path: &str) -> (String, bool) {
        let decoded = decode(path);
        let (rest, as_ours) = match self.below_base(&decoded) {
            Some((base, rest)) => (rest, base == self.base),
            None => (&*decoded, true),
        };
        let rest = if rest.is_empty() { "/" } else { rest };
        let path = self.routes.iter().find_map(|route| fit(route, rest)).unwrap_or_else(|| rest.to_owned());
        let as_ours = as_ours && path == rest && matches!(decoded, Cow::Borrowed(_));
        (path, as_ours)
    }

    /// The base as it was written, and what follows.
    fn below_base<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let (base, rest) = path.split_at_checked(self.base.len())?;
        let below = base.eq_ignore_ascii_case(&self.base) && (rest.is_empty() || rest.starts_with('/'));
        below.then_some((base, rest))
    }
}

/// The path as this route has it, if it fits: one slash at the end and the case of fixed parts make no difference.
fn fit(route: &[&str], path: &str) -> Option<String> {
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    if path.split('/').count() != route.len() {
        return None;
    }
    let mut fitted = Vec::with_capacity(route.len());
    for (part, wanted) in path.split('/').zip(route) {
        fitted.push(match *wanted {
            NAME if !part.is_empty() => Cow::Owned(part.to_ascii_lowercase()),
            open if open.starts_with('{') && !part.is_empty() => Cow::Borrowed(part),
            fixed if part.eq_ignore_ascii_case(fixed) => Cow::Borrowed(fixed),
            _ => return None,
        });
    }
    Some(fitted.join("/"))
}

/// Letters, digits, `-`, `.`, `_` and `~` mean the same with and without percent-encoding (RFC 3986 §2.3).
fn decode(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut decoded = String::with_capacity(path.len());
    let (mut rest, mut changed) = (path, false);
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            decoded.push(char::from(byte));
            (rest, changed) = (&after[2..], true);
        } else {
            decoded.push('%');
            rest = after;
        }
    }
    decoded.push_str(rest);
    if changed { decoded.into() } else { path.into() }
}

/// Gives the router the path that is meant. What leads back to this request has it as browsers do.
pub(crate) async fn read_path(State(paths): State<Arc<Paths>>, mut request: Request, next: Next) -> Response {
    let (path, as_ours) = paths.read(request.uri().path());
    if as_ours && paths.base.is_empty() {
        return next.run(request).await;
    }
    if !as_ours {
        request.extensions_mut().insert(WrittenOtherwise);
    }
    let shown = with_path(request.uri(), &format!("{}{path}", paths.base));
    if let Some((ours, shown)) = with_path(request.uri(), &path).zip(shown) {
        *request.uri_mut() = ours;
        request.extensions_mut().insert(OriginalUri(shown));
    }
    next.run(request).await
}

/// The same address with another path. `None`: it is no path.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// Sends browsers to the one address that a page has.
pub(crate) async fn to_canonical(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !safe || !is_page(path) || request.extensions().get::<WrittenOtherwise>().is_none() {
        return next.run(request).await;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(&app.at(&format!("{path}{query}"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [&str; 5] =
        ["/", "/login", "/auth/sessions/end", "/auth/sessions/{handle}", "/auth/oauth/{name}/callback"];

    fn read(base: &str, path: &str) -> (String, bool) {
        Paths::new(base, ROUTES.into_iter()).read(path)
    }

    #[test]
    fn case_and_a_slash_at_the_end_make_no_difference() {
        for (path, ours, as_ours) in [
            ("/", "/", true),
            ("/login", "/login", true),
            ("/login/", "/login", false),
            ("/LogIn", "/login", false),
            ("/%6cogin", "/login", false),
            ("/auth/sessions/END/", "/auth/sessions/end", false),
            ("/auth/Sessions/aBc-_", "/auth/sessions/aBc-_", false),
            ("/auth/sessions/aBc", "/auth/sessions/aBc", true),
            ("/auth/oauth/GitHub/callback", "/auth/oauth/github/callback", false),
            ("/login//", "/login//", true),
            ("//login", "//login", true),
            ("/auth/sessions//", "/auth/sessions//", true),
            ("/Unknown/", "/Unknown/", true),
            ("/a%2Fb%", "/a%2Fb%", true),
        ] {
            assert_eq!(read("", path), (ours.to_owned(), as_ours), "{path}");
        }
    }

    #[test]
    fn the_base_may_be_there_or_have_been_removed_by_a_proxy() {
        for (path, ours, as_ours) in [
            ("/app/login", "/login", true),
            ("/login", "/login", true),
            ("/app", "/", true),
            ("/app/", "/", true),
            ("/App/login", "/login", false),
            ("/app/Login/", "/login", false),
            ("/application", "/application", true),
            ("/app/app/login", "/app/login", true),
        ] {
            assert_eq!(read("/app", path), (ours.to_owned(), as_ours), "{path}");
        }
        assert_eq!(read("/caf%C3%A9", "/caf%c3%a9/login"), ("/login".to_owned(), false));
    }
}
