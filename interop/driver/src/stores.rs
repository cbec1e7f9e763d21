//! The store of a case: what `store` in its configuration says, in the words of connect-mongo, connect-redis or connect-pg-simple.

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hallpass_session::express::ExpressStore;
use hallpass_stores::{
    AutoRemove, ConnectMongo, ConnectMongoOptions, ConnectOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, Crypto, TransformId, WebCrypto,
};
use serde_json::{Value, json};

use crate::{config::Config, script::message};

/// The servers that the driver was told of.
pub(crate) struct Servers {
    pub(crate) mongo: Option<String>,
    /// The database there.
    pub(crate) db: String,
    pub(crate) redis: Option<String>,
    pub(crate) postgres: Option<String>,
    /// Stores that cases have wanted before: connecting, and making keys of secrets, takes long.
    pub(crate) known: Mutex<HashMap<String, Arc<dyn ExpressStore>>>,
}

impl Servers {
    /// The store that a case wants.
    pub(crate) async fn store(&self, config: &Config) -> Result<Arc<dyn ExpressStore>, String> {
        let whole = &config.whole;
        // The cookie is of interest only to the ordinary layer's side of the store.
        let cookie = config.ordinary_layer().then(|| &whole["session"]);
        let name = json!([whole["store"], whole["hallpass"], cookie]).to_string();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let store = self.connect(config).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, store.clone());
        Ok(store)
    }

    async fn connect(&self, config: &Config) -> Result<Arc<dyn ExpressStore>, String> {
        let store = &config.whole["store"];
        let url = |url: &Option<String>, flag: &str| url.clone().ok_or(format!("the driver needs --{flag}"));
        Ok(match store["type"].as_str() {
            None | Some("mongo") => {
                let options = mongo(config, store, &self.db);
                let connected = ConnectMongo::connect(&url(&self.mongo, "mongo")?, &options).await;
                Arc::new(connected.map_err(|error| message(&error))?)
            }
            Some("redis" | "redis10") => {
                let connected =
                    ConnectRedis::connect(&url(&self.redis, "redis")?, &redis(config, store)).await;
                Arc::new(connected.map_err(|error| message(&error))?)
            }
            Some("pg") => {
                let connected =
                    ConnectPg::connect(&url(&self.postgres, "postgres")?, &pg(config, store)).await;
                Arc::new(connected.map_err(|error| message(&error))?)
            }
            Some(other) => return Err(format!("there is no store of type {other:?}")),
        })
    }
}

fn connect(config: &Config, store: &Value, default: ConnectOptions) -> ConnectOptions {
    ConnectOptions {
        ttl: seconds(&store["ttl"]).unwrap_or(default.ttl),
        user_path: config.user_path().map(str::to_owned),
        cookie: config.cookie_options(),
        ..default
    }
}

fn mongo(config: &Config, store: &Value, database: &str) -> ConnectMongoOptions {
    let defaults = ConnectMongoOptions::default();
    let mut options = ConnectMongoOptions {
        connect: connect(config, store, defaults.connect.clone()),
        database: Some(database.to_owned()),
        touch_after: seconds(&store["touchAfter"]).unwrap_or_default(),
        stringify: store["stringify"].as_bool().unwrap_or(true),
        timestamps: store["timestamps"].as_bool().unwrap_or_default(),
        ..defaults
    };
    if let Some(collection) = store["collectionName"].as_str() {
        collection.clone_into(&mut options.collection);
    }
    let minutes = store["autoRemoveInterval"].as_u64().and_then(NonZeroU64::new).map_or(10, NonZeroU64::get);
    options.auto_remove = match store["autoRemove"].as_str() {
        None | Some("native") => AutoRemove::Native,
        Some("interval") => AutoRemove::Interval(Duration::from_secs(60 * minutes)),
        Some(_) => AutoRemove::Disabled,
    };
    if let Some(prefix) = store["transformIdPrefix"].as_str() {
        options.transform_id = TransformId::Prefix(prefix.to_owned());
    }
    let secret = |options: &Value| options["secret"].as_str().unwrap_or_default().to_owned();
    if let Some(crypto) = store.get("webcrypto") {
        options.crypto = Some(Crypto::WebCrypto(WebCrypto::new(secret(crypto))));
    }
    if let Some(crypto) = store.get("crypto") {
        options.crypto = Some(Crypto::Kruptein(secret(crypto).into()));
    }
    options
}

fn redis(config: &Config, store: &Value) -> ConnectRedisOptions {
    let defaults = ConnectRedisOptions::default();
    ConnectRedisOptions {
        connect: connect(config, store, defaults.connect.clone()),
        prefix: store["prefix"].as_str().map_or(defaults.prefix, str::to_owned),
        disable_touch: store["disableTouch"].as_bool().unwrap_or_default(),
        disable_ttl: store["disableTTL"].as_bool().unwrap_or_default(),
    }
}

fn pg(config: &Config, store: &Value) -> ConnectPgOptions {
    let defaults = ConnectPgOptions::default();
    ConnectPgOptions {
        connect: connect(config, store, defaults.connect.clone()),
        schema: store["schemaName"].as_str().map(str::to_owned),
        table: store["tableName"].as_str().map_or(defaults.table, str::to_owned),
        create_table: store["createTableIfMissing"].as_bool().unwrap_or_default(),
        disable_touch: store["disableTouch"].as_bool().unwrap_or_default(),
        prune_interval: None,
        // Not an option of connect-pg-simple, but of the connections that it is given.
        time_zone: store["timeZone"].as_str().map(str::to_owned),
        columns: defaults.columns,
        triggers: store["triggers"].as_bool().unwrap_or_default(),
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}
