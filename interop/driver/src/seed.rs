//! The tutorial's routes: sign in, something protected, sign out; with the session alone, and with passport.

use axum::{
    http::{StatusCode, header::SET_COOKIE},
    response::Response,
};
use serde_json::{Value, json};

use crate::{cookies, passport, request::Current, script::message};

/// The answer of a seed route; `None`: it is none.
pub(crate) async fn answer(
    mut current: Current,
    config: &Value,
    path: &str,
    body: &Value,
) -> Result<Response, Current> {
    let with_passport = config["seed"] == "passport";
    let (status, body) = match (path, with_passport) {
        ("/auth/login", _) => log_in(&mut current, config, body, with_passport).await,
        ("/create", true) => match &current.user {
            Some(user) => (200, json!({ "ok": true, "userId": user["id"] })),
            None => (401, api_error(401, "Unauthorized")),
        },
        ("/create", false) => match user_id(&current) {
            Some(id) => (200, json!({ "ok": true, "userId": id })),
            None => (401, json!({ "message": "Unauthorized" })),
        },
        ("/logout", true) => log_out_of_passport(&mut current).await,
        ("/logout", false) => log_out(&mut current).await,
        _ => return Err(current),
    };
    current.status = StatusCode::from_u16(status).unwrap_or_default();
    Ok(current.respond("application/json; charset=utf-8", body.to_string()))
}

fn user_id(current: &Current) -> Option<Value> {
    current.live()?.session().get("userId").ok().flatten().filter(|id| *id != Value::Null)
}

fn api_error(status: u16, text: &str) -> Value {
    json!({ "statusCode": status, "data": null, "message": text, "success": false, "error": [] })
}

fn api_response(text: &str) -> Value {
    json!({ "statusCode": 200, "data": {}, "message": text, "success": true })
}

async fn log_in(current: &mut Current, config: &Value, body: &Value, with_passport: bool) -> (u16, Value) {
    let users = config["users"].as_array().into_iter().flatten();
    let same = |user: &&Value| user["email"] == body["email"] && user["password"] == body["password"];
    let Some(user) = users.into_iter().find(same) else {
        return (400, json!({ "message": "Invalid credentials" }));
    };
    if with_passport {
        return match passport::log_in(current, user["_id"].clone(), &Value::Null).await {
            Ok(()) => (200, api_response("User logged in successfully")),
            Err(error) => {
                let mut answer = api_error(500, "Login failed");
                answer["error"] = json!([error]);
                (500, answer)
            }
        };
    }
    if let Some(session) = current.live() {
        let _ = session.session().insert("userId", &user["_id"]);
    }
    (200, json!({ "message": "Logged in successfully" }))
}

async fn destroyed(current: &mut Current) -> Result<(), String> {
    let session = current.live().cloned().ok_or("no session")?;
    session.destroy().await.map_err(|error| message(&error))?;
    if let Some(cookie) = cookies::clear("connect.sid", &Value::Null) {
        current.headers.append(SET_COOKIE, cookie);
    }
    Ok(())
}

async fn log_out(current: &mut Current) -> (u16, Value) {
    match destroyed(current).await {
        Ok(()) => (200, json!({ "message": "Logged out successfully" })),
        Err(_) => (500, json!({ "message": "Internal server error" })),
    }
}

async fn log_out_of_passport(current: &mut Current) -> (u16, Value) {
    if passport::log_out(current, &Value::Null).await.is_err() {
        return (400, api_error(400, "Failed to logout"));
    }
    match destroyed(current).await {
        Ok(()) => (200, api_response("User logged out")),
        Err(_) => (500, api_error(500, "Failed to destroy the session")),
    }
}
