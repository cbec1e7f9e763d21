//! A connection's bytes, and a time limit for each pause in them.
//!
//! hyper limits how long a head may take and nothing else. A client that sends nothing, or reads nothing, would
//! otherwise hold its connection for as long as it likes.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use zeroize::Zeroize;

use super::{admission::Place, framing::Framing};

/// A client that reads slower than this, in bytes a second, reads nothing.
const LEAST_RATE: u64 = 512;

/// How much is read at once, in bytes. hyper doubles its buffer of 8 KiB when a read fills it; this never does, so that
/// a body, which is copied out of that buffer, needs no more.
const MOST_AT_ONCE: usize = 8 * 1024 - 1;

/// How long a client may do nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the start of a connection or a head until the head is complete.
    pub(super) head: Duration,
    /// From one request to the next.
    pub(super) between: Duration,
    /// While an answer waits to be read.
    pub(super) write: Duration,
}

/// What the stream, the service and the time limit of one connection tell each other. All three run in one task.
pub(super) struct Shared {
    pub(super) place: Place,
    /// A request is being answered.
    pub(super) busy: AtomicBool,
    /// What has to arrive next: one of the constants below.
    expected: AtomicU8,
    heads: AtomicU64,
    answered: AtomicU64,
    /// The kernel takes no more of an answer.
    is_blocked: AtomicBool,
    written: AtomicU64,
}

/// A request may begin.
const REQUEST: u8 = 0;
/// A head, or the rest of one.
const HEAD: u8 = 1;
/// The rest of a body.
const BODY: u8 = 2;

impl Shared {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            busy: AtomicBool::new(false),
            expected: AtomicU8::new(HEAD),
            heads: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            written: AtomicU64::new(0),
        }
    }
}

impl Shared {
    /// A request begins. Says whether the next one has arrived already: the client does not wait for answers.
    pub(super) fn begin(&self) -> bool {
        self.busy.store(true, Relaxed);
        self.heads.load(Relaxed) > self.answered.fetch_add(1, Relaxed) + 1
    }
}

/// A stream that notes what it waits for. `S` is a TCP stream.
pub(super) struct Noted<S> {
    stream: S,
    shared: Arc<Shared>,
    framing: Framing,
}

impl<S> Noted<S> {
    pub(super) fn new(stream: S, shared: Arc<Shared>) -> Self {
        Self { stream, shared, framing: Framing::new() }
    }

    /// Bytes have arrived. Fails when there is no room for more heads; for a body there is an answer, see `receive`.
    fn arrived(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.framing.follow(bytes);
        let expected = match () {
            () if self.framing.is_in_head() || self.framing.heads() == 0 => HEAD,
            () if self.framing.is_between_requests() => REQUEST,
            () => BODY,
        };
        self.shared.expected.store(expected, Relaxed);
        self.shared.heads.store(self.framing.heads(), Relaxed);
        if !self.shared.place.hold(bytes.len()) && expected == HEAD {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }

    fn wrote(&self, wrote: &Poll<io::Result<usize>>, all: usize) {
        if let Poll::Ready(Ok(count)) = wrote {
            self.shared.written.fetch_add(*count as u64, Relaxed);
        }
        let is_done = matches!(wrote, Poll::Ready(Ok(count)) if *count == all);
        self.shared.is_blocked.store(!is_done, Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What stood there of a former request may be a password: a connection that stays open keeps its buffer.
        buffer.initialize_unfilled();
        let mut bytes = [MaybeUninit::uninit(); MOST_AT_ONCE];
        let most = buffer.remaining().min(MOST_AT_ONCE);
        let mut part = ReadBuf::uninit(&mut bytes[..most]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        this.arrived(part.filled_mut())?;
        buffer.put_slice(part.filled());
        part.filled_mut().zeroize();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(&wrote, bytes.len());
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.wrote(&wrote, slices.iter().map(|slice| slice.len()).sum());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// What the server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For itself, or for a body, which has a limit of its own.
    None,
    /// The client has to send the head with this number.
    Head(u64),
    /// The client may send another request.
    Between(u64),
    /// The client has to read; this much was written when the wait began.
    Write(u64),
}

pin_project! {
    /// A connection that ends when its client stands still. Dropping a connection closes it.
    pub(super) struct Limited<C> {
        #[pin]
        connection: C,
        shared: Arc<Shared>,
        patience: Patience,
        wait: Wait,
        #[pin]
        end: Sleep,
    }
}

impl<C> Limited<C> {
    pub(super) fn new(connection: C, shared: Arc<Shared>, patience: Patience) -> Self {
        let end = sleep_until(Instant::now() + patience.head);
        Self { connection, shared, patience, wait: Wait::Head(0), end }
    }
}

/// The client took too long.
#[derive(Debug, thiserror::Error)]
#[error("the client stood still: {0:?}")]
pub(super) struct StoodStill(Wait);

impl<C: Future> Future for Limited<C> {
    type Output = Result<C::Output, StoodStill>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(ended) = this.connection.poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        let mut wait = this.shared.wait(*this.wait);
        loop {
            if wait != *this.wait {
                *this.wait = wait;
                if let Some(patience) = this.patience.of(wait) {
                    this.end.as_mut().reset(Instant::now() + patience);
                }
            }
            if wait == Wait::None || this.end.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let written = this.shared.written.load(Relaxed);
            match wait {
                // It reads, if not fast: it gets as much time again.
                Wait::Write(before) if written - before >= this.patience.least_written() => {
                    wait = Wait::Write(written);
                }
                _ => return Poll::Ready(Err(StoodStill(wait))),
            }
        }
    }
}

impl Shared {
    fn wait(&self, now: Wait) -> Wait {
        let heads = self.heads.load(Relaxed);
        if self.is_blocked.load(Relaxed) {
            return if let Wait::Write(_) = now { now } else { Wait::Write(self.written.load(Relaxed)) };
        }
        if self.busy.load(Relaxed) {
            return Wait::None;
        }
        match self.expected.load(Relaxed) {
            REQUEST => Wait::Between(heads),
            // A body that nothing receives: what is left of it is of no use.
            _ => Wait::Head(heads),
        }
    }
}

impl Patience {
    fn of(self, wait: Wait) -> Option<Duration> {
        match wait {
            Wait::None => None,
            Wait::Head(_) => Some(self.head),
            Wait::Between(_) => Some(self.between),
            Wait::Write(_) => Some(self.write),
        }
    }

    /// How many bytes a client reads at least in the time it has.
    fn least_written(self) -> u64 {
        (LEAST_RATE * self.write.as_secs()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::connections::{admission::Admission, files::Affordable};

    fn shared() -> Arc<Shared> {
        let admission = Admission::new(Affordable { connections: 1, health: 1 }, 1, 0);
        Arc::new(Shared::new(admission.admit([192, 0, 2, 1].into(), false).0.unwrap()))
    }

    #[tokio::test]
    async fn a_client_that_does_not_wait_for_answers_is_noticed() {
        let shared = shared();
        let requests = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut stream = Noted::new(&requests[..], shared.clone());
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await.unwrap();
        assert_eq!(buffer.filled(), requests);
        assert!(shared.begin(), "the second request is here already");
        assert!(!shared.begin(), "nothing comes after it");
    }
}
