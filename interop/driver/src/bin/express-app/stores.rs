//! Where accounts and sessions are.

use std::{error::Error, sync::Arc, time::Duration};

use hallpass_session::express::ExpressStore;
use hallpass_stores::{
    ConnectMongo, ConnectMongoOptions, ConnectOptions, ConnectPg, ConnectPgOptions, ConnectRedis,
    ConnectRedisOptions, OpenOptions, ServerOptions, Stores,
};

use crate::USER_PATH;

fn server() -> ServerOptions {
    ServerOptions { timeout: Duration::from_secs(1), ..ServerOptions::default() }
}

/// The accounts, and what the library keeps beside them.
pub(crate) async fn accounts(url: &str) -> Result<Stores, Box<dyn Error>> {
    let options = OpenOptions { server: server(), ..OpenOptions::default() };
    Ok(Stores::open_with(&url.parse()?, None, &options).await?)
}

/// The store that Express has its sessions in.
pub(crate) async fn sessions(url: &str) -> Result<Arc<dyn ExpressStore>, Box<dyn Error>> {
    let connect = ConnectOptions {
        server: server(),
        user_path: Some(USER_PATH.to_owned()),
        ..ConnectOptions::default()
    };
    if url.starts_with("mongodb") {
        let options = ConnectMongoOptions { connect, ..ConnectMongoOptions::default() };
        return Ok(Arc::new(ConnectMongo::connect(url, &options).await?));
    }
    if url.starts_with("postgres") {
        let options = ConnectPgOptions { connect, create_table: true, ..ConnectPgOptions::default() };
        return Ok(Arc::new(ConnectPg::connect(url, &options).await?));
    }
    let options = ConnectRedisOptions { connect, ..ConnectRedisOptions::default() };
    Ok(Arc::new(ConnectRedis::connect(url, &options).await?))
}
