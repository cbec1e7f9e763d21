//! What a script works on.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use hallpass_session::express::ExpressSession;
use serde_json::{Value, value::RawValue};

use crate::{
    config::{Genid, NO_ID},
    net::Net,
};

/// The request that is being served, and what its response has so far.
pub(crate) struct Current {
    pub(crate) session: Option<ExpressSession>,
    /// With passport: `req.user`.
    pub(crate) user: Option<Value>,
    pub(crate) passport: bool,
    pub(crate) net: Net,
    pub(crate) genid: Genid,
    pub(crate) results: Vec<Box<RawValue>>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Current {
    /// `req.session`.
    pub(crate) fn live(&self) -> Option<&ExpressSession> {
        self.session.as_ref().filter(|session| session.exists())
    }

    pub(crate) fn push(&mut self, value: &Value) {
        self.results.extend(serde_json::value::to_raw_value(value));
    }

    /// `req.sessionID`.
    pub(crate) fn id(&self) -> Value {
        match &self.session {
            None => Value::Null,
            Some(session) if self.genid == Genid::Number && session.id() == NO_ID => 42.into(),
            Some(session) => session.id().into(),
        }
    }

    /// What a script's last step answers.
    pub(crate) fn report(&self) -> String {
        let results: Vec<&str> = self.results.iter().map(|raw| raw.get()).collect();
        let session = self.session.as_ref().and_then(ExpressSession::to_json);
        let session = session.as_deref().unwrap_or("null");
        let user = self.user.clone().unwrap_or_default();
        let user = if self.passport {
            format!(",\"auth\":{},\"user\":{user}", self.user.is_some())
        } else {
            String::new()
        };
        let (results, id) = (results.join(","), self.id());
        format!("{{\"results\":[{results}],\"sessionID\":{id},\"session\":{session}{user}}}")
    }

    /// The response with a body of this type.
    pub(crate) fn respond(self, content_type: &'static str, body: impl Into<Body>) -> Response {
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if !content_type.is_empty() {
            response
                .headers_mut()
                .entry(CONTENT_TYPE)
                .or_insert(axum::http::HeaderValue::from_static(content_type));
        }
        response
    }
}

/// The error handler's answer.
pub(crate) fn failed(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "error": message }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    response
}
