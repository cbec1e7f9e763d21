//! actix-session.

use actix_session::{
    Session, SessionMiddleware,
    storage::{CookieSessionStore, RedisSessionStore, SessionStore},
};
use actix_web::{
    App, HttpResponse, HttpServer, Responder,
    cookie::Key,
    web::{get, post, to},
};

/// Binds, says where, serves.
macro_rules! run {
    ($app:expr) => {{
        let server = HttpServer::new($app).workers(2).bind(("127.0.0.1", 0)).unwrap();
        println!("{}", server.addrs()[0].port());
        server.run().await.unwrap();
    }};
}

fn key() -> Key {
    Key::from(&[7; 64])
}

pub async fn serve(stack: &str, url: &str) {
    match stack {
        "actix-bare" => {
            let app = || {
                App::new().route("/anonymous", get().to(anonymous)).route("/read", get().to(async || "hello ann"))
            };
            run!(app);
        }
        "actix-cookie" => with_store(CookieSessionStore::default).await,
        "actix-redis" => {
            let store = RedisSessionStore::new(url).await.unwrap();
            with_store(move || store.clone()).await;
        }
        other => panic!("no stack {other}"),
    }
}

async fn with_store<S: SessionStore + 'static>(store: impl Fn() -> S + Send + Clone + 'static) {
    let app = move || {
        App::new()
            .wrap(SessionMiddleware::builder(store(), key()).cookie_secure(false).build())
            .route("/anonymous", get().to(anonymous))
            .route("/read", get().to(read))
            .route("/write", post().to(write))
            .route("/login", post().to(log_in))
            .route("/logout", post().to(log_out))
            .default_service(to(HttpResponse::NotFound))
    };
    run!(app);
}

async fn anonymous() -> &'static str {
    "hello ann"
}

async fn read(session: Session) -> impl Responder {
    match session.get::<String>("userId") {
        Ok(Some(_)) => HttpResponse::Ok().body("hello ann"),
        _ => HttpResponse::Unauthorized().finish(),
    }
}

async fn write(session: Session) -> impl Responder {
    let count = session.get::<u64>("count").unwrap().unwrap_or(0) + 1;
    session.insert("count", count).unwrap();
    count.to_string()
}

async fn log_in(session: Session) -> impl Responder {
    session.renew();
    session.insert("userId", "1").unwrap();
    "hello ann"
}

async fn log_out(session: Session) -> impl Responder {
    session.purge();
    HttpResponse::Ok().finish()
}
