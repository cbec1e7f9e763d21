//! [`inspect`]: what is set for a database so that it may take back what it has answered.

use crate::{DurabilityWarning, OpenOptions, StoreUrl, StoresError};

/// Connects to a database and reads the settings that matter for what it keeps. Nothing is made or changed, and a file is not opened.
pub async fn inspect(url: &StoreUrl, options: &OpenOptions) -> Result<Vec<DurabilityWarning>, StoresError> {
    match url {
        #[cfg(feature = "sqlite")]
        StoreUrl::Sqlite(path) => Ok(crate::sqlite::file_durability(path)),
        #[cfg(feature = "mongodb")]
        StoreUrl::Mongo(url) => {
            use crate::mongo::{KIND, Mongo};
            let mongo = Mongo::reach(url.expose(), &options.server, None, "hallpass").await?;
            Ok(mongo.durability().await.map_err(|error| crate::ConnectError::asking(KIND, error))?)
        }
        #[cfg(feature = "postgres")]
        StoreUrl::Postgres(url) => postgres(url.expose(), options).await,
        #[cfg(feature = "redis")]
        StoreUrl::Redis(url) => {
            use crate::redis::{KIND, Redis};
            let redis =
                crate::RedisOptions { server: options.server.clone(), ..crate::RedisOptions::default() };
            let redis = Redis::reach(url.expose(), &redis).await?;
            Ok(redis.durability().await.map_err(|error| crate::ConnectError::asking(KIND, error))?)
        }
        #[cfg(not(all(feature = "sqlite", feature = "mongodb", feature = "postgres", feature = "redis")))]
        _ => {
            let _ = options;
            Err(StoresError::NotBuilt { kind: "this kind of database", feature: "all" })
        }
    }
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, options: &OpenOptions) -> Result<Vec<DurabilityWarning>, StoresError> {
    use crate::{
        Layout,
        postgres::{KIND, Postgres, TABLES},
    };
    if let Layout::Connect(layouts) = &options.layout {
        return Ok(crate::connect::pg_durability(url, &layouts.pg, &options.server).await?);
    }
    let postgres = Postgres::reach(url, &options.server, None)?;
    drop(postgres.client().await?);
    Ok(postgres.durability(&TABLES).await.map_err(|error| crate::ConnectError::asking(KIND, error))?)
}
