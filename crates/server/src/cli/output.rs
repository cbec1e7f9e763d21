//! What commands print: tables and sentences for people, JSON for programs.

#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    iter,
    process::ExitCode,
};

use hallpass_session::Secret;
use serde_json::{Value, json};

use super::{Exit, code};
use crate::config::ConfigError;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// The log has it.
    said: bool,
}

impl Failure {
    pub(super) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), said: false }
    }

    /// Something is broken; with all its causes.
    pub(super) fn failed(error: impl Error + 'static) -> Self {
        let causes = iter::successors(error.source(), |cause| (*cause).source());
        let mut message = error.to_string();
        for cause in causes.map(ToString::to_string) {
            // Some errors already say what their cause says.
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        Self::new(Exit::Failed, "failed", message)
    }
}

impl Failure {
    /// Of an act that may have happened, without a word about it: that, and what to do.
    pub(super) fn with_what_to_do(self) -> Self {
        if self.code != "failed" {
            return self;
        }
        self.with_advice("it may have happened all the same; run the command again")
    }

    /// The same failure, whose cause is the configuration.
    pub(super) fn of_configuration(self) -> Self {
        Self { exit: Exit::Usage, code: "configuration", ..self }
    }

    /// The same failure; nothing is printed for it any more.
    pub(super) fn said(self) -> Self {
        Self { said: true, ..self }
    }

    /// The same failure, and what to do about it.
    pub(super) fn with_advice(self, advice: &str) -> Self {
        Self { message: format!("{}; {advice}", self.message), ..self }
    }
}

/// What is known of a command that has ended.
pub(super) enum Settled {
    /// It did what was asked.
    Done,
    /// It did nothing: what was asked is wrong, missing or not allowed.
    Nothing,
    /// Something broke on the way.
    Unknown,
}

impl Settled {
    pub(super) fn of<T>(done: &Result<T, Failure>) -> Self {
        match done {
            Ok(_) => Self::Done,
            Err(failure) if failure.exit == Exit::Failed => Self::Unknown,
            Err(_) => Self::Nothing,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, "configuration", error.to_string())
    }
}

/// A list with its name and those of its columns.
type NamedList<'a> = (&'a str, &'a [&'a str], &'a [Vec<Value>]);

/// Where answers go.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// One answer: a sentence, or `value`.
    pub(super) fn answer(&self, sentence: &str, value: &Value) {
        Self::text(&if self.json { format!("{value}\n") } else { format!("{sentence}\n") });
    }

    /// An answer that may come with a password made here. Standard output has the password alone, so that it can be piped on.
    pub(super) fn with_password(&self, sentence: &str, mut value: Value, password: Option<&Secret<String>>) {
        let Some(password) = password else { return self.answer(sentence, &value) };
        value["password"] = json!(password.expose());
        if !self.json {
            Self::hint(sentence);
        }
        self.answer(password.expose(), &value);
    }

    /// One thing with its properties: a line each, or an object.
    pub(super) fn details(&self, properties: &[(&str, Value)]) {
        if self.json {
            let object: Value =
                properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            return Self::text(&format!("{object}\n"));
        }
        let rows = properties.iter().map(|(name, value)| vec![name.replace('_', " "), cell(value)]);
        Self::text(&table(&rows.collect::<Vec<_>>()));
    }

    /// A value and several lists: tables below each other, or one object.
    pub(super) fn lists(&self, (name, value): (&str, Value), lists: &[NamedList<'_>]) {
        let object = |names: &[&str], row: &Vec<Value>| -> Value {
            names.iter().map(ToString::to_string).zip(row.iter().cloned()).collect()
        };
        if self.json {
            let mut all = json!({ name: value });
            for (list, names, rows) in lists {
                all[list] = rows.iter().map(|row| object(names, row)).collect();
            }
            return Self::text(&format!("{all}\n"));
        }
        Self::text(&format!("{name}: {}\n", cell(&value)));
        for (_, names, rows) in lists {
            Self::text("\n");
            self.list(names, rows);
        }
    }

    /// A list: a table, or an array of objects with these names.
    pub(super) fn list(&self, names: &[&str], rows: &[Vec<Value>]) {
        if self.json {
            let object = |row: &Vec<Value>| -> Value {
                names.iter().map(ToString::to_string).zip(row.iter().cloned()).collect()
            };
            return Self::text(&format!("{}\n", Value::Array(rows.iter().map(object).collect())));
        }
        let header: Vec<String> = names.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
        let cells: Vec<Vec<String>> =
            iter::once(header).chain(rows.iter().map(|row| row.iter().map(cell).collect())).collect();
        Self::text(&table(&cells));
    }

    /// The line that says where to click.
    pub(super) fn ready(&self, url: &str) {
        self.answer(&format!("Hallpass is ready: open {url} (stop with Ctrl-C)"), &json!({ "ready": url }));
    }

    /// A reader that has seen enough (`hallpass user list | head`) is no error.
    pub(super) fn text(text: &str) {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
    }

    /// The last line for people when nothing is wrong; programs read the exit code.
    pub(super) fn good(&self, sentence: &str) {
        if !self.json {
            Self::text(&format!("{sentence}\n"));
        }
    }

    /// What is allowed and seldom meant.
    pub(super) fn warn(&self, code: &str, message: &str) {
        if self.json {
            eprintln!("{}", json!({ "warning": code, "message": message }));
        } else {
            eprintln!("warning: {message}");
        }
    }

    /// What somebody should know beside the answer, which programs read.
    pub(super) fn hint(sentence: &str) {
        eprintln!("{sentence}");
    }

    pub(super) fn fail(&self, failure: &Failure) -> ExitCode {
        if failure.said {
            return code(failure.exit);
        }
        if self.json {
            eprintln!("{}", json!({ "message": failure.message, "code": failure.code }));
        } else {
            eprintln!("hallpass: {}", failure.message);
        }
        code(failure.exit)
    }
}

/// Asks before what cannot be taken back, unless `yes` was given. The question goes to standard error, because standard
/// output is the answer's. Without a terminal nobody can answer, so nothing is done.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    let refused = |message: &str| Err(Failure::new(Exit::Refused, "not_confirmed", message));
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return refused("nothing was done: there is no terminal to ask at; give --yes if you mean it");
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    refused("nothing was done")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(fields) => fields.values().map(cell).collect::<Vec<_>>().join(" "),
        Value::Number(number) => number.to_string(),
    }
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [["A", "LONG"], ["äöü", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "A    LONG\näöü  x\n");
    }
}
