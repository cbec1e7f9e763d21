//! `hallpass key`: signing secrets, and how to change them while nobody is signed out.

use std::{
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use hallpass_session::{Keys, Secret, fingerprint};
use serde_json::{Value, json};

use super::{
    Desk, Exit, Global, at_desk,
    audit::{self, Target},
    environment,
    output::{Failure, Output},
};
use crate::{
    config::{Config, lines},
    key_file::{self, new_secret},
    log,
    peers::{Peer, peers},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new secret and print it
    Generate,
    /// Rotate, step 1: add a new secret that is accepted and does not sign yet; then restart every server
    Accept {
        /// Take the secret from the first line of standard input: the one that `key accept` made on another machine
        #[arg(long)]
        stdin: bool,
    },
    /// Rotate, step 2: sign with the new secret; refused until every server accepts it. Then restart every server
    Sign {
        /// Its fingerprint, as `key status` shows it [default: the last one]
        fingerprint: Option<String>,
    },
    /// Rotate, step 3: accept an old secret no longer; sessions that only it signed end
    Retire {
        /// Its fingerprint, as `key status` shows it
        fingerprint: String,
    },
    /// Show which secrets there are, and which of them each server knows
    Status,
}

pub(super) fn run(output: &Output, global: &Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Generate => {
            let secret = new_secret();
            output.answer(secret.expose(), &json!({ "secret": secret.expose() }));
            Ok(())
        }
        Command::Accept { stdin } => {
            let config = Config::load(&global.flags(), environment()?)?;
            log::start_for_commands(&config);
            accept(output, &config, stdin)
        }
        Command::Sign { fingerprint } => {
            at_desk(global, false, async |desk| sign(output, &desk, fingerprint).await)
        }
        Command::Retire { fingerprint } => {
            at_desk(global, false, async |desk| retire(output, &desk, &fingerprint).await)
        }
        Command::Status => at_desk(global, false, async |desk| status(output, &desk).await),
    }
}

/// The file of secrets and its lines.
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn read(config: &Config) -> Result<Self, Failure> {
        let path = match (&config.secrets_file, config.secrets.is_empty()) {
            (Some(path), _) => path.clone(),
            (None, true) => config.key_file.clone(),
            (None, false) => {
                let message = "the secrets stand in the configuration itself, which no command changes: put the new one behind \
                     the others and restart every server, then put it in front and restart every server; or move them to a file \
                     and name it in session.secrets_file";
                return Err(Failure::new(Exit::Refused, "no_file", message));
            }
        };
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => {
                let message = format!("cannot read the secrets in {}: {error}", path.display());
                let failure = Failure::new(Exit::Failed, "failed", message);
                Err(failure.with_advice("the server makes the key file at its first start; name it in key_file if it is elsewhere"))
            }
        }
    }

    fn secrets(&self) -> Vec<String> {
        lines(&self.text)
    }

    /// The line of the secret with this fingerprint.
    fn find(&self, wanted: &str) -> Result<String, Failure> {
        let found = self.secrets().into_iter().find(|secret| fingerprint(secret) == wanted);
        found.ok_or_else(|| {
            let message = format!("{} has no secret with the fingerprint {wanted}", self.path.display());
            Failure::new(Exit::NotFound, "not_found", message)
        })
    }

    /// The text without this secret.
    fn without(&self, secret: &str) -> String {
        let others = self.text.lines().filter(|line| line.trim() != secret);
        others.flat_map(|line| [line, "\n"]).collect()
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        key_file::replace(&self.path, text).map_err(|error| {
            Failure::new(Exit::Failed, "failed", format!("cannot write {}: {error}", self.path.display()))
        })
    }
}

/// The text with this secret in front of the others.
fn in_front(text: &str, secret: &str) -> String {
    let is_secret = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let (mut before, mut rest) = (String::new(), String::new());
    for line in text.lines() {
        let part = if rest.is_empty() && !is_secret(line) { &mut before } else { &mut rest };
        part.push_str(line);
        part.push('\n');
    }
    format!("{before}{secret}\n{rest}")
}

fn accept(output: &Output, config: &Config, stdin: bool) -> Result<(), Failure> {
    let file = File::read(config)?;
    let secret = if stdin { from_stdin()? } else { new_secret() };
    if file.secrets().contains(secret.expose()) {
        return Err(Failure::new(Exit::Refused, "known", "this secret is accepted already"));
    }
    let line_end = if file.text.ends_with('\n') || file.text.is_empty() { "" } else { "\n" };
    file.write(&format!("{}{line_end}{}\n", file.text, secret.expose()))?;
    let name = fingerprint(secret.expose());
    audit::log("key_accepted", Target::Key(&name), "done");
    let path = file.path.display().to_string();
    let sentence = format!(
        "Added the secret {name} to {path}; it is accepted and does not sign yet. Now:\n\
         1. bring the same file to every machine that has one of its own\n\
         2. restart every server, one after the other\n\
         3. run `hallpass key sign`, which is refused while a server does not accept it"
    );
    output.answer(&sentence, &json!({ "fingerprint": name, "file": path }));
    Ok(())
}

fn from_stdin() -> Result<Secret<String>, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Failure::failed)?;
    let secret = Secret::new(line.trim().to_owned());
    let keys = Keys::from_secret(secret.expose());
    keys.map_err(|error| Failure::new(Exit::Refused, "invalid_secret", error.to_string()))?;
    Ok(secret)
}

async fn sign(output: &Output, desk: &Desk, wanted: Option<String>) -> Result<(), Failure> {
    let file = File::read(&desk.config)?;
    let secrets = file.secrets();
    let secret = match wanted {
        Some(wanted) => file.find(&wanted)?,
        None => secrets.last().cloned().unwrap_or_default(),
    };
    if secrets.first() == Some(&secret) || secret.is_empty() {
        let message =
            "there is no accepted secret that does not sign already; run `hallpass key accept` first";
        return Err(Failure::new(Exit::Refused, "nothing_accepted", message));
    }
    let name = fingerprint(&secret);
    let lacking = others(desk, |peer| !peer.accepts.contains(&name)).await?;
    if !lacking.is_empty() {
        let message = format!(
            "not every server accepts {name} yet, and would sign people out: {}; bring the file there and restart it. A server \
             that died is forgotten after a minute",
            lacking.join(", ")
        );
        return Err(Failure::new(Exit::Refused, "not_everywhere", message));
    }
    file.write(&in_front(&file.without(&secret), &secret))?;
    audit::log("key_signs", Target::Key(&name), "done");
    let old = secrets.first().map(|secret| fingerprint(secret)).unwrap_or_default();
    let sentence = format!(
        "{name} signs from the next start of each server on. Now:\n\
         1. bring the same file to every machine that has one of its own\n\
         2. restart every server, one after the other\n\
         3. when the sessions that {old} signed have ended or were used, run `hallpass key retire {old}`"
    );
    output.answer(&sentence, &json!({ "signs": name, "before": old }));
    Ok(())
}

async fn retire(output: &Output, desk: &Desk, wanted: &str) -> Result<(), Failure> {
    let file = File::read(&desk.config)?;
    let secret = file.find(wanted)?;
    if file.secrets().first() == Some(&secret) {
        let message = "this secret signs; run `hallpass key accept` and `hallpass key sign` first";
        return Err(Failure::new(Exit::Refused, "signs", message));
    }
    let signing = others(desk, |peer| peer.signs == wanted).await?;
    if !signing.is_empty() {
        let message = format!("{wanted} still signs at {}; restart it first", signing.join(", "));
        return Err(Failure::new(Exit::Refused, "signs", message));
    }
    file.write(&file.without(&secret))?;
    audit::log("key_retired", Target::Key(wanted), "done");
    let sentence = format!("{wanted} is accepted until the next start of each server");
    output.answer(&sentence, &json!({ "retired": wanted }));
    Ok(())
}

/// The servers of which this is true, in words.
async fn others(desk: &Desk, which: impl Fn(&Peer) -> bool) -> Result<Vec<String>, Failure> {
    let servers = peers(&*desk.stores.records, desk.now).await.map_err(Failure::failed)?;
    let words = |peer: &Peer| format!("{} (process {})", peer.host, peer.pid);
    Ok(servers.iter().filter(|peer| which(peer)).map(words).collect())
}

async fn status(output: &Output, desk: &Desk) -> Result<(), Failure> {
    let configured = desk.config.secrets.iter().map(|secret| secret.expose().clone());
    let (path, secrets) = match File::read(&desk.config) {
        Ok(file) => (Some(file.path.clone()), file.secrets()),
        Err(_) if !desk.config.secrets.is_empty() => (None, configured.collect()),
        Err(failure) => return Err(failure),
    };
    let names: Vec<String> = secrets.iter().map(|secret| fingerprint(secret)).collect();
    let servers = peers(&*desk.stores.records, desk.now).await.map_err(Failure::failed)?;
    let of_secret = |(index, name): (usize, &String)| {
        let knows = |peer: &&Peer| peer.accepts.contains(name);
        let signed = servers.iter().filter(|peer| peer.signs == *name).count();
        let accepted = servers.iter().filter(knows).count();
        vec![
            json!(name),
            json!(if index == 0 { "signs" } else { "accepted" }),
            json!(signed),
            json!(accepted),
        ]
    };
    let rows: Vec<Vec<Value>> = names.iter().enumerate().map(of_secret).collect();
    let of_server = |peer: &Peer| {
        let agrees =
            names.contains(&peer.signs) && names.first().is_some_and(|name| peer.accepts.contains(name));
        let note = if !agrees {
            "its sessions and those of this file are not valid at both"
        } else if peer.accepts == names {
            "as the file says"
        } else {
            "restart it to read the file again"
        };
        vec![json!(peer.host), json!(peer.pid), json!(peer.signs), json!(peer.accepts), json!(note)]
    };
    let servers: Vec<Vec<Value>> = servers.iter().map(of_server).collect();
    let place = path.as_deref().map(Path::display).map(|path| path.to_string());
    let (secret_names, server_names) = (
        ["fingerprint", "file", "servers_sign", "servers_accept"],
        ["host", "pid", "signs", "accepts", "note"],
    );
    output.lists(
        ("file", json!(place)),
        &[("secrets", &secret_names, &rows), ("servers", &server_names, &servers)],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signing_secret_stands_in_front_and_comments_stay() {
        assert_eq!(in_front("# why\n\nold\n# who\nolder\n", "new"), "# why\n\nnew\nold\n# who\nolder\n");
        assert_eq!(in_front("", "new"), "new\n");
        let file = File { path: PathBuf::new(), text: "# why\n old \nnew".to_owned() };
        assert_eq!(file.without("old"), "# why\nnew\n");
    }
}
