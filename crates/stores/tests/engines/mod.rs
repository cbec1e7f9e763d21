//! Real database servers on free ports with throw-away data; each test has its own and ends it.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

pub mod express;
pub mod mongodb;
pub mod people;
pub mod postgres;
pub mod proxy;
pub mod redis;

use std::{
    env,
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Engine {
    pub port: u16,
    pub folder: TempDir,
    command: Vec<String>,
    user: Option<(u32, u32)>,
    child: Option<Child>,
}

impl Engine {
    /// Runs `program` with `arguments`, in which `{port}` and `{data}` stand for a free port and an empty folder.
    /// Servers that refuse to run as root get this system user.
    fn new(program: &Path, arguments: &[&str], user: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = user.filter(|_| is_root()).map(ids_of);
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        if let Some((uid, gid)) = user {
            for path in [folder.path(), &data] {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        let port = free_port();
        let fill = |text: &&str| {
            text.replace("{port}", &port.to_string()).replace("{data}", &data.display().to_string())
        };
        let command = [program.to_str().unwrap()].iter().chain(arguments).map(fill).collect();
        Self { port, folder, command, user, child: None }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file that the server alone may read, into the folder around its data.
    pub fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = self.user {
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Runs a helper of the server as the server's user.
    fn run(&self, program: &Path, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stdin(Stdio::null());
        self.as_user(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn as_user(&self, command: &mut Command) {
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/");
    }

    /// Starts it (again) and waits until it accepts connections.
    pub fn start(&mut self) {
        let (address, end) = (SocketAddr::from(([127, 0, 0, 1], self.port)), Instant::now() + PATIENCE);
        self.spawn();
        while TcpStream::connect(address).is_err() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "{} does not answer:\n{}", self.command[0], log());
            thread::sleep(Duration::from_millis(20));
            // PostgreSQL does not start while a process of its killed predecessor still lives.
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                thread::sleep(Duration::from_millis(200));
                self.spawn();
            }
        }
    }

    fn spawn(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.as_user(&mut command);
        self.child = Some(command.spawn().unwrap());
    }

    /// Sends a signal by its name to the server and the processes it has made, as PostgreSQL does for each connection.
    pub fn signal(&self, name: &str) {
        let server = self.child.as_ref().unwrap().id();
        let made = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        // A process may have ended meanwhile.
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(server.to_string()).args(made.split_whitespace());
        kill.stderr(Stdio::null()).status().unwrap();
    }

    /// kill -9
    pub fn kill(&mut self) {
        if self.child.is_some() {
            self.signal("KILL");
        }
        if let Some(mut child) = self.child.take() {
            child.wait().ok();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a suite runs: the server that a variable names, or one of our own.
pub struct Reached {
    pub url: String,
    _engine: Option<Engine>,
}

/// The server at the URL in this variable, whose database must be for tests alone; `None` when nobody set it.
fn named(variable: &str) -> Option<Reached> {
    let url = env::var_os(variable).filter(|url| !url.is_empty())?;
    Some(Reached { url: url.into_string().unwrap(), _engine: None })
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn ids_of(user: &str) -> (u32, u32) {
    let missing = || panic!("there is no user {user} to run the server as: run scripts/setup");
    (id(&["-u", user]).unwrap_or_else(missing), id(&["-g", user]).unwrap_or_else(missing))
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// A program on PATH or in one of these folders.
fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(folders.iter().cloned());
    places.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A server that is not installed: a failure where everything must run, a loud line on a laptop.
fn missing<T>(engine: &str) -> Option<T> {
    assert!(
        env::var_os("HALLPASS_ALL_ENGINES").is_none_or(|value| value == OsStr::new("")),
        "{engine} is not installed: run scripts/setup"
    );
    let line = format!("NOT RUN: {engine} is not installed; scripts/setup installs it\n");
    // Past the capture of the test runner, which would hide it.
    fs::write("/dev/tty", line.as_bytes()).ok();
    eprint!("{line}");
    None
}
