//! `hallpass check-config`: what the server would run with, and who says so.

use clap::Args;
use hallpass_auth::oauth::Provider;
use hallpass_session::TrustProxy;
use hallpass_stores::StoreUrl;
use serde_json::{Value, json};

use super::{
    Global, Serve, environment, online,
    output::{Failure, Output},
};
use crate::{
    config::{
        Config, Values,
        schema::{Kind, Setting, settings},
    },
    key_file, modes,
    pages::Pages,
};

#[derive(Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    serve: Serve,
    /// Describe all settings in Markdown instead
    #[arg(long)]
    reference: bool,
    /// Ask the stores and the sign-in providers, instead of showing the settings: reachable, durability, clock; addresses, keys, client
    #[arg(long, conflicts_with = "reference")]
    online: bool,
}

pub(super) fn run(output: &Output, global: &Global, check: CheckConfig) -> Result<(), Failure> {
    if check.reference {
        Output::text(&reference());
        return Ok(());
    }
    let (config, values) = Config::load_with_values(&global.with(check.serve), environment()?)?;
    // What the server would only find out at its start.
    let pages = Pages::new(&config).and_then(|pages| pages.check());
    pages.map_err(|error| Failure::failed(error).of_configuration())?;
    if config.secrets.is_empty() {
        key_file::check(&config.key_file).map_err(|error| Failure::failed(error).of_configuration())?;
    }
    warn(output, &config);
    if check.online {
        return online::check(output, &config);
    }
    let mut rows: Vec<Vec<Value>> = settings()
        .flat_map(|setting| places(setting, &values))
        .map(|(path, setting)| row(&config, &values, &path, setting))
        .collect();
    rows.extend(derived(&config));
    output.list(&["setting", "value", "from"], &rows);
    output.good("The configuration is OK.");
    Ok(())
}

fn row(config: &Config, values: &Values, path: &str, setting: &Setting) -> Vec<Value> {
    let value = values.get(path).map(ToString::to_string).unwrap_or_default();
    let follows = if value.is_empty() { follows(config, path) } else { None };
    let value = match (follows.clone(), setting.kind) {
        (Some(follows), _) => follows,
        (None, Kind::Secrets | Kind::Secret) if !value.is_empty() => "(hidden)".to_owned(),
        // Its `Display` leaves the password out.
        (None, Kind::Url) => value.parse::<StoreUrl>().map(|url| url.to_string()).unwrap_or_default(),
        (None, _) => value,
    };
    let from = if follows.is_some() { DERIVED.to_owned() } else { values.origin(path).to_string() };
    vec![json!(path), json!(value), json!(from)]
}

/// What says where a value comes from that follows from others.
const DERIVED: &str = "derived";

/// What an empty setting means here.
fn follows(config: &Config, path: &str) -> Option<String> {
    match path {
        "public_url" => Some(config.public_url(config.listen)),
        "session.cookie_name" => Some(config.session.cookie.name.clone()),
        "key_file" if config.secrets.is_empty() => Some(config.key_file.display().to_string()),
        "csrf.trusted_origins" => {
            Some(config.trusted_origins.join(",")).filter(|origins| !origins.is_empty())
        }
        "sessions" => Some(config.stores.database.to_string()),
        _ => None,
    }
}

/// What follows from the settings and is none.
fn derived(config: &Config) -> Vec<Vec<Value>> {
    let row = |name: String, value: String| vec![json!(name), json!(value), json!(DERIVED)];
    let base = config.public_url(config.listen);
    let redirect = |provider: &Provider| {
        let uri = format!("{base}/auth/oauth/{}/callback", provider.name);
        row(format!("providers.{}.redirect_uri", provider.name), uri)
    };
    let secure = row("session.cookie_secure".to_owned(), config.is_https().to_string());
    [secure].into_iter().chain(config.providers.iter().map(redirect)).collect()
}

/// Says what is allowed and seldom meant.
fn warn(output: &Output, config: &Config) {
    let is_public = !config.listen.ip().is_loopback();
    let host = config.public_url.as_ref().and_then(url::Url::host_str);
    let is_local = host.is_none_or(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    if !config.is_https() && (is_public || !is_local) {
        output.warn(
            "http_in_public",
            "people reach this server without https, so passwords and cookies can be read on the way; put a TLS proxy in \
             front, give public_url = \"https://...\", and listen on 127.0.0.1",
        );
    }
    if config.is_https() && matches!(config.trust_proxy, TrustProxy::Off) {
        output.warn(
            "proxy_not_trusted",
            "public_url is https, so a proxy is in front, and trust_proxy names none: all clients count as one address; \
             write trust_proxy = \"loopback\", or the proxy's address",
        );
    }
    if config.registration_open {
        output.warn(
            "registration_open",
            "everybody who reaches this server can make an account; registration.open = false leaves that to \
             `hallpass user create`",
        );
    }
    for file in modes::loose(config) {
        output.warn(file.event, &format!("{}: {}", file.path.display(), file.advice));
    }
    if config.secrets.is_empty() && key_file::is_loose(&config.key_file) {
        let message = "others can read the signing secrets; run chmod 600 on the file";
        output.warn("key_file_readable", &format!("{}: {message}", config.key_file.display()));
    }
}

/// Where a setting stands: once, or with each provider that is configured.
fn places<'a>(setting: &'a Setting, values: &Values) -> Vec<(String, &'a Setting)> {
    if !setting.is_of_each() {
        return vec![(setting.path.to_owned(), setting)];
    }
    let section = setting.path.split('.').next().unwrap_or_default();
    let path = |name: &String| setting.path.replacen("NAME", name, 1);
    let given = |path: &String| values.get(path).is_some();
    values.names(section).iter().map(path).filter(given).map(|path| (path, setting)).collect()
}

/// The table of docs/configuration.md.
fn reference() -> String {
    let row = |setting: &Setting| {
        let default =
            if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        format!(
            "| `{}` | {} | {default} | {} |\n",
            setting.path,
            setting.kind.describe(),
            setting.doc.replace('|', "\\|")
        )
    };
    let rows: String = settings().map(row).collect();
    format!("| setting | holds | default | meaning |\n|---|---|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_describes_the_settings_there_are() {
        let guide = include_str!("../../../../docs/configuration.md");
        assert!(
            guide.contains(&reference()),
            "docs/configuration.md is out of date: put the output of `hallpass check-config --reference` there"
        );
    }
}
