//! Responses whose head leaves before the script ends.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, response::Response};
use hallpass_session::Clock;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    request::Current,
    script::{self, Next, Step},
};

type Piece = Result<String, Infallible>;

/// The response with its first piece; the rest of the script goes on behind it.
pub(crate) fn stream(
    mut current: Current,
    first: String,
    rest: Vec<Step>,
    clock: Arc<dyn Clock>,
) -> Response {
    let (pieces, body) = channel::<Piece>(8);
    let finish = current.session.as_ref().map(hallpass_session::express::ExpressSession::finish_later);
    let head = Current {
        session: None,
        user: None,
        passport: false,
        net: crate::net::Net::nobody(),
        genid: current.genid,
        results: Vec::new(),
        status: current.status,
        headers: std::mem::take(&mut current.headers),
    };
    tokio::spawn(async move {
        send(&pieces, first).await;
        let last = run(&mut current, &pieces, &rest, &*clock).await;
        // The session is written before the response's last piece, as express-session has it.
        if let Some(finish) = finish {
            let _ = finish.finish().await;
        }
        send(&pieces, last).await;
    });
    head.respond("", Body::from_stream(ReceiverStream::new(body)))
}

async fn run(current: &mut Current, pieces: &Sender<Piece>, rest: &[Step], clock: &dyn Clock) -> String {
    for step in rest {
        match script::step(current, step, clock.now()).await {
            Next::Step => {}
            Next::Write(piece) => send(pieces, piece).await,
            Next::End(_, piece) => return piece,
            Next::Throw(_) => return String::new(),
        }
    }
    current.report()
}

async fn send(pieces: &Sender<Piece>, piece: String) {
    if !piece.is_empty() {
        // Who has gone away reads no more.
        let _ = pieces.send(Ok(piece)).await;
    }
}
