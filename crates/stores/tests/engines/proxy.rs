//! A TCP proxy that counts how often a client waits for an answer.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Counts the turns of all connections to one server: each time a client speaks after the server has.
pub struct Proxy {
    pub port: u16,
    counts: Arc<Counts>,
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
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (asks, answers) = (counted.clone(), counted.clone());
                let answered = Arc::new(AtomicBool::new(true));
                let (from, to, seen) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), answered.clone());
                thread::spawn(move || {
                    copy(from, to, || {
                        if seen.swap(false, Ordering::SeqCst) {
                            asks.asked();
                        }
                    });
                });
                thread::spawn(move || {
                    copy(server, client, || {
                        if !answered.swap(true, Ordering::SeqCst) {
                            answers.answered();
                        }
                    });
                });
            }
        });
        Self { port, counts }
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

fn copy(mut from: TcpStream, mut to: TcpStream, heard: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        heard();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
