//! From flags, environment and file to one value a setting; what nobody understands becomes a problem.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Problem,
    schema::{self, Kind, SETTINGS, Setting, Value},
};

/// What variables for this program alone begin with.
const PREFIX: &str = "HALLPASS__";

/// Where a value comes from; later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(String),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) | Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Duration(duration) => humantime::format_duration(*duration).fmt(f),
            Self::List(list) => f.write_str(&list.join(",")),
        }
    }
}

/// One value for every setting.
#[derive(Debug, Default)]
pub(crate) struct Values {
    given: BTreeMap<String, (Value, Origin)>,
    /// Settings that got their value from a file of their own.
    from_own_file: BTreeMap<String, Origin>,
    /// Those files.
    own_files: BTreeMap<String, PathBuf>,
    /// The configuration file.
    file: Option<PathBuf>,
    pub(crate) problems: Vec<Problem>,
}

impl Values {
    /// The table's defaults.
    pub(crate) fn defaults() -> Self {
        let mut values = Self::default();
        for setting in SETTINGS {
            values.parse(setting.path, setting, setting.default, Origin::Default);
        }
        values
    }

    /// Reads the file at `path`.
    pub(crate) fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        self.file = Some(path.to_owned());
        let text = match fs::read_to_string(path) {
            Ok(text) => without_mark(&text).to_owned(),
            Err(error) => return self.problem(&name, format!("cannot be read: {error}")),
        };
        match text.parse::<toml::Table>() {
            Ok(table) => self.walk(&table, "", &name),
            // The parser's message shows the line it stumbled over, which may hold a secret: only the place is told.
            Err(error) => {
                let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
                let line = before.matches('\n').count() + 1;
                self.problem(&name, format!("line {line}: {}", error.message()));
            }
        }
    }

    fn walk(&mut self, table: &toml::Table, section: &str, file: &str) {
        for (key, value) in table {
            let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            let origin = Origin::File(file.to_owned());
            match value {
                toml::Value::Table(inner) if inner.is_empty() && is_section_of_each(&path) => {
                    self.problem(&path, "is empty, so it does nothing; fill it in or remove it".to_owned());
                }
                toml::Value::Table(inner) if is_section(&path) => self.walk(inner, &path, file),
                toml::Value::Table(_) if schema::find(&path).is_none() => self.unknown_section(&path, file),
                _ if is_section(&path) => {
                    self.problem(&path, format!("is a section: write [{path}] on a line of its own"));
                }
                _ => match schema::find(&path) {
                    Some(setting) => self.accept(&path, setting, setting.kind.read(value), origin),
                    None => self.own_file_or_unknown(&path, value.as_str(), "_file", origin),
                },
            }
        }
    }

    /// Reads variables named `HALLPASS__SECTION__KEY`.
    pub(crate) fn read_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                self.check_misspelt(&name);
                continue;
            };
            let path = rest.to_lowercase().replace("__", ".");
            let origin = Origin::Environment(name.clone());
            match schema::find(&path) {
                Some(setting) => self.parse(&path, setting, &text, origin),
                None => self.own_file_or_unknown(&path, Some(&text), "_file", origin),
            }
        }
    }

    /// What other programs heed as well, where nothing is said to this one alone. Small letters win, as with curl.
    pub(crate) fn read_usual_environment(&mut self, variables: &[(String, String)]) {
        for (name, path) in [
            ("https_proxy", "outbound.proxy"),
            ("HTTPS_PROXY", "outbound.proxy"),
            ("no_proxy", "outbound.no_proxy"),
            ("NO_PROXY", "outbound.no_proxy"),
        ] {
            let given = variables.iter().find(|(other, text)| other == name && !text.is_empty());
            let free = *self.origin(path) == Origin::Default;
            if let (true, Some(setting), Some((_, text))) = (free, schema::find(path), given) {
                self.parse(path, setting, text, Origin::Environment(name.to_owned()));
            }
        }
    }

    /// Takes a flag of the command line.
    pub(crate) fn flag(&mut self, path: &str, text: Option<&str>) {
        if let (Some(setting), Some(text)) = (schema::find(path), text) {
            self.parse(path, setting, text, Origin::Flag(format!("--{}", path.replace(['_', '.'], "-"))));
        }
    }

    /// `session.secrets_file`: the value stands in a file of its own. Anything else is unknown.
    fn own_file_or_unknown(&mut self, path: &str, file: Option<&str>, suffix: &str, origin: Origin) {
        let owner = path.strip_suffix(suffix).unwrap_or(path);
        let has_own_file =
            |setting: &&Setting| matches!(setting.kind, Kind::Secrets | Kind::Secret | Kind::Url);
        let (Some(setting), Some(file)) = (schema::find(owner).filter(has_own_file), file) else {
            return self.unknown(path, &origin);
        };
        match fs::read_to_string(file) {
            Ok(text) => {
                self.accept(owner, setting, own_file(setting.kind, file, &text), origin.clone());
                self.from_own_file.insert(owner.to_owned(), origin);
                self.own_files.insert(owner.to_owned(), file.into());
            }
            Err(error) => {
                self.problem(&origin_and(path, &origin), format!("{file:?} cannot be read: {error}"));
            }
        }
    }

    fn parse(&mut self, path: &str, setting: &'static Setting, text: &str, origin: Origin) {
        self.accept(path, setting, setting.kind.parse(text), origin);
    }

    fn accept(
        &mut self,
        path: &str,
        setting: &'static Setting,
        value: Result<Value, String>,
        origin: Origin,
    ) {
        let twice = match self.given.get(path) {
            Some((_, Origin::Default)) | None => false,
            Some(_) => {
                self.from_own_file.contains_key(path) || matches!(setting.kind, Kind::Secrets | Kind::Secret)
            }
        };
        match value {
            // Of two secrets, nobody should have to guess which one counts.
            Ok(_) if twice => {
                self.problem(&origin_and(path, &origin), "is given twice; keep one of the two".to_owned());
            }
            Ok(value) => drop(self.given.insert(path.to_owned(), (value, origin))),
            Err(advice) => self.problem(&origin_and(path, &origin), advice),
        }
    }

    /// Names what is nearly a variable of ours and is read by nobody. Others begin alike: Kubernetes sets `HALLPASS_PORT` for a service of
    /// this name.
    fn check_misspelt(&mut self, name: &str) {
        let ours = |(start, _): &(&str, &str)| start.eq_ignore_ascii_case("HALLPASS_");
        let Some((_, rest)) = name.split_at_checked("HALLPASS_".len()).filter(ours) else { return };
        let rest = rest.trim_start_matches('_').to_lowercase();
        let flat = |text: &str| text.replace("__", "_").replace('.', "_");
        let own_file = flat(&rest).strip_suffix("_file").map(str::to_owned);
        let means = |setting: &&Setting| {
            let path = flat(setting.path);
            path == flat(&rest) || own_file.as_ref() == Some(&path)
        };
        let of_provider = rest.starts_with("providers_");
        match SETTINGS.iter().find(means) {
            Some(setting) => {
                let file = if flat(&rest) == flat(setting.path) { "" } else { "_FILE" };
                let advice = format!("is not read; did you mean {}{file}?", Setting::env(setting.path));
                self.problem(name, advice);
            }
            None if of_provider => {
                let advice = "is not read; write HALLPASS__PROVIDERS__NAME__KEY, with two underscores each";
                self.problem(name, advice.to_owned());
            }
            None => {}
        }
    }

    fn unknown_section(&mut self, path: &str, file: &str) {
        let sections = schema::settings().filter_map(|setting| Some(setting.path.rsplit_once('.')?.0));
        let likeness = |section: &&str| (strsim::jaro_winkler(path, section) * 1000.0).round();
        let best = sections.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let advice = match best.filter(|section| likeness(section) > 800.0) {
            Some(section) => format!("is no section; did you mean [{section}]?"),
            None => "is no section; `hallpass check-config` lists all settings".to_owned(),
        };
        self.problem(&format!("{file}: {path}"), advice);
    }

    fn unknown(&mut self, path: &str, origin: &Origin) {
        let likeness = |setting: &&Setting| {
            let score = strsim::jaro_winkler(path, setting.path)
                .max(strsim::jaro_winkler(last(path), last(setting.path)) - 0.02);
            (score * 1000.0).round()
        };
        let best = schema::settings().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let name = |setting: &Setting| match origin {
            Origin::Environment(_) => Setting::env(setting.path),
            _ => setting.path.to_owned(),
        };
        let advice = match best.filter(|setting| likeness(setting) > 800.0) {
            Some(setting) => format!("is no setting; did you mean {}?", name(setting)),
            None => "is no setting; `hallpass check-config` lists all".to_owned(),
        };
        self.problem(&origin_and(path, origin), advice);
    }

    pub(crate) fn problem(&mut self, at: &str, advice: String) {
        self.problems.push(Problem { at: at.to_owned(), advice });
    }

    /// Where a setting's value comes from.
    pub(crate) fn origin(&self, path: &str) -> &Origin {
        self.given.get(path).map_or(&Origin::Default, |(_, origin)| origin)
    }

    /// The file of its own that contains a setting.
    pub(crate) fn own_file(&self, path: &str) -> Option<&Path> {
        self.own_files.get(path).map(PathBuf::as_path)
    }

    /// The files that hold secrets: those of single settings, and the configuration file if it contains a secret.
    pub(crate) fn secret_files(&self) -> Vec<PathBuf> {
        let in_file = self.given.iter().any(|(path, (value, origin))| {
            let kind = schema::find(path).map(|setting| setting.kind);
            let secret = match (kind, value) {
                (Some(Kind::Secret | Kind::Secrets), value) => *value != Value::Text(String::new()),
                (Some(Kind::Url), Value::Text(url)) => url.contains('@'),
                _ => false,
            };
            secret && matches!(origin, Origin::File(_)) && !self.own_files.contains_key(path)
        });
        self.own_files.values().chain(self.file.iter().filter(|_| in_file)).cloned().collect()
    }

    /// How a problem names a setting that was given.
    pub(crate) fn place(&self, path: &str) -> String {
        origin_and(path, self.origin(path))
    }

    /// Whether it comes from a variable that other programs heed as well.
    pub(crate) fn is_usual(&self, path: &str) -> bool {
        matches!(self.origin(path), Origin::Environment(name) if !name.starts_with(PREFIX))
    }

    /// Whether somebody wants it otherwise than it is by itself.
    pub(crate) fn is_changed(&self, path: &str) -> bool {
        let usual = schema::find(path).and_then(|setting| setting.kind.parse(setting.default).ok());
        self.given.get(path).is_some_and(|(value, _)| Some(value) != usual.as_ref())
    }

    /// The value of a setting of the table; `None` when it was refused, or is of each thing of a kind and was not given.
    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        debug_assert!(schema::find(path).is_some(), "{path} is not in the table");
        self.given.get(path).map(|(value, _)| value)
    }

    /// The names of the things in a section, as in `[section.NAME]`, in their order.
    pub(crate) fn names(&self, section: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.given.keys().filter_map(|path| schema::name_in(path, section)).map(|(name, _)| name)
        {
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        if let Some(Value::Text(text)) = self.get(path) { text } else { "" }
    }

    pub(crate) fn flag_of(&self, path: &str) -> bool {
        self.get(path) == Some(&Value::Flag(true))
    }

    pub(crate) fn number(&self, path: &'static str) -> u64 {
        if let Some(Value::Number(number)) = self.get(path) { *number } else { 0 }
    }

    pub(crate) fn duration(&self, path: &'static str) -> Duration {
        if let Some(Value::Duration(duration)) = self.get(path) { *duration } else { Duration::ZERO }
    }

    pub(crate) fn list(&self, path: &str) -> &[String] {
        if let Some(Value::List(list)) = self.get(path) { list } else { &[] }
    }
}

/// The lines that are neither empty nor comments.
pub(crate) fn lines(text: &str) -> Vec<String> {
    schema::items(without_mark(text), '\n').into_iter().filter(|line| !line.starts_with('#')).collect()
}

/// The text without the byte order mark that some editors write in front.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// The value that stands in a file of its own.
fn own_file(kind: Kind, file: &str, text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    let lines = lines(text);
    match (kind, lines.first()) {
        // As it stands: a private key has many lines.
        (Kind::Secret, _) if !without_line_end(text).is_empty() => {
            Ok(Value::Text(without_line_end(text).to_owned()))
        }
        (_, None) => Err(format!(
            "{file:?} holds nothing but empty lines and comments; put the secret there (`hallpass key generate` makes signing secrets)"
        )),
        (Kind::Url, Some(url)) => Ok(Value::Text(url.clone())),
        _ => Ok(Value::List(lines)),
    }
}

/// Whether this is the section of one thing of a kind, as `providers.google`.
fn is_section_of_each(path: &str) -> bool {
    let of_each = |setting: &Setting| {
        let section = setting.path.split('.').next().unwrap_or_default();
        setting.is_of_each()
            && path
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|name| !name.contains('.'))
    };
    schema::settings().any(of_each)
}

fn is_section(path: &str) -> bool {
    is_section_of_each(path)
        || schema::settings()
            .any(|setting| setting.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// How a problem names its place: the variable or flag itself, or the path in the file.
fn origin_and(path: &str, origin: &Origin) -> String {
    match origin {
        Origin::File(file) => format!("{file}: {path}"),
        Origin::Environment(name) | Origin::Flag(name) => name.clone(),
        Origin::Default => path.to_owned(),
    }
}
