//! The open connections: how many, how long each may stand still, and how they end when the server stops.

mod admission;
mod files;
mod framing;
mod service;
mod stream;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hallpass_session::TrustProxy;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

pub(crate) use self::service::Room;
use self::{
    admission::{Admission, Full, HEALTH_PLACES, Use},
    files::Affordable,
    service::Served,
    stream::{Limited, Noted, Patience, Shared},
};
use crate::config::Limits;

/// The largest head of a request, in bytes; also what hyper buffers of a body or an answer.
const MAX_HEAD: usize = 32 * 1024;

/// What the kernel keeps of an answer that a client does not read, in bytes. Linux doubles it.
const SEND_BUFFER: u32 = 128 * 1024;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long a trusted proxy may keep a connection without using it: longer than the defaults of nginx (1 minute)
/// and Caddy (2 minutes), so that the proxy closes it and no request meets a connection that is being closed.
const PROXY_KEEP_ALIVE: Duration = Duration::from_secs(190);

/// How long a connection beyond the limit may take to ask.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// How long connections stay open after the listener is closed, so that a request which is on its way arrives.
const LINGER: Duration = Duration::from_secs(1);

/// Takes `address`, so that nobody else can. Connections are refused until it [listens](listen): a proxy asks another server.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait until the last connections of the process before it are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Listens.
pub(crate) fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// The open connections.
pub(crate) struct Connections {
    router: Router,
    limits: Limits,
    trust_proxy: TrustProxy,
    admission: Arc<Admission>,
    open: GracefulShutdown,
    draining: Arc<AtomicBool>,
}

impl Connections {
    pub(crate) fn new(router: Router, limits: Limits, trust_proxy: TrustProxy) -> Self {
        let affordable = Affordable::here(limits.max_connections, HEALTH_PLACES);
        let share = match limits.max_connections_per_client {
            0 => affordable.connections.div_ceil(4),
            share => share,
        };
        let admission = Admission::new(affordable, share, limits.receive_memory);
        let (open, draining) = (GracefulShutdown::new(), Arc::default());
        Self { router, limits, trust_proxy, admission, open, draining }
    }

    /// Accepts connections until `end`.
    pub(crate) async fn accept_until(&self, listener: &TcpListener, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.open(stream, peer),
                    Err(error) => {
                        // Out of file descriptors, say: what is open goes on, and some of it will close.
                        tracing::warn!(event = "accept_failed", %error);
                        sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    /// From now on every answer is the last of its connection.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Closes the listener. Connections that the kernel has made already are accepted before, because their
    /// requests may have been sent.
    pub(crate) async fn close(&self, listener: TcpListener) {
        self.accept_until(&listener, std::future::ready(())).await;
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.open(stream, peer);
            }
        }
    }

    fn open(&self, stream: TcpStream, peer: SocketAddr) {
        let is_proxy = self.trust_proxy.trusts(peer.ip().to_canonical(), 0);
        let (place, full) = self.admission.admit(peer.ip(), is_proxy);
        if let Some(full) = full {
            warn_of_full(full, peer);
        }
        let Some(place) = place else { return };
        stream.set_nodelay(true).ok();
        let patience = self.patience(place.is_proxy(), place.allowed());
        let shared = Arc::new(Shared::new(place));
        let stream = Noted::new(stream, shared.clone());
        let (router, draining) = (self.router.clone(), self.draining.clone());
        let service = Served { router, peer, shared: shared.clone(), draining };
        // HTTP/1.1 is what proxies speak to their backends; the limits are made for it.
        let mut http = http1::Builder::new();
        http.header_read_timeout(None).max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = Limited::new(self.open.watch(connection), shared, patience);
        tokio::spawn(async move {
            match connection.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(event = "connection_failed", error = &error as &dyn std::error::Error);
                }
                Err(error) => tracing::debug!(event = "connection_stood_still", %error),
            }
        });
    }

    fn patience(&self, is_proxy: bool, allowed: Use) -> Patience {
        let Limits { header_timeout: head, keep_alive_timeout: between, write_timeout: write, .. } =
            self.limits;
        match allowed {
            Use::Any if is_proxy => Patience { head, between: between.max(PROXY_KEEP_ALIVE), write },
            Use::Any => Patience { head, between, write },
            Use::Health => Patience { head: head.min(HEALTH_PATIENCE), between: HEALTH_PATIENCE, write },
        }
    }

    /// Lets requests finish: those that have arrived, and those that are on their way on an open connection.
    pub(crate) async fn finish(self, patience: Duration) {
        let ended = async {
            timeout(LINGER.min(patience), self.ended()).await.ok();
            self.open.shutdown().await;
        };
        if timeout(patience, ended).await.is_err() {
            tracing::warn!(event = "drain_timeout", "some requests were still running");
        }
    }

    /// Waits until no connection is open.
    async fn ended(&self) {
        while self.open.count() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn warn_of_full(full: Full, peer: SocketAddr) {
    let advice = match full {
        Full::Server => "all connections are taken; see server.max_connections",
        Full::Client => {
            "this client has its share of connections; if it is a proxy, name it in trust_proxy, else see \
             server.max_connections_per_client"
        }
    };
    tracing::warn!(event = "connections_full", client = %peer.ip(), "{advice}");
}
