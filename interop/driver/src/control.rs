//! The control paths: configure, ask for what the store was asked, make it fail.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{request::failed, spy::Shared, stack::Stack, stores::Servers};

/// The driver: one stack at a time.
pub(crate) struct Driver {
    servers: Servers,
    settled: bool,
    stack: RwLock<Option<Arc<Stack>>>,
    notes: Shared,
    connected: AtomicBool,
}

impl Driver {
    pub(crate) fn new(servers: Servers, settled: bool) -> Arc<Self> {
        let (stack, notes, connected) = (RwLock::default(), Shared::default(), AtomicBool::new(true));
        Arc::new(Self { servers, settled, stack, notes, connected })
    }

    async fn configure(&self, config: Value) -> Result<(), String> {
        let stack = Stack::new(config, &self.servers, self.settled, self.notes.clone()).await?;
        self.notes.with(|notes| {
            notes.asked.clear();
            notes.failing.clear();
            notes.slow.clear();
        });
        self.connected.store(true, Ordering::Relaxed);
        *self.stack.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(stack));
        Ok(())
    }
}

pub(crate) fn app(driver: Arc<Driver>) -> Router {
    Router::new().route("/__ctl/{what}", post(control)).fallback(serve).with_state(driver)
}

async fn serve(State(driver): State<Arc<Driver>>, request: Request<Body>) -> Response {
    let stack = driver.stack.read().unwrap_or_else(PoisonError::into_inner).clone();
    match stack {
        Some(stack) => stack.serve(driver.connected.load(Ordering::Relaxed), request).await,
        None => failed(StatusCode::SERVICE_UNAVAILABLE, "POST a configuration to /__ctl/config first"),
    }
}

async fn control(State(driver): State<Arc<Driver>>, Path(what): Path<String>, body: Bytes) -> Response {
    match what.as_str() {
        "config" => match driver.configure(read(&body)).await {
            Ok(()) => json_response(&json!({ "ok": true, "server": "hallpass" })),
            Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error),
        },
        "ops" => {
            let asked = driver.notes.with(|notes| std::mem::take(&mut notes.asked));
            json_response(&json!(asked))
        }
        "fail" => {
            driver.notes.with(|notes| notes.failing = read(&body));
            json_response(&json!({ "ok": true }))
        }
        "delay" => {
            let slow: HashMap<String, u64> = read(&body);
            driver.notes.with(|notes| notes.slow = slow);
            json_response(&json!({ "ok": true }))
        }
        "emit" => {
            let event: Value = read(&body);
            driver.connected.store(event["event"] != "disconnect", Ordering::Relaxed);
            json_response(&json!({ "ok": true }))
        }
        _ => failed(StatusCode::NOT_FOUND, "no such control"),
    }
}

fn read<T: DeserializeOwned + Default>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_default()
}

fn json_response(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}
