//! Where accounts are that another application made, and which field is what.

use hallpass_auth::{Case, LoginKind, Logins, PasswordFormat};
use hallpass_stores::{Flag, Ids, Roles, StoreUrl, UserMap, Verified};

use super::{gather::Values, schema::SETTINGS, stores::StoresConfig};

/// Accounts that another application made.
#[derive(Clone, Debug)]
pub struct ExistingUsers {
    /// Where they are, if not in the database.
    pub url: Option<StoreUrl>,
    /// Which field is what.
    pub map: UserMap,
}

/// What we would make in PostgreSQL and SQLite ourselves.
const OUR_TABLES: [&str; 3] = ["users", "sessions", "records"];

/// Reads the settings; problems are noted with the values.
pub(super) fn check(values: &mut Values, url: Option<StoreUrl>) -> Option<ExistingUsers> {
    let (collection, table) = (values.text("users.collection"), values.text("users.table"));
    let named = match (collection.is_empty(), table.is_empty()) {
        (true, true) => return unused(values),
        (false, false) => {
            let advice = "is a table, users.collection one of MongoDB; keep one of the two";
            values.problem("users.table", advice.to_owned());
            return None;
        }
        (true, false) => table.to_owned(),
        (false, true) => collection.to_owned(),
    };
    one_of(values, ["users.roles", "users.role"], "a list of roles or one role");
    one_of(values, ["users.disabled", "users.enabled"], "who may not sign in or who may");
    for odd in values.list("users.providers").to_vec().iter().filter(|pair| !pair.contains('=')) {
        values.problem("users.providers", format!("{odd:?} names no field; write \"google=googleId\""));
    }
    check_providers(values);
    check_verified(values);
    let map = map(values, named);
    if let Err(error) = map.check() {
        values.problem("users", error.to_string());
    }
    Some(ExistingUsers { url, map })
}

/// A map of nothing would do nothing.
fn unused(values: &mut Values) -> Option<ExistingUsers> {
    let given = |path: &str| path.starts_with("users.") && values.is_changed(path);
    if let Some(setting) = SETTINGS.iter().find(|setting| given(setting.path)) {
        let advice = "does nothing without users.collection (MongoDB) or users.table (PostgreSQL, SQLite)";
        values.problem(setting.path, advice.to_owned());
    }
    None
}

fn one_of(values: &mut Values, [one, other]: [&'static str; 2], what: &str) {
    if !values.text(one).is_empty() && !values.text(other).is_empty() {
        values.problem(other, format!("and {one} cannot both say {what}; keep one of the two"));
    }
}

/// Who may be let into an account by an address is no matter for two settings, nor for one that anybody could turn to their use.
fn check_verified(values: &mut Values) {
    let (field, trust) = (!values.text("users.verified").is_empty(), values.flag_of("users.trust_email"));
    let (open, names) = (values.flag_of("registration.open"), values.text("users.login_kind") == "username");
    let mut problem = |path: &str, advice: &str| values.problem(path, advice.to_owned());
    if field && trust {
        problem(
            "users.trust_email",
            "says that every address is verified, and users.verified which; keep one of the two",
        );
    }
    if trust && open {
        let advice = "would let whoever registers here with somebody else's address wait for them in that account; set registration.open = false, so that the application alone makes accounts";
        problem("users.trust_email", advice);
    }
    if names && (field || trust) {
        let advice = "do nothing where people sign in with user names: no address opens an account there";
        problem("users.verified", &format!("and users.trust_email {advice}"));
    }
}

fn map(values: &Values, table: String) -> UserMap {
    let optional = |path| Some(values.text(path)).filter(|text| !text.is_empty()).map(str::to_owned);
    let required = |path| values.text(path).to_owned();
    UserMap {
        table,
        schema: optional("users.schema"),
        id: required("users.id"),
        ids: match values.text("users.ids") {
            "string" => Ids::Text,
            "number" => Ids::Number,
            "uuid" => Ids::Uuid,
            _ => Ids::ObjectId,
        },
        login: required("users.login"),
        logins: Logins {
            kind: if values.text("users.login_kind") == "username" {
                LoginKind::UserName
            } else {
                LoginKind::Email
            },
            case: match values.text("users.login_case") {
                "lower" => Case::Lower,
                "insensitive" => Case::Insensitive,
                _ => Case::Exact,
            },
        },
        password: required("users.password"),
        passwords: match values.text("users.password_format") {
            "argon2id" => PasswordFormat::Argon2id,
            _ => PasswordFormat::Bcrypt {
                cost: u32::try_from(values.number("users.bcrypt_cost")).unwrap_or(u32::MAX),
            },
        },
        name: optional("users.name"),
        roles: optional("users.roles").map(Roles::List).or(optional("users.role").map(Roles::One)),
        flag: optional("users.disabled").map(Flag::Disabled).or(optional("users.enabled").map(Flag::Enabled)),
        verified: match optional("users.verified") {
            Some(field) => Verified::Field(field),
            None if values.flag_of("users.trust_email") => Verified::Always,
            None => Verified::Unknown,
        },
        created: optional("users.created"),
        updated: optional("users.updated"),
        providers: pairs(values.list("users.providers")),
        session_epoch: optional("users.session_epoch"),
        // The clock of the stores comes with them.
        ..UserMap::default()
    }
}

/// `google=googleId`; what is no such pair was noted as a problem.
fn pairs(list: &[String]) -> Vec<(String, String)> {
    let pair = |text: &String| {
        text.split_once('=').map(|(name, field)| (name.trim().to_owned(), field.trim().to_owned()))
    };
    list.iter().filter_map(pair).collect()
}

/// A field of a provider that is not there would open nothing, and nobody would know.
fn check_providers(values: &mut Values) {
    let names = values.names("providers");
    for (name, _) in pairs(values.list("users.providers")) {
        if names.contains(&name) {
            continue;
        }
        let likeness = |other: &&String| (strsim::jaro_winkler(&name, other) * 1000.0).round();
        let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let advice = match best.filter(|other| likeness(other) > 800.0) {
            Some(other) => format!("names no provider {name:?}; did you mean {other:?}?"),
            None => format!("names no provider {name:?}; describe it in [providers.{name}], or take it out"),
        };
        values.problem("users.providers", advice);
    }
}

/// What goes together with the other stores, and what does not.
pub(super) fn check_stores(values: &mut Values, stores: &StoresConfig) {
    let Some(users) = &stores.users else { return };
    let url = users.url.as_ref().unwrap_or(&stores.database);
    let is_collection = !values.text("users.collection").is_empty();
    match url {
        StoreUrl::Redis(_) => values.problem("users.url", "Redis keeps no accounts".to_owned()),
        StoreUrl::Mongo(_) if !is_collection => {
            values.problem("users.table", "MongoDB has collections; write users.collection".to_owned());
        }
        StoreUrl::Postgres(_) | StoreUrl::Sqlite(_) if is_collection => values.problem(
            "users.collection",
            format!("{url} has tables; write users.table, or users.url if the accounts are elsewhere"),
        ),
        _ => {}
    }
    if !matches!(url, StoreUrl::Postgres(_)) && users.map.schema.is_some() {
        values.problem("users.schema", "only PostgreSQL has schemas".to_owned());
    }
    if !matches!(url, StoreUrl::Mongo(_)) && values.is_changed("users.ids") {
        values.problem("users.ids", "only MongoDB needs it; elsewhere the column's type says it".to_owned());
    }
    check_clash(values, stores, users);
    if stores.moving.as_ref().is_some_and(|source| !source.is_sessions_only()) {
        let advice = "would bring accounts into another application's table; set moving.sessions_only";
        values.problem("moving.from", advice.to_owned());
    }
}

/// Our own tables must not meet theirs.
fn check_clash(values: &mut Values, stores: &StoresConfig, users: &ExistingUsers) {
    let map = &users.map;
    let ours = map.schema.is_none() && OUR_TABLES.contains(&&*map.table);
    match (&stores.database, &users.url) {
        (StoreUrl::Sqlite(_), None) => values.problem(
            "users.table",
            "the application's file is no place for our own tables; name it in users.url, and another file in database".to_owned(),
        ),
        (StoreUrl::Sqlite(own), Some(StoreUrl::Sqlite(theirs))) if own == theirs => values.problem(
            "users.url",
            "the application's file is no place for our own tables; name another file in database".to_owned(),
        ),
        (StoreUrl::Postgres(_), None) if ours => values.problem(
            "users.table",
            format!(
                "Hallpass makes a table {0:?} of its own here; give it a schema (database = \"postgres://…?options=-csearch_path%3Dhallpass_own\" and users.schema = \"public\"), or name the application's database in users.url",
                map.table
            ),
        ),
        _ => {}
    }
}
