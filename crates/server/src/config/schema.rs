//! Every setting there is: the one table behind the file, the environment, `check-config` and docs/configuration.md.

use std::time::Duration;

use super::{connect::CONNECT, provider_settings::PROVIDER_SETTINGS};

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

/// The table: everything here, then what is only for the layouts shared with Express; without what is
/// of each provider.
pub(crate) const SETTINGS: &[Setting] = &joined();

const fn joined() -> [Setting; SERVER.len() + CONNECT.len()] {
    let mut all = [SERVER[0]; SERVER.len() + CONNECT.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < SERVER.len() { SERVER[at] } else { CONNECT[at - SERVER.len()] };
        at += 1;
    }
    all
}

const SERVER: &[Setting] = &[
    setting("listen", Text, "127.0.0.1:8080", "The address and port to listen on; port 0 takes a free one."),
    setting(
        "public_url",
        Text,
        "",
        "Where browsers reach the server, such as `https://auth.example.com`. Cookie name, `Secure`, HSTS and the trusted origin follow from it. Empty: the address it listens on, for development.",
    ),
    setting(
        "database",
        Url,
        "sqlite:hallpass.db",
        "Where everything is kept: `sqlite:PATH`, `mongodb://…`, `postgres://…`. See [stores.md](stores.md).",
    ),
    setting(
        "sessions",
        Url,
        "",
        "Where sessions are kept, if not in the database: `redis://…`, or another database.",
    ),
    setting(
        "users.collection",
        Text,
        "",
        "Accounts that another application keeps in MongoDB: their collection, such as mongoose's `users`. See [from-express.md](from-express.md).",
    ),
    setting(
        "users.table",
        Text,
        "",
        "The same in PostgreSQL or SQLite: the table. Only mapped fields are read, only what changes is set, nothing is made there.",
    ),
    setting("users.schema", Text, "", "The table's schema in PostgreSQL. Empty: the search path decides."),
    setting("users.url", Url, "", "The database of those accounts, if not `database`."),
    setting("users.id", Text, "id", "The column of ids, in PostgreSQL and SQLite."),
    setting(
        "users.ids",
        Choice(&["objectid", "string", "number", "uuid"]),
        "objectid",
        "What `_id` is, in MongoDB.",
    ),
    setting(
        "users.login",
        Text,
        "email",
        "The field people sign in with. In MongoDB, fields may stand inside others: `local.email`.",
    ),
    setting(
        "users.login_kind",
        Choice(&["email", "username"]),
        "email",
        "Whether that is an e-mail address or a name people choose.",
    ),
    setting(
        "users.login_case",
        Choice(&["exact", "lower", "insensitive"]),
        "exact",
        "How capital letters count. `exact`: as stored; another spelling is also looked for in lower case. `lower`: everything is stored in lower case. `insensitive`: the database ignores case (`citext`, `lower(…)`, `collate nocase`, a collation of strength 2).",
    ),
    setting("users.password", Text, "password", "The field of the password hash."),
    setting(
        "users.password_format",
        Choice(&["bcrypt", "argon2id"]),
        "bcrypt",
        "The format of new hashes. `bcrypt`: what bcryptjs verifies, so the other application goes on working; passwords of at most 72 bytes. `argon2id`: bcrypt is replaced at sign-in; needs `users.session_epoch`.",
    ),
    setting(
        "users.bcrypt_cost",
        Number,
        "10",
        "The cost of new bcrypt hashes; give the application's own. A hash that costs more keeps its cost.",
    ),
    setting("users.name", Text, "name", "The field of the person's name. Empty: there is none."),
    setting("users.roles", Text, "", "The field of a list of roles. Empty: there is none."),
    setting("users.role", Text, "", "The field of a single role. Empty: there is none."),
    setting("users.disabled", Text, "", "A flag whose holders may not sign in: `disabled`, `banned`."),
    setting("users.enabled", Text, "", "A flag without which nobody may sign in: `active`, `isVerified`."),
    setting("users.created", Text, "", "The field of the time an account was made."),
    setting("users.updated", Text, "", "The field of the time an account was changed."),
    setting(
        "users.providers",
        List,
        "",
        "Where the application keeps people's ids at providers, as passport's strategies do: `google=googleId`. Whoever signs in there with such an id has that account.",
    ),
    setting(
        "users.session_epoch",
        Text,
        "",
        "A field of our own, a 64-bit number. Without it, sessions end with a change of the password hash only.",
    ),
    setting("store.connections", Number, "16", "Connections to a database server at most."),
    setting(
        "store.timeout",
        Time,
        "5s",
        "How long a question to the database may take; then the answer is 503, and nobody is signed out.",
    ),
    setting(
        "key_file",
        Text,
        "",
        "Where the signing secrets are kept when `session.secrets` is empty; made on first start, readable by its owner only. Empty: `hallpass.key` beside the database.",
    ),
    setting(
        "trust_proxy",
        Trust,
        "off",
        "Which peers may say who the client is (`X-Forwarded-For`, `-Proto`, `-Host`): `off`, `true`, a number of hops, or addresses, CIDR ranges, `loopback`, `linklocal`, `uniquelocal`.",
    ),
    setting("service_name", Text, "Hallpass", "What the pages call the service."),
    setting(
        "session.secrets",
        Secrets,
        "",
        "Secrets that sign cookies, at least 32 bytes each: the first signs, all are accepted. Empty: the key file.",
    ),
    setting(
        "session.cookie_name",
        Text,
        "",
        "The cookie's name. Empty: `__Host-hallpass` on https, `__Secure-hallpass` with a domain, `hallpass` on http.",
    ),
    setting(
        "session.cookie_domain",
        Text,
        "",
        "Share the cookie with the subdomains of this domain. Empty: only the server's own host gets it.",
    ),
    setting(
        "session.same_site",
        Choice(&["lax", "strict", "none"]),
        "lax",
        "Which cross-site requests carry the cookie. `none` needs https and `csrf.mode = \"token\"`.",
    ),
    setting(
        "session.partitioned",
        Flag,
        "false",
        "Keep the cookie apart for each site that embeds this one (CHIPS); needs https.",
    ),
    setting("session.idle_timeout", Time, "24h", "A session ends this long after its last use."),
    setting("session.absolute_timeout", Time, "30d", "A session ends this long after sign-in, used or not."),
    setting(
        "session.remember_for",
        Time,
        "30d",
        "\"Keep me signed in\": such a session ends this long after its last use (never later than the absolute timeout), and the cookie outlives the browser.",
    ),
    setting(
        "session.touch_after",
        Time,
        "1m",
        "A use within this time of the last noted one is not noted again, which saves a write.",
    ),
    setting(
        "session.cache_size",
        Size,
        "64MiB",
        "Memory for copies of sessions, which answer while the store proves that it tells every change; `0`: every check asks the store.",
    ),
    setting(
        "session.max_staleness",
        Time,
        "1s",
        "What was ended elsewhere is refused here at the latest after this time, also when the network is broken; usually at once.",
    ),
    setting(
        "session.login_key",
        Choice(&["userId", "passport"]),
        "userId",
        "Under which key of the session the user stands: `userId`, or passport's `passport.user`.",
    ),
    setting(
        "session.layout",
        Choice(&["native", "connect"]),
        "native",
        "How sessions are stored: `native` (ours, ids hashed), or `connect`: as Express's stores do it, so that an Express app shares them. See [stores.md](stores.md#sessions-shared-with-express).",
    ),
    setting(
        "session.clear_site_data",
        List,
        "cache,storage",
        "What a browser forgets of this site at sign-out (`Clear-Site-Data`): any of `cache`, `cookies`, `storage`. Empty: nothing.",
    ),
    setting(
        "registration.open",
        Flag,
        "true",
        "Whether visitors can make accounts. Operators always can: `hallpass user create`.",
    ),
    setting(
        "password.min_length",
        Number,
        "15",
        "The fewest characters of a new password. Below 15 only beside a second factor (NIST SP 800-63B-4).",
    ),
    setting("password.max_length", Number, "256", "The most characters of a new password."),
    setting(
        "password.argon2_memory_kib",
        Number,
        "19456",
        "argon2id memory in KiB; see `hallpass hash calibrate`.",
    ),
    setting("password.argon2_iterations", Number, "2", "argon2id passes."),
    setting("password.argon2_parallelism", Number, "1", "argon2id lanes."),
    setting("password.hashing_threads", Number, "0", "Password hashes at once; 0: as many as cores."),
    setting(
        "password.queue_deadline",
        Time,
        "2s",
        "How long a sign-in waits for its turn before it gets 503.",
    ),
    setting("password.max_waiting", Number, "256", "How many sign-ins may wait for their turn."),
    setting("throttle.account.free", Number, "10", "Failed sign-ins to one account without waiting."),
    setting("throttle.account.window", Time, "15m", "Quiet time after which counting begins anew."),
    setting("throttle.account.first_wait", Time, "30s", "The first wait; each further one is twice as long."),
    setting("throttle.account.max_wait", Time, "15m", "The longest wait."),
    setting(
        "throttle.address.free",
        Number,
        "100",
        "Failed sign-ins from one address (IPv6: one /64) without waiting.",
    ),
    setting("throttle.address.window", Time, "15m", "As above."),
    setting("throttle.address.first_wait", Time, "30s", "As above."),
    setting("throttle.address.max_wait", Time, "15m", "As above."),
    setting("throttle.register.free", Number, "20", "Registrations from one address without waiting."),
    setting("throttle.register.window", Time, "1h", "As above."),
    setting("throttle.register.first_wait", Time, "30s", "As above."),
    setting("throttle.register.max_wait", Time, "15m", "As above."),
    setting(
        "cors.origins",
        List,
        "",
        "Origins whose scripts may call the API: `https://app.example.com`, a pattern `/https:\\/\\/[a-z]+\\.example\\.com/`, or `*`. Empty: none.",
    ),
    setting(
        "cors.credentials",
        Flag,
        "true",
        "Whether they may do so with the session cookie. Not possible with `*`.",
    ),
    setting("cors.methods", List, "GET,HEAD,PUT,PATCH,POST,DELETE", "Methods they may use."),
    setting(
        "cors.allowed_headers",
        List,
        "",
        "Headers they may send. Empty: whatever the preflight asks for.",
    ),
    setting("cors.exposed_headers", List, "", "Response headers their scripts may read."),
    setting("cors.max_age", Time, "5s", "How long browsers remember a preflight."),
    setting(
        "csrf.mode",
        Choice(&["origin", "token"]),
        "origin",
        "`origin`: changes must come from this site or a trusted origin (`Sec-Fetch-Site`, then `Origin`). `token`: they must also carry the session's token from `GET /auth/csrf`.",
    ),
    setting(
        "csrf.trusted_origins",
        List,
        "",
        "Other origins that may make changes; those of `cors.origins` with credentials may anyway.",
    ),
    setting(
        "pages.templates",
        Text,
        "",
        "A folder whose files replace the built-in page templates of the same name.",
    ),
    setting(
        "log.level",
        Text,
        "info",
        "What is logged: `error`, `warn`, `info`, `debug`, or directives such as `info,hallpass_auth=debug`.",
    ),
    setting(
        "log.format",
        Choice(&["auto", "text", "json"]),
        "auto",
        "`auto`: text on a terminal, else JSON.",
    ),
    setting(
        "moving.from",
        Url,
        "",
        "The stores that everything is being moved from: what is not yet in the new ones is fetched there. See `hallpass migrate`.",
    ),
    setting(
        "moving.layout",
        Choice(&["native", "connect"]),
        "native",
        "How sessions are stored there; of `connect`, sessions alone are moved.",
    ),
    setting("moving.sessions_only", Flag, "false", "Only sessions are moved; accounts stay where they are."),
    setting(
        "server.request_timeout",
        Time,
        "15s",
        "How long a request's body may take to arrive, and then the answer to be made.",
    ),
    setting("server.header_timeout", Time, "10s", "How long a client may take to send a request's head."),
    setting("server.max_connections", Number, "10000", "Connections at once; further ones wait."),
    setting(
        "server.drain_delay",
        Time,
        "0s",
        "After SIGTERM, how long new connections are still accepted while /readyz says 503, so that a load balancer can notice.",
    ),
    setting(
        "server.drain_timeout",
        Time,
        "8s",
        "After that, how long requests in flight may take to finish.",
    ),
];

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
            List | Secrets => Ok(Value::List(items(text, ','))),
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
