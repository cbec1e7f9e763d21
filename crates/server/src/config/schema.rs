//! Every setting there is: the one table behind the file, the environment, `check-config` and docs/configuration.md.

use std::time::Duration;

use super::{
    connect::CONNECT, provider_settings::PROVIDER_SETTINGS, session_settings::SESSIONS, settings::SERVER,
    web_settings::WEB,
};

/// One setting.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// `section.key`, as in the file.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// What it is when nobody says anything, written as in the environment; empty: nothing.
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
}

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Flag,
    Number,
    /// Bytes.
    Size,
    Duration,
    /// In the environment separated by commas.
    List,
    Choice(&'static [&'static str]),
    /// A list that is never shown, and may stand in a file of its own, one a line.
    Secrets,
    /// A text that is never shown, is taken as it stands, and may be a file of its own.
    Secret,
    /// Where a store is; its password is never shown, and it may stand in a file of its own.
    Url,
    /// Express's `trust proxy`: a flag, a number, or addresses.
    Trust,
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    Duration(Duration),
    List(Vec<String>),
}

pub(super) const fn setting(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { path, kind, default, doc }
}

use Kind::{Choice, Duration as Time, Flag, List, Number, Secret, Secrets, Size, Text, Trust, Url};

/// The table: the server's settings, then what is only for the layouts shared with Express; without
/// what is of each provider.
pub(crate) const SETTINGS: &[Setting] = &joined();

const PARTS: [&[Setting]; 4] = [SERVER, SESSIONS, WEB, CONNECT];

const fn joined() -> [Setting; SERVER.len() + SESSIONS.len() + WEB.len() + CONNECT.len()] {
    let mut all = [SERVER[0]; SERVER.len() + SESSIONS.len() + WEB.len() + CONNECT.len()];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut from = 0;
        while from < PARTS[part].len() {
            all[at] = PARTS[part][from];
            (at, from) = (at + 1, from + 1);
        }
        part += 1;
    }
    all
}

/// What stands in the table where the file has a provider's own name.
const ANY: &str = ".NAME.";

/// All settings: those that are there once, and those of each provider.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(PROVIDER_SETTINGS)
}

/// The setting of this path.
pub(crate) fn find(path: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.covers(path))
}

impl Setting {
    /// Its name in the environment, for the setting at `path`.
    pub(crate) fn env(path: &str) -> String {
        format!("HALLPASS__{}", path.replace('.', "__").to_uppercase())
    }

    /// Whether it is of each thing of a kind: `providers.NAME.label` is of all providers.
    pub(crate) fn is_of_each(&self) -> bool {
        self.path.contains(ANY)
    }

    fn covers(&self, path: &str) -> bool {
        match self.path.split_once(ANY) {
            None => self.path == path,
            Some((section, key)) => name_in(path, section).is_some_and(|(_, rest)| rest == key),
        }
    }
}

/// The name and the key in `section.NAME.key`.
pub(crate) fn name_in<'a>(path: &'a str, section: &str) -> Option<(&'a str, &'a str)> {
    let (name, key) = path.strip_prefix(section)?.strip_prefix('.')?.split_once('.')?;
    (!name.is_empty()).then_some((name, key))
}

impl Kind {
    /// What it holds, in words.
    pub(crate) fn describe(self) -> String {
        match self {
            Text => "text".to_owned(),
            Url => "URL; secret, also as `…_file`".to_owned(),
            Flag => "true or false".to_owned(),
            Number => "number".to_owned(),
            Size => "size".to_owned(),
            Time => "duration".to_owned(),
            List => "list".to_owned(),
            Choice(choices) => choices.join(", "),
            Secrets => "list; secret, also as `…_file`".to_owned(),
            Secret => "text; secret, also as `…_file`".to_owned(),
            Trust => "flag, number or list".to_owned(),
        }
    }

    /// Reads what the environment, a flag or a default says.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        if self == Kind::Secret {
            return Ok(Value::Text(text.to_owned()));
        }
        let text = text.trim();
        match self {
            Text | Trust | Url | Secret => Ok(Value::Text(text.to_owned())),
            Flag => text.parse().map(Value::Flag).map_err(|_| "write true or false".to_owned()),
            Number => text.parse().map(Value::Number).map_err(|_| "write a whole number".to_owned()),
            Size => size(text).map(Value::Number),
            Time => duration(text).map(Value::Duration),
            List => Ok(Value::List(items(text, ','))),
            // It may be part of a secret, or stand between two: nobody should have to guess.
            Secrets if text.contains(',') => Err(
                "holds a comma, which may be part of a secret or stand between two; put the secrets into a file, one a line, and give that instead, under the same name with _FILE at its end"
                    .to_owned(),
            ),
            Secrets => Ok(Value::List(items(text, '\n'))),
            Choice(choices) if choices.contains(&text) => Ok(Value::Text(text.to_owned())),
            Choice(choices) => Err(format!("write one of {}", choices.join(", "))),
        }
    }

    /// Reads what the file says.
    pub(crate) fn read(self, value: &toml::Value) -> Result<Value, String> {
        use toml::Value as Toml;
        match (self, value) {
            (Flag, Toml::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Number | Size, Toml::Integer(number)) => {
                u64::try_from(*number).map(Value::Number).map_err(|_| "write a positive number".to_owned())
            }
            (List | Secrets, Toml::Array(list)) => texts(list).map(Value::List),
            (List | Secrets, Toml::String(one)) => Ok(Value::List(vec![one.clone()])),
            (Trust, Toml::Boolean(flag)) => Ok(Value::Text(flag.to_string())),
            (Trust, Toml::Integer(hops)) => Ok(Value::Text(hops.to_string())),
            (Trust, Toml::Array(list)) => Ok(Value::Text(texts(list)?.join(","))),
            (Text | Trust | Time | Size | Url | Secret | Choice(_), Toml::String(text)) => self.parse(text),
            (Text | Url | Secret, _) => Err("write text in quotes".to_owned()),
            (Flag, _) => Err("write true or false, without quotes".to_owned()),
            (Number, _) => Err("write a whole number, without quotes".to_owned()),
            (Size, _) => Err("write a size in quotes, such as \"64MiB\" or \"1GiB\"".to_owned()),
            (Time, _) => {
                Err("write a duration in quotes, such as \"90s\", \"15m\", \"24h\" or \"30d\"".to_owned())
            }
            (List | Secrets, _) => Err("write a list of texts, such as [\"a\", \"b\"]".to_owned()),
            (Trust, _) => Err("write a flag, a number, or a list of addresses".to_owned()),
            (Choice(choices), _) => Err(format!("write one of {}, in quotes", choices.join(", "))),
        }
    }
}

/// The non-empty parts of a text.
pub(crate) fn items(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn texts(list: &[toml::Value]) -> Result<Vec<String>, String> {
    let text = |item: &toml::Value| item.as_str().map(str::to_owned);
    list.iter().map(text).collect::<Option<_>>().ok_or_else(|| "every item is text, in quotes".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1_u64 << 30),
        _ => None,
    };
    let bytes = digits.parse::<u64>().ok().zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
    bytes.ok_or_else(|| "write a number with its unit, such as 64MiB or 1GiB".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "write a duration with its unit, such as 90s, 15m, 24h or 30d".to_owned())
}
