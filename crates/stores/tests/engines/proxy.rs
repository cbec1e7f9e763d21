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
    turns: Arc<AtomicUsize>,
}

impl Proxy {
    /// To the server on this port.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (turns, answered) = (counted.clone(), Arc::new(AtomicBool::new(true)));
                let (from, to, seen) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), answered.clone());
                thread::spawn(move || {
                    copy(from, to, || {
                        if seen.swap(false, Ordering::SeqCst) {
                            turns.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                });
                thread::spawn(move || copy(server, client, || answered.store(true, Ordering::SeqCst)));
            }
        });
        Self { port, turns }
    }

    /// The turns since the last question.
    pub fn taken(&self) -> usize {
        self.turns.swap(0, Ordering::SeqCst)
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
