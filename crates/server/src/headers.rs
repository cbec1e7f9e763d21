//! Headers that every answer carries (OWASP Secure Headers, ASVS 5.0 V3.4).

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{
    HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use crate::{app::App, pages::ASSETS};

/// Nothing but our own style sheet, images in it, and forms that post here. There is no script to allow.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

const FIXED: [(HeaderName, HeaderValue); 7] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Not `no-referrer`: with it browsers send `Origin: null` even to this site, and old ones know no Sec-Fetch-Site.
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
];

pub(crate) async fn secure(State(app): State<App>, request: Request, next: Next) -> Response {
    let asset = request.uri().path().starts_with(ASSETS);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // Answers to what a provider sends say `no-referrer`: their address holds a code.
    let strict = headers.get(REFERRER_POLICY).filter(|policy| *policy == "no-referrer").cloned();
    for (name, value) in FIXED {
        headers.insert(name, value);
    }
    if let Some(strict) = strict {
        headers.insert(REFERRER_POLICY, strict);
    }
    if let Some(policy) = &app.config().hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, policy.clone());
    }
    if !asset || !headers.contains_key(CACHE_CONTROL) {
        // Everything else is about one person and this moment; the back button must not show it after signing out.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
