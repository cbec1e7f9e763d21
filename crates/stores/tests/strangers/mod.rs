//! Other programs that end sessions behind everybody's back.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use hallpass_session::SessionId;

use crate::engines::{express::Express, redis};

pub type Ending<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Ends sessions behind everybody's back, as another program does; `false` when it could not, for sure.
pub type Stranger = Arc<dyn for<'a> Fn(&'a SessionId) -> Ending<'a> + Send + Sync>;

/// Express as the stranger: a Node program with connect-mongo, connect-redis or connect-pg-simple, which destroys.
pub fn express(kind: &str, url: &str) -> Option<Stranger> {
    let express = Arc::new(Mutex::new(Express::open(kind, url, "{}")?));
    Some(Arc::new(move |id| {
        let (express, id) = (express.clone(), id.clone());
        let destroy = move || express.lock().unwrap().destroy(id.expose());
        Box::pin(async move { tokio::task::spawn_blocking(destroy).await.is_ok() })
    }))
}

/// A stranger who speaks SQL.
pub fn sql(
    url: &str,
    delete: &'static str,
    id_of: fn(&SessionId) -> Box<dyn tokio_postgres::types::ToSql + Sync + Send>,
) -> Stranger {
    let open = Arc::new(tokio::sync::Mutex::new(None::<tokio_postgres::Client>));
    let url = url.to_owned();
    Arc::new(move |id| {
        let (open, url, id) = (open.clone(), url.clone(), id_of(id));
        Box::pin(async move {
            let mut open = open.lock().await;
            if open.as_ref().is_none_or(tokio_postgres::Client::is_closed) {
                let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await
                else {
                    return false;
                };
                tokio::spawn(connection);
                *open = Some(client);
            }
            open.as_ref().unwrap().execute(delete, &[&*id]).await.is_ok()
        })
    })
}

/// A stranger who speaks to MongoDB.
pub async fn mongo_stranger(
    url: &str,
    collection: &str,
    id_of: fn(&SessionId) -> ::mongodb::bson::Bson,
) -> Stranger {
    let client = ::mongodb::Client::with_uri_str(format!("{url}&w=majority&serverSelectionTimeoutMS=2000"))
        .await
        .unwrap();
    let sessions = client.database("test").collection::<::mongodb::bson::Document>(collection);
    Arc::new(move |id| {
        let (sessions, id) = (sessions.clone(), id_of(id));
        Box::pin(async move { sessions.delete_one(::mongodb::bson::doc! { "_id": id }).await.is_ok() })
    })
}

/// Deletes keys as connect-redis does.
pub fn redis_stranger(port: u16, key_of: fn(&SessionId) -> String) -> Stranger {
    Arc::new(move |id| {
        let words = vec!["-p".to_owned(), port.to_string(), "del".to_owned(), key_of(id)];
        Box::pin(async move {
            tokio::task::spawn_blocking(move || redis::cli(&words)).await.unwrap().trim() == "1"
        })
    })
}
