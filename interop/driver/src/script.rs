//! The steps of a script.

use std::{error::Error, time::Duration};

use axum::http::{
    HeaderName, HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE, VARY},
};
use hallpass_session::{
    Timestamp,
    express::{ExpressError, ExpressSession},
};
use serde_json::{Value, json, value::RawValue};

use crate::{cookies, passport, request::Current};

/// One step: its name and its arguments, as they were written.
pub(crate) type Step = Vec<Box<RawValue>>;

/// What a step leads to.
pub(crate) enum Next {
    /// The step after it.
    Step,
    /// The head of the response leaves, with this much of the body.
    Write(String),
    /// The response ends: its content type, its last piece.
    End(&'static str, String),
    /// An exception.
    Throw(String),
}

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The script in a request's header; none is empty.
pub(crate) fn read(header: Option<&HeaderValue>) -> Result<Vec<Step>, String> {
    let text = header.and_then(|header| header.to_str().ok()).unwrap_or("[]");
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// What the innermost cause says.
pub(crate) fn message(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), message)
}

pub(crate) fn text(step: &Step, at: usize) -> String {
    step.get(at).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

pub(crate) fn value(step: &Step, at: usize) -> Value {
    step.get(at).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Does one step.
pub(crate) async fn step(current: &mut Current, step: &Step, now: Timestamp) -> Next {
    match text(step, 0).as_str() {
        name @ ("set" | "del" | "inc" | "peek" | "cookie" | "touch" | "save" | "reload" | "regenerate"
        | "destroy") => {
            let Some(session) = current.live().cloned() else {
                current.push(&json!("err:no session"));
                return Next::Step;
            };
            return on_session(current, &session, name, step, now).await;
        }
        "unset" => {
            if let Some(session) = &current.session {
                session.unset();
            }
        }
        "login" => {
            let done = passport::log_in(current, value(step, 1), &value(step, 2)).await;
            current.push(&outcome(done));
        }
        "logout" => {
            let done = passport::log_out(current, &value(step, 1)).await;
            current.push(&outcome(done));
        }
        "net" => {
            let net = current.net.to_json();
            current.push(&net);
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(value(step, 1).as_u64().unwrap_or_default())).await;
        }
        "status" => {
            let status = value(step, 1).as_u64().and_then(|status| u16::try_from(status).ok());
            current.status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
        }
        "header" => {
            let name = HeaderName::try_from(text(step, 1));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(text(step, 2))) {
                current.headers.insert(name, value);
            }
        }
        "rescookie" => {
            let cookie = cookies::set(&text(step, 1), &value(step, 2), &value(step, 3), now);
            cookie.map(|cookie| current.headers.append(SET_COOKIE, cookie));
        }
        "clearCookie" => {
            let cookie = cookies::clear(&text(step, 1), &value(step, 2));
            cookie.map(|cookie| current.headers.append(SET_COOKIE, cookie));
        }
        "flush" => return Next::Write(String::new()),
        "write" => return Next::Write(text(step, 1)),
        "end" => return Next::End("", text(step, 1)),
        "send" => return Next::End(HTML, text(step, 1)),
        "redirect" => {
            current.status = StatusCode::FOUND;
            let to = text(step, 1);
            if let Ok(location) = HeaderValue::try_from(&to) {
                current.headers.insert(LOCATION, location);
            }
            // Express chooses between text and HTML.
            current.headers.insert(VARY, HeaderValue::from_static("Accept"));
            return Next::End(TEXT, format!("Found. Redirecting to {to}"));
        }
        "throw" => return Next::Throw(text(step, 1)),
        "json" => return Next::End(JSON, current.report()),
        other => return Next::Throw(format!("unknown op {other}")),
    }
    Next::Step
}

/// A step that needs `req.session`.
async fn on_session(
    current: &mut Current,
    session: &ExpressSession,
    name: &str,
    step: &Step,
    now: Timestamp,
) -> Next {
    let plain = session.session();
    match name {
        "set" => {
            if let Some(raw) = step.get(2) {
                plain.insert_raw(&text(step, 1), raw.clone());
            }
        }
        "del" => drop(plain.remove(&text(step, 1))),
        "inc" => {
            let key = text(step, 1);
            let next = plain.get::<f64>(&key).ok().flatten().unwrap_or_default() + 1.0;
            let _ = plain.insert(&key, &next);
        }
        "peek" => {
            let seen = peek(current, session, &text(step, 1), now);
            current.results.push(seen);
        }
        "cookie" => {
            if let Err(error) = assign(session, &value(step, 1), now) {
                return Next::Throw(error.to_string());
            }
        }
        "touch" => {
            if let Err(error) = session.touch() {
                return Next::Throw(error.to_string());
            }
        }
        "save" => current.push(&outcome(session.save().await.map(drop).map_err(|error| message(&error)))),
        "reload" => current.push(&outcome(session.reload().await.map_err(|error| message(&error)))),
        "regenerate" => current.push(&outcome(session.regenerate().await.map_err(|error| message(&error)))),
        _ => current.push(&outcome(session.destroy().await.map_err(|error| message(&error)))),
    }
    Next::Step
}

fn outcome(done: Result<(), String>) -> Value {
    done.map_or_else(|error| format!("err:{error}").into(), |()| "ok".into())
}

fn peek(current: &Current, session: &ExpressSession, key: &str, now: Timestamp) -> Box<RawValue> {
    let json = match key {
        "cookie.maxAge" => {
            let cookie = session.cookie();
            let left = cookie.as_ref().and_then(|cookie| cookie.max_age(now)).map(Value::from);
            // Without a date JavaScript gives what is there in its place.
            let instead = || cookie.and_then(|cookie| expires(&cookie.to_json()));
            left.or_else(instead).map_or_else(|| json!({}), |left| json!({ "ms": left })).to_string()
        }
        "id" => current.id().to_string(),
        "cookie" => session.cookie().map_or_else(|| "null".to_owned(), |cookie| cookie.to_json()),
        key => session.session().get_raw(key).map_or_else(|| "null".to_owned(), |raw| raw.get().to_owned()),
    };
    RawValue::from_string(json).unwrap_or_default()
}

/// What stands in a cookie's JSON for its end, if anything.
fn expires(cookie: &str) -> Option<Value> {
    serde_json::from_str::<Value>(cookie).ok()?.get("expires").cloned()
}

/// Assigns properties of the cookie.
fn assign(session: &ExpressSession, properties: &Value, now: Timestamp) -> Result<(), ExpressError> {
    for (name, value) in properties.as_object().into_iter().flatten() {
        if name == "expiresInMs" {
            let left = value.as_i64().unwrap_or_default();
            session.set_expires(Timestamp::from_millis(now.as_millis() + left))?;
        } else {
            session.set_cookie(name, value.clone())?;
        }
    }
    Ok(())
}
