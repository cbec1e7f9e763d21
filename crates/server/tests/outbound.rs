//! A server that reaches its providers through a forward proxy alone.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;
mod oauth_support;

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use common::{Server, write};
use oauth_support::{Browser, Idp, accounts, client, free_port, section};
use serde_json::json;

const NAME: &str = "login.example.test";
/// `ann:p@ss`
const AUTHORIZATION: &str = "proxy-authorization: basic yw5uonbac3m=";

/// A proxy of the simplest kind: `CONNECT` to the one host there is, for whoever knows the password. It notes who wanted where.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let noted = noted.clone();
                thread::spawn(move || tunnel(client, target, &noted));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn tunnel(client: TcpStream, target: u16, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut first, mut allowed) = (String::new(), false);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        allowed |= line.trim().eq_ignore_ascii_case(AUTHORIZATION);
        if line.trim().is_empty() {
            break;
        }
    }
    noted.lock().unwrap().push(first.trim().to_owned());
    let mut client = client;
    if !allowed {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    }
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut back, mut to_client) = (server.try_clone()?, client);
    thread::spawn(move || {
        io::copy(&mut back, &mut to_client).ok();
        to_client.shutdown(Shutdown::Both).ok();
    });
    io::copy(&mut reader, &mut server)?;
    server.shutdown(Shutdown::Both)
}

#[test]
fn providers_are_reached_through_the_proxy_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let certificate = write(&folder, "certificate.pem", &made.cert.pem());
    let key = write(&folder, "key.pem", &made.signing_key.serialize_pem());
    let issuer = format!("https://{NAME}");
    let Some((idp, tls)) = Idp::start_as(&issuer, &certificate, &key) else { return };
    let proxy = Proxy::start(tls);
    let listen = format!("127.0.0.1:{}", free_port());
    let base = format!("http://{listen}");
    idp.control(&json!({ "clients": [client(&base, "idp")], "accounts": accounts() }));
    let config = write(&folder, "hallpass.toml", &section("idp", &issuer, ""));
    let arguments = ["--config", config.to_str().unwrap(), "--public-url", &base];
    let start = |proxy: &str, no_proxy: &str| {
        let environment = [
            ("HALLPASS__LISTEN", listen.as_str()),
            ("SSL_CERT_FILE", certificate.to_str().unwrap()),
            ("HTTPS_PROXY", proxy),
            ("NO_PROXY", no_proxy),
        ];
        Server::start_with(folder.path(), &arguments, &environment)
    };
    let with_password = |password: &str| format!("http://ann:{password}@127.0.0.1:{}", proxy.port);

    let server = start(&with_password("p%40ss"), "");
    let mut browser = Browser::new(&base);
    let away = browser.get("/auth/oauth/idp").location().to_owned();
    assert!(away.starts_with(&format!("{issuer}/auth?")), "{away}");
    // The person's browser has a way of its own.
    let callback = browser.through(&away.replace(&issuer, &idp.issuer), "ann");
    assert_eq!(browser.get(&callback).location(), "/account", "{}", server.log());
    assert_eq!(browser.who().as_deref(), Some("ann@example.com"));
    let asked = proxy.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| *line == format!("CONNECT {NAME}:443 HTTP/1.1")),
        "{asked:?}"
    );
    drop(server);

    let server = start(&with_password("another-secret"), "");
    assert_eq!(Browser::new(&base).get("/auth/oauth/idp").failed(), "unreachable");
    let detail = server.log_line("provider_refused").unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&format!("through the proxy http://127.0.0.1:{}", proxy.port)), "{detail}");
    assert!(detail.contains("authorization") && !server.log().contains("another-secret"), "{}", server.log());
    drop(server);

    let before = proxy.asked().len();
    let _server = start(&with_password("p%40ss"), "other.test,.example.test");
    assert_eq!(Browser::new(&base).get("/auth/oauth/idp").failed(), "unreachable");
    assert_eq!(proxy.asked().len(), before, "an exception goes straight, and leads nowhere here");
}

#[test]
fn what_is_said_to_this_program_alone_wins_and_no_password_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |file: &str, environment: &[(&str, &str)]| {
        let config = write(&folder, "hallpass.toml", file);
        let mut command = common::hallpass(folder.path());
        command.args(["check-config", "--config"]).arg(config).envs(environment.iter().copied());
        let output = command.output().unwrap();
        let text = common::text(&output.stdout) + &common::text(&output.stderr);
        assert!(!text.contains("sesame"), "{text}");
        let lines = text.lines().filter(|line| line.contains("outbound.proxy"));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<String>()
    };
    let usual = [("HTTPS_PROXY", "http://ann:sesame@proxy:3128"), ("https_proxy", "http://proxy:3128")];
    assert_eq!(shown("", &usual[..1]), "outbound.proxy (hidden) HTTPS_PROXY");
    assert_eq!(shown("", &usual), "outbound.proxy (hidden) https_proxy");
    let file = "[outbound]\nproxy = \"http://other:3128\"\n";
    assert!(shown(file, &usual).starts_with("outbound.proxy (hidden) /"), "{}", shown(file, &usual));
    assert!(shown("[outbound]\nproxy = \"\"\n", &usual).starts_with("outbound.proxy - /"), "none at all");
    // What is meant for other programs disturbs no server that asks nobody; one that does says which variable it means.
    let socks = [("HTTPS_PROXY", "socks5h://ann:sesame@proxy:1080")];
    assert_eq!(shown("", &socks), "outbound.proxy (hidden) HTTPS_PROXY");
    let google = "[providers.google]\nclient_id = \"i\"\nclient_secret = \"s\"\n";
    let refused = shown(google, &socks);
    assert!(refused.starts_with("HTTPS_PROXY: is no proxy's address"), "{refused}");
    let google = format!("[outbound]\nproxy = \"\"\n{google}");
    assert!(shown(&google, &socks).starts_with("outbound.proxy - /"), "what it says to do helps");
    let own = shown("", &[("HALLPASS__OUTBOUND__PROXY", socks[0].1)]);
    assert_eq!(own, "");
    let wrong = shown("[outbound]\nproxy = \"socks5://ann:sesame@proxy\"\n", &[]);
    assert!(wrong.contains("is no proxy's address"), "{wrong}");
}
