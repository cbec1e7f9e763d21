//! The layouts shared with Express keep the contract for sessions, in every form their options give them.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod engines;

use std::{sync::Arc, time::Duration};

use engines::{mongodb, postgres, redis};
use hallpass_session::{
    SessionStore,
    conformance::{SWEEP, run_express, run_without},
    express::ExpressStore,
};
use hallpass_stores::{
    AutoRemove, ConnectMongo, ConnectMongoOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, Crypto, TransformId, WebCrypto,
};

/// What objects cannot keep: `1.50` becomes `1.5`.
const VERBATIM: &str = "documents survive byte for byte";

/// What the store promises to either layer.
async fn check<S: SessionStore + ExpressStore>(store: S, except: &[&str]) {
    let store = Arc::new(store);
    run_without(store.clone(), except).await;
    run_express(store).await;
}

fn pg() -> ConnectPgOptions {
    ConnectPgOptions { create_table: true, ..ConnectPgOptions::default() }
}

/// MongoDB's own clock is later than the suite's, so its index would end the suite's sessions.
fn mongo(collection: &str) -> ConnectMongoOptions {
    ConnectMongoOptions {
        collection: collection.to_owned(),
        auto_remove: AutoRemove::Interval(Duration::from_secs(600)),
        ..ConnectMongoOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple() {
    let Some(server) = postgres::reach() else { return };
    check(ConnectPg::connect(&server.url, &pg()).await.unwrap(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_pg_simple_with_names_of_its_own_in_another_time_zone() {
    let Some(server) = postgres::reach() else { return };
    let options = ConnectPgOptions {
        table: "my \"odd\" sessions".to_owned(),
        columns: ["id", "data", "until"].map(str::to_owned),
        schema: Some("public".to_owned()),
        time_zone: Some("Asia/Tokyo".to_owned()),
        ..pg()
    };
    check(ConnectPg::connect(&server.url, &options).await.unwrap(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis() {
    let Some(server) = redis::reach() else { return };
    let store = ConnectRedis::connect(&server.url, &ConnectRedisOptions::default()).await.unwrap();
    check(store, &[SWEEP]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_redis_without_a_prefix_in_a_cluster() {
    let Some(nodes) = redis::start_cluster() else { return };
    let options = ConnectRedisOptions { prefix: String::new(), ..ConnectRedisOptions::default() };
    let store = ConnectRedis::connect(&redis::cluster_url(&nodes), &options).await.unwrap();
    check(store, &[SWEEP]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo() {
    let Some(server) = mongodb::reach().await else { return };
    check(ConnectMongo::connect(&server.url, &mongo("plain")).await.unwrap(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_objects() {
    let Some(server) = mongodb::reach().await else { return };
    let options = ConnectMongoOptions { stringify: false, timestamps: true, ..mongo("objects") };
    let store = ConnectMongo::connect(&server.url, &options).await.unwrap();
    check(store, &[VERBATIM]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_web_crypto_and_prefixed_ids() {
    let Some(server) = mongodb::reach().await else { return };
    let options = ConnectMongoOptions {
        crypto: Some(Crypto::WebCrypto(WebCrypto::new("a secret".to_owned()))),
        transform_id: TransformId::Prefix("p:".to_owned()),
        ..mongo("sealed")
    };
    check(ConnectMongo::connect(&server.url, &options).await.unwrap(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_mongo_with_kruptein_and_hashed_ids() {
    let Some(server) = mongodb::reach().await else { return };
    let options = ConnectMongoOptions {
        crypto: Some(Crypto::Kruptein("a secret".to_owned().into())),
        transform_id: TransformId::Sha256,
        ..mongo("kruptein")
    };
    check(ConnectMongo::connect(&server.url, &options).await.unwrap(), &[]).await;
}
