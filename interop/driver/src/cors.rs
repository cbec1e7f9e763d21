//! The `cors` package 2.8, whose answers cases expect.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::Response,
};
use regex_lite::Regex;
use serde_json::Value;

/// What a request from an origin is answered with.
pub(crate) struct Cors<'a> {
    options: &'a Value,
    request: &'a HeaderMap,
    answer: HeaderMap,
}

/// The headers for a request; with a response when it was a preflight, which nothing else answers.
pub(crate) fn handle(options: &Value, method: &Method, request: &HeaderMap) -> (HeaderMap, Option<Response>) {
    if !options.is_object() || options.get("origin") == Some(&Value::Bool(false)) {
        return (HeaderMap::new(), None);
    }
    let mut cors = Cors { options, request, answer: HeaderMap::new() };
    cors.origin();
    if options["credentials"] == Value::Bool(true) {
        cors.set("access-control-allow-credentials", "true");
    }
    if method != Method::OPTIONS {
        cors.list("access-control-expose-headers", "exposedHeaders");
        return (cors.answer, None);
    }
    cors.preflight();
    if options["preflightContinue"] == Value::Bool(true) {
        return (cors.answer, None);
    }
    let status = options["optionsSuccessStatus"].as_u64().and_then(|status| u16::try_from(status).ok());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status.unwrap_or(204)).unwrap_or(StatusCode::NO_CONTENT);
    response.headers_mut().insert("content-length", HeaderValue::from_static("0"));
    (cors.answer, Some(response))
}

impl Cors<'_> {
    fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.answer.insert(HeaderName::from_static(name), value);
        }
    }

    fn vary(&mut self, name: &str) {
        let known = self.answer.get("vary").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let value = known.map_or_else(|| name.to_owned(), |known| format!("{known}, {name}"));
        self.set("vary", &value);
    }

    fn origin(&mut self) {
        let origin = self.request.get("origin").and_then(|value| value.to_str().ok()).map(str::to_owned);
        match self.options.get("origin") {
            None | Some(Value::Null) => self.set("access-control-allow-origin", "*"),
            Some(Value::String(any)) if any == "*" => self.set("access-control-allow-origin", "*"),
            Some(Value::String(fixed)) => {
                let fixed = fixed.clone();
                self.set("access-control-allow-origin", &fixed);
                self.vary("Origin");
            }
            Some(allowed) => {
                let allowed = origin.filter(|origin| allows(allowed, origin));
                if let Some(origin) = allowed {
                    self.set("access-control-allow-origin", &origin);
                }
                self.vary("Origin");
            }
        }
    }

    fn preflight(&mut self) {
        if self.options.get("methods").is_some() {
            self.list("access-control-allow-methods", "methods");
        } else {
            self.set("access-control-allow-methods", "GET,HEAD,PUT,PATCH,POST,DELETE");
        }
        if self.options.get("allowedHeaders").is_some() {
            self.list("access-control-allow-headers", "allowedHeaders");
        } else {
            let asked =
                self.request.get("access-control-request-headers").and_then(|value| value.to_str().ok());
            let asked = asked.map(str::to_owned);
            self.vary("Access-Control-Request-Headers");
            if let Some(asked) = asked {
                self.set("access-control-allow-headers", &asked);
            }
        }
        match &self.options["maxAge"] {
            Value::Number(seconds) => {
                let seconds = seconds.to_string();
                self.set("access-control-max-age", &seconds);
            }
            Value::String(seconds) if !seconds.is_empty() => {
                let seconds = seconds.clone();
                self.set("access-control-max-age", &seconds);
            }
            _ => {}
        }
        self.list("access-control-expose-headers", "exposedHeaders");
    }

    fn list(&mut self, name: &'static str, option: &str) {
        let list = match &self.options[option] {
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            Value::String(text) => text.clone(),
            _ => return,
        };
        if !list.is_empty() {
            self.set(name, &list);
        }
    }
}

fn allows(allowed: &Value, origin: &str) -> bool {
    match allowed {
        Value::Array(any) => any.iter().any(|allowed| allows(allowed, origin)),
        Value::String(text) => text == origin,
        Value::Object(pattern) => {
            let pattern = pattern.get("regex").and_then(Value::as_str).unwrap_or_default();
            Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(origin))
        }
        other => other.as_bool().unwrap_or(!other.is_null()),
    }
}
