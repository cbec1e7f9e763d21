//! `res.cookie` and `res.clearCookie`.

use axum::http::HeaderValue;
use hallpass_session::Timestamp;
use serde_json::{Map, Value};

/// `res.cookie(name, value, options)`.
pub(crate) fn set(name: &str, value: &Value, options: &Value, now: Timestamp) -> Option<HeaderValue> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = if value.is_object() { format!("j:{text}") } else { text };
    let options = options.as_object().cloned().unwrap_or_default();
    let expires = options.get("expires").and_then(Value::as_str).and_then(Timestamp::parse);
    match options.get("maxAge").and_then(Value::as_i64) {
        None => header(name, &text, None, expires, &options),
        Some(age) => {
            let expires = Timestamp::from_millis(now.as_millis() + age);
            header(name, &text, Some(age.div_euclid(1000)), Some(expires), &options)
        }
    }
}

/// `res.clearCookie(name, options)`.
pub(crate) fn clear(name: &str, options: &Value) -> Option<HeaderValue> {
    let options = options.as_object().cloned().unwrap_or_default();
    header(name, "", None, Some(Timestamp::from_millis(1)), &options)
}

fn header(
    name: &str,
    value: &str,
    max_age: Option<i64>,
    expires: Option<Timestamp>,
    options: &Map<String, Value>,
) -> Option<HeaderValue> {
    let text = |key: &str| options.get(key).and_then(Value::as_str);
    let on = |key: &str| options.get(key).and_then(Value::as_bool).unwrap_or_default();
    let flag = |key: &str, attribute: &str| on(key).then(|| attribute.to_owned());
    let same_site = match (text("sameSite").map(str::to_ascii_lowercase).as_deref(), on("sameSite")) {
        (Some("lax"), _) => Some("SameSite=Lax"),
        (Some("strict"), _) | (None, true) => Some("SameSite=Strict"),
        (Some("none"), _) => Some("SameSite=None"),
        _ => None,
    };
    let parts = [
        Some(format!("{name}={}", encode(value))),
        max_age.map(|age| format!("Max-Age={age}")),
        text("domain").map(|domain| format!("Domain={domain}")),
        Some(format!("Path={}", text("path").unwrap_or("/"))),
        expires.map(|at| format!("Expires={}", httpdate::fmt_http_date(at.to_system_time()))),
        flag("httpOnly", "HttpOnly"),
        flag("secure", "Secure"),
        flag("partitioned", "Partitioned"),
        same_site.map(str::to_owned),
    ];
    HeaderValue::try_from(parts.into_iter().flatten().collect::<Vec<_>>().join("; ")).ok()
}

/// `encodeURIComponent`.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
    let encoded = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encoded).collect()
}
