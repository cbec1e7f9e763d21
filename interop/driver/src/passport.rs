//! passport 0.7: its session strategy, `logIn` and `logOut`, on the session's own methods.

use hallpass_session::express::ExpressSession;
use serde_json::{Value, json, value::RawValue};

use crate::{request::Current, script::message};

const NO_SUPPORT: &str =
    "Login sessions require session support. Did you forget to use `express-session` middleware?";

/// `passport.session()`: who is signed in; or the error of the whole request.
pub(crate) fn authenticate(session: Option<&ExpressSession>) -> Result<Option<Value>, String> {
    let session = session.ok_or(NO_SUPPORT)?;
    let passport: Option<Value> = session.session().get("passport").ok().flatten();
    let user = passport.as_ref().map_or(&Value::Null, |passport| &passport["user"]);
    if !(is_true(user) || user.as_f64() == Some(0.0)) {
        return Ok(None);
    }
    match user.as_str() {
        Some("boom") => Err("deserialize failed".to_owned()),
        Some("gone") => {
            forget(session);
            Ok(None)
        }
        _ => Ok(Some(json!({ "id": user }))),
    }
}

/// `req.logIn({ id }, options)`.
pub(crate) async fn log_in(request: &mut Current, id: Value, options: &Value) -> Result<(), String> {
    request.user = Some(json!({ "id": id }));
    if options["session"] == Value::Bool(false) {
        return Ok(());
    }
    let done = establish(request, &id, options).await;
    if done.is_err() {
        request.user = None;
    }
    done
}

async fn establish(request: &Current, id: &Value, options: &Value) -> Result<(), String> {
    let session = request.session.as_ref().filter(|session| session.exists()).ok_or(NO_SUPPORT)?;
    let former = Former::of(session);
    session.regenerate().await.map_err(|error| message(&error))?;
    if id == "noserial" {
        return Err("cannot serialize".to_owned());
    }
    if !(is_true(id) || id.as_f64() == Some(0.0)) {
        return Err("Failed to serialize user into session".to_owned());
    }
    if is_true(&options["keepSessionInfo"]) {
        former.merge_into(session);
    }
    let mut passport = session.session().get::<Value>("passport").ok().flatten().unwrap_or_else(|| json!({}));
    passport["user"] = id.clone();
    session.session().insert("passport", &passport).map_err(|error| message(&error))?;
    session.save().await.map(drop).map_err(|error| message(&error))
}

/// `req.logOut(options)`.
pub(crate) async fn log_out(request: &mut Current, options: &Value) -> Result<(), String> {
    request.user = None;
    let session = request.session.as_ref().filter(|session| session.exists()).ok_or(NO_SUPPORT)?;
    forget(session);
    session.save().await.map_err(|error| message(&error))?;
    let former = Former::of(session);
    session.regenerate().await.map_err(|error| message(&error))?;
    if is_true(&options["keepSessionInfo"]) {
        former.merge_into(session);
    }
    Ok(())
}

/// `delete req.session.passport.user`.
fn forget(session: &ExpressSession) {
    if let Ok(Some(Value::Object(mut passport))) = session.session().get::<Value>("passport") {
        passport.remove("user");
        let _ = session.session().insert("passport", &passport);
    }
}

/// A session's own properties, its cookie among them.
struct Former {
    cookie: Option<hallpass_session::express::ExpressCookie>,
    data: Vec<(String, Box<RawValue>)>,
}

impl Former {
    fn of(session: &ExpressSession) -> Self {
        let plain = session.session();
        let data =
            plain.keys().into_iter().filter_map(|key| Some((key.clone(), plain.get_raw(&key)?))).collect();
        Self { cookie: session.cookie(), data }
    }

    fn merge_into(self, session: &ExpressSession) {
        if let Some(cookie) = self.cookie {
            let _ = session.put_cookie(cookie);
        }
        for (key, value) in self.data {
            session.session().insert_raw(&key, value);
        }
    }
}

/// What JavaScript takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
