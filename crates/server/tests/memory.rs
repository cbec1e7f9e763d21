//! What stays in the memory of the program once a request is over.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "what is not run is said")]

mod common;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    thread,
    time::{Duration, Instant},
};

use common::Server;
use serde_json::json;
use tempfile::TempDir;

/// How often `needle` stands in memory that the process may write.
fn count(process: u32, needle: &[u8]) -> std::io::Result<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut memory = File::open(format!("/proc/{process}/mem"))?;
    let mut found = 0;
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (range, mode) = (parts.next().unwrap(), parts.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        if !mode.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let mut part = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
        memory.seek(SeekFrom::Start(number(start)))?;
        // A part that has gone meanwhile, or that cannot be read, holds nothing.
        if memory.read_exact(&mut part).is_ok() {
            found += part.windows(needle.len()).filter(|window| *window == needle).count();
        }
    }
    Ok(found)
}

/// Waits until the text is nowhere: connections and threads need a moment.
fn is_gone(process: u32, needle: &str) -> usize {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let found = count(process, needle.as_bytes()).unwrap();
        if found == 0 || Instant::now() > end {
            return found;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// As JSON and as a form, right and wrong, at registration, sign-in and a change: nothing that was typed is there afterwards.
#[test]
fn typed_passwords_do_not_stay_in_memory() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), &[]);
    let process = server.id();
    if let Err(error) = count(process, b"x") {
        eprintln!("NOT RUN: the memory of another process cannot be read here ({error})");
        return;
    }
    // Half of each says which it is; none stands in this program's text.
    let marker = |name: &str| {
        format!(
            "{name}-{}",
            [7, 3, 9, 1, 8, 2].map(|digit: u64| format!("{:x}", digit * 0x0bad_cafe_1357)).join("-")
        )
    };
    let [first, second, wrong] = ["first", "second", "wrong"].map(marker);
    let email = "ann@example.com";
    // Connections stay open, as those of a proxy do: what was read through them must not stay in their buffers.
    let mut open = Vec::new();
    let mut post = |path: &str, body: &serde_json::Value, status: u16| {
        let mut client = server.client();
        assert_eq!(client.post(path, body).status, status, "{path}");
        open.push(client);
    };
    post("/auth/register", &json!({ "email": email, "password": first }), 201);
    assert_eq!(is_gone(process, &first), 0, "after a registration");
    for _ in 0..3 {
        post("/auth/login", &json!({ "email": email, "password": wrong }), 400);
        post("/auth/login", &json!({ "email": "nobody@example.com", "password": wrong }), 400);
    }
    assert_eq!(is_gone(process, &wrong), 0, "after wrong guesses");
    post("/auth/login", &json!({ "email": email, "password": first }), 200);
    let mut ann = server.client();
    assert!(ann.form("/auth/login", &[("email", email), ("password", &*first)]).status < 400);
    let change = json!({ "current_password": first, "new_password": second });
    assert_eq!(ann.post("/auth/password", &change).status, 200);
    assert_eq!((is_gone(process, &first), is_gone(process, &second)), (0, 0), "after a change");
}
