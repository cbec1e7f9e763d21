//! MongoDB.

use std::{env, path::PathBuf, time::Duration};

use mongodb::{Client, bson::doc};

use super::{Engine, Reached, find, missing, named};

const ARGUMENTS: [&str; 9] =
    ["--dbpath", "{data}", "--port", "{port}", "--bind_ip", "127.0.0.1", "--replSet", "rs", "--nounixsocket"];

const HELLO_PAUSE: Duration = Duration::from_millis(50);

/// A fresh replica set of one; `None` when there is no mongod.
pub async fn start() -> Option<Engine> {
    start_set(1).await?.pop()
}

/// A fresh server without a replica set, which has no change streams.
pub fn start_alone() -> Option<Engine> {
    let Some(server) = find("mongod", &[cache()]) else { return missing("MongoDB") };
    let mut engine = Engine::new(&server, &ARGUMENTS[..6], None);
    engine.start();
    Some(engine)
}

/// A fresh replica set of so many.
pub async fn start_set(members: usize) -> Option<Vec<Engine>> {
    start_set_with(members, 1000).await
}

/// The same with the milliseconds after which a primary without a majority steps down, and the others hold an election.
pub async fn start_set_with(members: usize, election_timeout: i32) -> Option<Vec<Engine>> {
    let Some(server) = find("mongod", &[cache()]) else { return missing("MongoDB") };
    let engines: Vec<Engine> = (0..members)
        .map(|_| {
            let mut engine = Engine::new(&server, &ARGUMENTS, None);
            engine.start();
            engine
        })
        .collect();
    let direct = format!("mongodb://127.0.0.1:{}/?directConnection=true", engines[0].port);
    let admin = Client::with_uri_str(direct).await.unwrap().database("admin");
    let member = |(id, engine): (usize, &Engine)| {
        doc! { "_id": i32::try_from(id).unwrap(), "host": format!("127.0.0.1:{}", engine.port), "priority": if id == 0 { 2 } else { 1 } }
    };
    let members: Vec<_> = engines.iter().enumerate().map(member).collect();
    let settings = doc! { "electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300 };
    let mut config = doc! { "_id": "rs", "version": 1, "members": members, "settings": settings };
    admin.run_command(doc! { "replSetInitiate": config.clone() }).await.unwrap();
    while !admin.run_command(doc! { "hello": 1 }).await.unwrap().get_bool("isWritablePrimary").unwrap() {
        tokio::time::sleep(HELLO_PAUSE).await;
    }
    if election_timeout != 1000 {
        config.insert("version", 2);
        config.get_document_mut("settings").unwrap().insert("electionTimeoutMillis", election_timeout);
        // Refused until the other members have the first one.
        while admin.run_command(doc! { "replSetReconfig": config.clone() }).await.is_err() {
            tokio::time::sleep(HELLO_PAUSE).await;
        }
    }
    Some(engines)
}

/// Has the primary hand over to another member.
pub async fn step_down(primary: &Engine) {
    let direct = format!("mongodb://127.0.0.1:{}/?directConnection=true", primary.port);
    let admin = Client::with_uri_str(direct).await.unwrap().database("admin");
    admin.run_command(doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 3 }).await.unwrap();
}

/// Has this member become the primary, which takes a majority.
pub async fn step_up(member: &Engine) {
    let direct = format!("mongodb://127.0.0.1:{}/?directConnection=true", member.port);
    let admin = Client::with_uri_str(direct).await.unwrap().database("admin");
    while admin.run_command(doc! { "replSetStepUp": 1 }).await.is_err() {
        tokio::time::sleep(HELLO_PAUSE).await;
    }
}

/// Where scripts/setup puts a mongod.
fn cache() -> PathBuf {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).unwrap_or_default().join("hallpass")
}

pub fn url(engine: &Engine) -> String {
    set_url(std::slice::from_ref(engine))
}

pub fn set_url(engines: &[Engine]) -> String {
    let hosts: Vec<String> = engines.iter().map(|engine| format!("127.0.0.1:{}", engine.port)).collect();
    format!("mongodb://{}/test?replicaSet=rs", hosts.join(","))
}

/// The server of `MONGODB_URI`, or a fresh one.
pub async fn reach() -> Option<Reached> {
    if let Some(named) = named("MONGODB_URI") {
        return Some(named);
    }
    let engine = start().await?;
    Some(Reached { url: url(&engine), _engine: Some(engine) })
}
