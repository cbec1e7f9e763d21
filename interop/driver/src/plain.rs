//! Scripts for handlers that know [`Session`] alone, over either layer: what an application on the library does.

use std::time::Duration;

use axum::{
    body::Body,
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::Response,
};
use hallpass_session::Session;
use serde_json::{Value, json, value::RawValue};

use crate::{
    request::failed,
    script::{self, Step, message, text, value},
};

/// Runs the script of a request.
pub(crate) async fn run(parts: &Parts) -> Response {
    let steps = match script::read(parts.headers.get("x-script")) {
        Ok(steps) => steps,
        Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, &error),
    };
    let session = match Session::of(parts).await {
        Ok(session) => session,
        Err(error) => return failed(StatusCode::SERVICE_UNAVAILABLE, &message(&error)),
    };
    let mut results = Vec::new();
    for one in &steps {
        match step(&session, one).await {
            Ok(result) => results.extend(result),
            Err(error) => return failed(StatusCode::INTERNAL_SERVER_ERROR, &error),
        }
    }
    let mut response = Response::new(Body::from(report(&session, &results)));
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}

/// Does one step; what it adds to the results.
async fn step(session: &Session, step: &Step) -> Result<Option<Value>, String> {
    let name = text(step, 0);
    match name.as_str() {
        "set" => session.insert_raw(&text(step, 1), step.get(2).cloned().unwrap_or_default()),
        "del" => drop(session.remove(&text(step, 1))),
        "inc" => {
            let key = text(step, 1);
            let now: i64 = session.get(&key).map_err(|error| error.to_string())?.unwrap_or_default();
            session.insert(&key, &(now + 1)).map_err(|error| error.to_string())?;
        }
        "login" => session.establish(&text(step, 1)),
        "logout" => session.destroy(),
        "renew" => session.renew(),
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(value(step, 1).as_u64().unwrap_or_default())).await;
        }
        "save" => {
            return session.save().await.map(|saved| Some(saved.into())).map_err(|error| message(&error));
        }
        other => return Err(format!("plain handlers do not know {other:?}")),
    }
    Ok(None)
}

/// What the session is by now, its values as they are written.
fn report(session: &Session, results: &[Value]) -> String {
    let entry = |key: &String| {
        let raw =
            session.get_raw(key).map_or_else(|| "null".to_owned(), |raw: Box<RawValue>| raw.get().to_owned());
        format!("{}:{raw}", json!(key))
    };
    let data: Vec<String> = session.keys().iter().map(entry).collect();
    let (user, results) = (json!(session.user()), json!(results));
    format!("{{\"results\":{results},\"user\":{user},\"session\":{{{}}}}}", data.join(","))
}
