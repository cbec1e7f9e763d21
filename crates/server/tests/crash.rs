//! kill -9 in the middle of a storm, ten times: every answer that a client got is still true afterwards.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![expect(clippy::print_stderr, reason = "with --no-capture it tells its figures")]

mod common;

use std::{path::Path, thread, time::Duration};

use common::{Client, PASSWORD, Server, credentials};
use serde_json::json;
use tempfile::TempDir;

const ROUNDS: usize = 10;
const CLIENTS: usize = 6;

/// What one client was told.
#[derive(Default)]
struct Told {
    /// Cookies of acknowledged logins that nobody has tried to end.
    live: Vec<String>,
    /// Cookies of acknowledged logouts.
    dead: Vec<String>,
    /// The last acknowledged name, and one that may have been stored too.
    name: Option<String>,
    name_in_doubt: Option<String>,
    answers: usize,
}

/// Signs in and out and changes the name until the server is gone.
fn storm(mut client: Client, number: usize, mut told: Told) -> Told {
    for step in 0.. {
        client.cookie = None;
        let Ok(answer) = client.try_send(
            "POST",
            "/auth/login",
            "application/json",
            &credentials(&format!("user{number}")).to_string(),
        ) else {
            return told;
        };
        assert_eq!(answer.status, 200, "{}", answer.body);
        let cookie = client.cookie.clone().unwrap();
        told.answers += 1;
        if step % 3 == 0 {
            let name = format!("name {number}-{}", told.answers);
            let body = json!({ "name": name }).to_string();
            told.name_in_doubt = Some(name.clone());
            let Ok(answer) = client.try_send("PATCH", "/auth/me", "application/json", &body) else {
                told.live.push(cookie);
                return told;
            };
            assert_eq!(answer.status, 200);
            (told.name, told.name_in_doubt) = (Some(name), None);
            told.answers += 1;
        }
        if step % 2 == 0 {
            told.live.push(cookie);
            continue;
        }
        // Whether a logout without an answer happened, nobody knows: such a session is in neither list.
        let Ok(answer) = client.try_send("POST", "/auth/logout", "application/json", "{}") else {
            return told;
        };
        assert_eq!(answer.status, 200);
        told.dead.push(cookie);
        told.answers += 1;
    }
    told
}

fn check(server: &Server, told: &Told) {
    let mut client = server.client();
    for (cookies, alive) in [(&told.live, true), (&told.dead, false)] {
        for cookie in cookies {
            client.cookie = Some(cookie.clone());
            assert_eq!(
                client.is_signed_in(),
                alive,
                "a session that was {}",
                if alive { "opened" } else { "ended" }
            );
        }
    }
    if let (Some(cookie), Some(name)) = (told.live.last(), &told.name) {
        client.cookie = Some(cookie.clone());
        let stored = client.get("/auth/me").json()["user"]["name"].as_str().map(str::to_owned);
        assert!(
            stored.as_ref() == Some(name) || stored == told.name_in_doubt,
            "{stored:?} instead of {name:?}"
        );
    }
}

fn start(folder: &Path) -> Server {
    // The storm is no attack: what a kill cuts short counts as a failed attempt.
    Server::start_with(
        folder,
        &[],
        &[("HALLPASS__THROTTLE__ADDRESS__FREE", "10000"), ("HALLPASS__THROTTLE__ACCOUNT__FREE", "1000")],
    )
}

#[test]
fn every_acknowledged_answer_outlives_kill_9() {
    let folder = TempDir::new().unwrap();
    let mut server = start(folder.path());
    let mut told: Vec<Told> = Vec::new();
    for number in 0..CLIENTS {
        let body = json!({ "email": format!("user{number}@example.com"), "password": PASSWORD });
        assert_eq!(server.client().post("/auth/register", &body).status, 201);
        told.push(Told::default());
    }
    for round in 0..ROUNDS {
        let clients = told.drain(..).enumerate().map(|(number, told)| {
            let client = server.client();
            thread::spawn(move || storm(client, number, told))
        });
        let clients: Vec<_> = clients.collect();
        thread::sleep(Duration::from_millis(400 + 37 * round as u64));
        server.kill();
        told.extend(clients.into_iter().map(|client| client.join().unwrap()));
        server = start(folder.path());
        for told in &told {
            check(&server, told);
        }
    }
    let answers: usize = told.iter().map(|told| told.answers).sum();
    let (live, dead): (usize, usize) =
        told.iter().fold((0, 0), |(live, dead), told| (live + told.live.len(), dead + told.dead.len()));
    assert!(live > ROUNDS && dead > ROUNDS, "the storm was a storm: {live} opened, {dead} ended");
    eprintln!(
        "{ROUNDS} kills, {answers} acknowledged answers, {live} sessions opened and {dead} ended: all still so"
    );
}
