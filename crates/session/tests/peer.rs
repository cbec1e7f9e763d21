//! A program that does not know the addresses of its clients.

use std::net::SocketAddr;

use axum::{Router, body::Body, routing::get};
use hallpass_session::{Client, PeerAddr, TrustProxy, TrustProxyLayer};
use http::{Request, StatusCode};
use tower::ServiceExt;

#[tokio::test]
async fn without_the_peers_address_the_first_request_says_what_is_missing() {
    let app = Router::new()
        .route("/", get(async |client: Client| client.addr.to_string()))
        .layer(TrustProxyLayer::new(TrustProxy::Hops(1)));
    let response = app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("into_make_service_with_connect_info"), "{body}");
    let peer = PeerAddr(SocketAddr::from(([192, 0, 2, 7], 5000)));
    let request = Request::get("/").extension(peer).body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::OK);
}
