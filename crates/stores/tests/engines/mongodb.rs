//! MongoDB.

use std::{env, path::PathBuf, time::Duration};

use mongodb::{Client, bson::doc};

use super::{Engine, find, missing};

const HELLO_PAUSE: Duration = Duration::from_millis(50);

/// A fresh replica set of one; `None` when there is no mongod.
pub async fn start() -> Option<Engine> {
    let Some(server) = find("mongod", &[cache()]) else { return missing("MongoDB") };
    let arguments = [
        "--dbpath",
        "{data}",
        "--port",
        "{port}",
        "--bind_ip",
        "127.0.0.1",
        "--replSet",
        "rs",
        "--nounixsocket",
    ];
    let mut engine = Engine::new(&server, &arguments, None);
    engine.start();
    let alone = Client::with_uri_str(format!("mongodb://127.0.0.1:{}/?directConnection=true", engine.port))
        .await
        .unwrap();
    let members = vec![doc! { "_id": 0, "host": format!("127.0.0.1:{}", engine.port) }];
    let admin = alone.database("admin");
    admin.run_command(doc! { "replSetInitiate": { "_id": "rs", "members": members } }).await.unwrap();
    while !admin.run_command(doc! { "hello": 1 }).await.unwrap().get_bool("isWritablePrimary").unwrap() {
        tokio::time::sleep(HELLO_PAUSE).await;
    }
    Some(engine)
}

/// Where scripts/setup puts a mongod.
fn cache() -> PathBuf {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).unwrap_or_default().join("hallpass")
}

pub fn url(engine: &Engine) -> String {
    format!("mongodb://127.0.0.1:{}/test?replicaSet=rs", engine.port)
}
