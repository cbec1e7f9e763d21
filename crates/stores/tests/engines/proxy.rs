//! A TCP proxy that counts how often a client waits for an answer, and can be held up or cut.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What a connection that listens for changes says, and no other.
const LISTENS: [&[u8]; 2] = [b"listen hallpass", b"BCAST"];

/// Counts the turns of all connections to one server: each time a client speaks after the server has.
pub struct Proxy {
    pub port: u16,
    counts: Arc<Counts>,
    held: Arc<Held>,
}

/// What the proxy keeps back from clients.
#[derive(Default)]
struct Held {
    everything: AtomicBool,
    feeds: AtomicBool,
    /// So many connections were made; those with a lower number than `dead` never say anything again.
    made: AtomicUsize,
    dead: AtomicUsize,
    /// The connections that are open.
    open: Mutex<Vec<TcpStream>>,
}

#[derive(Default)]
struct Counts {
    turns: AtomicUsize,
    /// Turns that began while no other one was going on.
    waits: AtomicUsize,
    going_on: AtomicUsize,
}

impl Counts {
    fn asked(&self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
        if self.going_on.fetch_add(1, Ordering::SeqCst) == 0 {
            self.waits.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn answered(&self) {
        self.going_on.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Proxy {
    /// To the server on this port.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        let held = Arc::new(Held::default());
        let kept = held.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let is_feed = Arc::new(AtomicBool::new(false));
                let feed = is_feed.clone();
                kept.open.lock().unwrap().push(client.try_clone().unwrap());
                let hold = kept.clone();
                let number = kept.made.fetch_add(1, Ordering::SeqCst);
                let (asks, answers) = (counted.clone(), counted.clone());
                let answered = Arc::new(AtomicBool::new(true));
                let (from, to, seen) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), answered.clone());
                thread::spawn(move || {
                    copy(from, to, |said| {
                        if LISTENS.iter().any(|word| said.windows(word.len()).any(|part| part == *word)) {
                            is_feed.store(true, Ordering::SeqCst);
                        }
                        if seen.swap(false, Ordering::SeqCst) {
                            asks.asked();
                        }
                    });
                });
                thread::spawn(move || {
                    copy(server, client, |_| {
                        if !answered.swap(true, Ordering::SeqCst) {
                            answers.answered();
                        }
                        while hold.holds(feed.load(Ordering::SeqCst)) || hold.is_dead(number) {
                            thread::sleep(Duration::from_millis(2));
                        }
                    });
                });
            }
        });
        Self { port, counts, held }
    }

    /// Keeps back what servers say, to all clients or to those who listen for changes; until `hold_nothing`, then it arrives in order.
    pub fn hold(&self, feeds_only: bool) {
        let held = if feeds_only { &self.held.feeds } else { &self.held.everything };
        held.store(true, Ordering::SeqCst);
    }

    pub fn hold_nothing(&self) {
        self.held.feeds.store(false, Ordering::SeqCst);
        self.held.everything.store(false, Ordering::SeqCst);
    }

    /// Ends the silence of `hold` for new connections only: as after a network failure, when old ones wait long before they try again.
    pub fn heal(&self) {
        self.held.dead.store(self.held.made.load(Ordering::SeqCst), Ordering::SeqCst);
        self.hold_nothing();
    }

    /// Cuts all connections; new ones may come.
    pub fn cut(&self) {
        for client in self.held.open.lock().unwrap().drain(..) {
            client.shutdown(Shutdown::Both).ok();
        }
    }

    /// The turns since the last question.
    pub fn taken(&self) -> usize {
        self.taken_and_waits().0
    }

    /// The same, and how many of them one after the other.
    pub fn taken_and_waits(&self) -> (usize, usize) {
        (self.counts.turns.swap(0, Ordering::SeqCst), self.counts.waits.swap(0, Ordering::SeqCst))
    }
}

impl Held {
    fn is_dead(&self, number: usize) -> bool {
        number < self.dead.load(Ordering::SeqCst)
    }

    fn holds(&self, feed: bool) -> bool {
        self.everything.load(Ordering::SeqCst) || (feed && self.feeds.load(Ordering::SeqCst))
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, heard: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        heard(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
