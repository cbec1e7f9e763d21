//! The command line: what operators type. docs/cli.md lists it all; exit codes are in [`Exit`].

mod audit;
mod backup;
mod check_config;
mod clock;
mod hash;
mod key;
mod link;
mod migrate;
mod online;
mod output;
mod session;
#[cfg(test)]
mod tests;
mod user;

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use hallpass_auth::Auth;
use hallpass_session::{Clock, Timestamp};
use hallpass_stores::Stores;

use self::output::{Failure, Output};
use crate::{
    config::{Config, ConfigError, Flags, LogFormat, Problem},
    log,
    serve::{self, ServeError},
};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It could not: the database, the port, the system.
    Failed = 1,
    /// It was asked in a way it does not understand: arguments, configuration.
    Usage = 2,
    /// There is no such user or session.
    NotFound = 3,
    /// What was asked is not allowed: an address that is taken, a password that is too weak.
    Refused = 4,
}

#[derive(Parser)]
#[command(name = "hallpass", version, about = "Sign-in pages, accounts and sessions in one binary")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE", global = true, env = "HALLPASS_CONFIG")]
    config: Option<std::path::PathBuf>,
    /// Where everything is kept [default: sqlite:hallpass.db]
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
    /// Where sessions are kept, if not there, such as `redis://localhost`
    #[arg(long, value_name = "URL", global = true)]
    sessions: Option<String>,
    /// How sessions are stored there: our way, or as Express's stores do it [default: native]
    #[arg(long, value_name = "LAYOUT", value_parser = ["native", "connect"], visible_alias = "to-layout", global = true)]
    layout: Option<String>,
    /// Answer in JSON, errors too
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server
    Serve(Serve),
    /// Check the configuration and show where each setting comes from
    CheckConfig(check_config::CheckConfig),
    /// Signing secrets
    #[command(subcommand)]
    Key(key::Command),
    /// Password hashing
    #[command(subcommand)]
    Hash(hash::Command),
    /// Accounts
    #[command(subcommand)]
    User(user::Command),
    /// Sessions
    #[command(subcommand)]
    Session(session::Command),
    /// Connections of accounts to sign-in providers
    #[command(subcommand)]
    Link(link::Command),
    /// Move accounts and live sessions here from another store; nobody is signed out
    Migrate(migrate::Migrate),
    /// Copy the SQLite database and its key file while the server runs
    Backup(backup::Backup),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Serve {
    /// The address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where browsers reach the server [default: http://localhost:PORT]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The stores that everything is being moved from, while `hallpass migrate` runs
    #[arg(long, value_name = "URL")]
    moving_from: Option<String>,
    /// How sessions are stored there [default: native]
    #[arg(long, value_name = "LAYOUT", value_parser = ["native", "connect"])]
    moving_layout: Option<String>,
}

impl Global {
    fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            database: self.database.clone(),
            sessions: self.sessions.clone(),
            layout: self.layout.clone(),
            ..Flags::default()
        }
    }

    fn with(&self, serve: Serve) -> Flags {
        Flags {
            listen: serve.listen,
            public_url: serve.public_url,
            moving_from: serve.moving_from,
            moving_layout: serve.moving_layout,
            ..self.flags()
        }
    }
}

/// The program: reads arguments and environment, does what they say.
pub fn main() -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(spread_roles(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) if json && error.use_stderr() => {
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Output::new(true).fail(&Failure::new(Exit::Usage, "usage", message));
        }
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            error.print().ok();
            return code(if help { Exit::Done } else { Exit::Usage });
        }
    };
    let output = Output::new(cli.global.json);
    match run(&output, cli) {
        Ok(()) => code(Exit::Done),
        Err(failure) => output.fail(&failure),
    }
}

/// `--role +a -b` as `--role=+a --role=-b`: a parser of flags would take `-b` for one of its own.
fn spread_roles(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    const ROLE: &str = "--role";
    let mut spread: Vec<OsString> = Vec::new();
    let mut follows = false;
    for argument in arguments {
        let text = argument.to_str().unwrap_or_default();
        let signed = text.starts_with('+') || text.starts_with('-') && !text.starts_with("--");
        if follows && signed && text.len() > 1 {
            spread.pop_if(|last| last == ROLE);
            spread.push(format!("{ROLE}={text}").into());
        } else {
            follows = text == ROLE;
            spread.push(argument);
        }
    }
    spread
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn run(output: &Output, Cli { global, command }: Cli) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => start(output, &global.with(serve)),
        Command::CheckConfig(check) => check_config::run(output, &global, check),
        Command::Key(command) => key::run(output, &global, command),
        Command::Hash(command) => hash::run(output, &command),
        Command::User(command) => {
            let make = matches!(command, user::Command::Create(_));
            at_desk(&global, make, async |desk| user::run(output, &desk, command).await)
        }
        Command::Session(command) => {
            at_desk(&global, false, async |desk| session::run(output, &desk, command).await)
        }
        Command::Link(command) => {
            at_desk(&global, false, async |desk| link::run(output, &desk, command).await)
        }
        Command::Backup(backup) => backup::run(output, &global, backup),
        Command::Migrate(migrate) => migrate::run(output, &global, migrate),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hallpass", &mut script);
            Output::text(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

fn start(output: &Output, flags: &Flags) -> Result<(), Failure> {
    let config = match environment().and_then(|environment| Config::load(flags, environment)) {
        Ok(config) => config,
        Err(error) => return Err(not_started(output, error.log_format, error.into())),
    };
    let format = config.log_format;
    log::start(&config);
    let ready = |url: &str| output.ready(url);
    let failed = |error: ServeError| {
        let of_configuration = error.is_configuration();
        let failure = Failure::failed(error);
        if of_configuration { failure.of_configuration() } else { failure }
    };
    runtime()?
        .block_on(serve::serve(config, ready))
        .map_err(|error| not_started(output, format, failed(error)))
}

/// Where the log has a format for programs, its last line has it too.
fn not_started(output: &Output, format: LogFormat, failure: Failure) -> Failure {
    if output.is_json() || log::is_text(format) {
        return failure;
    }
    log::not_started(format, failure.code, &failure.message);
    failure.said()
}

/// What commands on accounts and sessions work with.
struct Desk {
    config: Config,
    stores: Stores,
    auth: Auth,
    now: Timestamp,
}

/// Opens the stores; only with `make` are they made if there are none.
fn at_desk(
    global: &Global,
    make: bool,
    work: impl AsyncFnOnce(Desk) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = Config::load(&global.flags(), environment()?)?;
    log::start_for_commands(&config);
    runtime()?.block_on(async {
        let stores = config.stores.open(make).await.map_err(Failure::failed)?;
        let auth = Auth::new(stores.users.clone(), stores.records.clone(), config.auth.clone());
        let auth = auth.map_err(Failure::failed)?;
        let now = stores.clock.now();
        work(Desk { config, stores, auth, now }).await
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)
}

/// The environment. A setting that is no text is an error; what else is in there is not ours.
fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let (mut variables, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match text.into_string() {
            Ok(text) => variables.push((name, text)),
            Err(_) if name.starts_with("HALLPASS__") => {
                problems.push(Problem { at: name, advice: "is no UTF-8 text".to_owned() });
            }
            Err(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(variables)
    } else {
        Err(ConfigError { problems, log_format: LogFormat::Auto })
    }
}
