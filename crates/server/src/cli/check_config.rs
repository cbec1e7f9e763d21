//! `hallpass check-config`: what the server would run with, and who says so.

use clap::Args;
use hallpass_stores::StoreUrl;
use serde_json::{Value, json};

use super::{
    Global, Serve, environment,
    output::{Failure, Output},
    providers,
};
use crate::{
    config::{
        Config, Values,
        schema::{Kind, Setting, settings},
    },
    pages::Pages,
};

#[derive(Args)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    serve: Serve,
    /// Describe all settings in Markdown instead
    #[arg(long)]
    reference: bool,
    /// Ask the sign-in providers and the stores, instead of showing the settings: addresses, keys, client, clock; durability
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
    Pages::new(&config).map_err(Failure::failed)?;
    if check.online {
        return providers::check(output, &config);
    }
    let row = |(path, setting): (String, &Setting)| -> Vec<Value> {
        let value = values.get(&path).map(ToString::to_string).unwrap_or_default();
        let value = match setting.kind {
            Kind::Secrets | Kind::Secret if !value.is_empty() => "(hidden)".to_owned(),
            // Its `Display` leaves the password out.
            Kind::Url => value.parse::<StoreUrl>().map(|url| url.to_string()).unwrap_or_default(),
            _ => value,
        };
        vec![json!(path), json!(value), json!(values.origin(&path).to_string())]
    };
    let rows: Vec<Vec<Value>> = settings().flat_map(|setting| places(setting, &values)).map(row).collect();
    output.list(&["setting", "value", "from"], &rows);
    Ok(())
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
