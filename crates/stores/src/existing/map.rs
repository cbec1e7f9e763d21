//! [`UserMap`]: which field of an existing table is what.

use std::{fmt, sync::Arc};

use hallpass_auth::{Case, Conventions, LoginKind, Logins, MAX_BCRYPT_COST, PasswordFormat, Reuse};
use hallpass_session::{Clock, SystemClock, Timestamp};

/// Where the accounts of another application are, and which field is what. In MongoDB a field may stand inside another:
/// `local.password`. Write `UserMap { login: .., ..Default::default() }`; the defaults are those of mongoose and bcryptjs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMap {
    /// The collection or table. Default: `users`.
    pub table: String,
    /// The schema in PostgreSQL. Default: none, the search path decides.
    pub schema: Option<String>,
    /// The column of ids in SQL tables; MongoDB's is `_id`. Default: `id`.
    pub id: String,
    /// What ids are in MongoDB; in SQL the column's type says it. Default: `ObjectId`s.
    pub ids: Ids,
    /// What people sign in with: e-mail address or user name. Default: `email`.
    pub login: String,
    /// Which of the two, and how capital letters count. Default: addresses, spelled exactly as they were typed.
    pub logins: Logins,
    /// The password hash. Default: `password`.
    pub password: String,
    /// The format of new hashes: what the other application can verify. Default: bcrypt as bcryptjs makes it.
    pub passwords: PasswordFormat,
    /// What to call the person. Default: `name`.
    pub name: Option<String>,
    /// The person's roles. Default: none.
    pub roles: Option<Roles>,
    /// What keeps an account from signing in. Default: none.
    pub flag: Option<Flag>,
    /// How it is told whether somebody's address was verified. Default: not at all.
    pub verified: Verified,
    /// When the account was made. Default: none; in MongoDB an `ObjectId` says it.
    pub created: Option<String>,
    /// When it was changed, set with each change. Default: none.
    pub updated: Option<String>,
    /// Under which field the application keeps the person's id at a provider: `("google", "googleId")`, as passport's strategies do.
    /// The first is the provider's name as configured. Default: none.
    pub providers: Vec<(String, String)>,
    /// A number (64 bits) for nobody but us: see [`session_epoch`](hallpass_auth::User::session_epoch). Default: none.
    pub session_epoch: Option<String>,
    /// Decides whether a flag that is a time has passed. [`Stores::with_users`](crate::Stores::with_users) sets the clock of the
    /// stores. Default: this machine's.
    pub clock: FlagClock,
}

/// The clock of a [`UserMap`]. It is no part of what is compared.
#[derive(Clone)]
pub struct FlagClock(Arc<dyn Clock>);

impl FlagClock {
    /// Goes by `clock`.
    pub fn new(clock: impl Clock) -> Self {
        Self(Arc::new(clock))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Default for FlagClock {
    fn default() -> Self {
        Self::new(SystemClock)
    }
}

impl PartialEq for FlagClock {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FlagClock {}

impl fmt::Debug for FlagClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlagClock")
    }
}

/// What the ids of a collection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// `ObjectId`
    ObjectId,
    /// Texts.
    Text,
    /// Whole numbers. Somebody else gives them, so there are no new accounts.
    Number,
    /// UUIDs as binary data (subtype 4).
    Uuid,
}

/// Where roles stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roles {
    /// In a field that holds one.
    One(String),
    /// In a field that holds a list: an array, in SQLite JSON.
    List(String),
}

/// A field that says whether somebody may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Whoever has a plain no there, or nothing, may sign in, nobody else: `disabled`, `banned_at`.
    Disabled(String),
    /// Whoever has a plain yes or a past time there may sign in, nobody else: `active`.
    Enabled(String),
}

impl Flag {
    pub(super) fn field(&self) -> &String {
        let (Self::Disabled(field) | Self::Enabled(field)) = self;
        field
    }
}

/// How it is told whether an account's address is its owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Not at all: nobody knows.
    Unknown,
    /// By a field: a flag (`isVerified`), or the time at which it was done (`email_verified_at`).
    Field(String),
    /// The application has verified every address before it makes an account. Nobody may register here then: their addresses are not verified.
    Always,
}

/// The map makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserMapError {
    /// A name that no field has.
    #[error("{name:?} is no name of a field or table")]
    Name {
        /// Which.
        name: String,
    },
    /// One field for two things, or one within the other.
    #[error("{name:?} cannot be {one} and {two} at once")]
    Twice {
        /// Which.
        name: String,
        /// What it is.
        one: &'static str,
        /// What else it is.
        two: &'static str,
    },
    /// Sessions would end when a hash is replaced.
    #[error(
        "new hashes in argon2id replace the old ones at sign-in, which would end the person's other sessions: name a field for the session epoch, or stay with bcrypt"
    )]
    NoEpoch,
    /// Two fields for the ids of one provider.
    #[error("the provider {name:?} has two fields; keep one of the two")]
    Provider {
        /// Which.
        name: String,
    },
    /// bcrypt has no such cost.
    #[error("bcrypt costs from 4 to {MAX_BCRYPT_COST}, not {cost}")]
    Cost {
        /// What was asked for.
        cost: u32,
    },
}

/// Whether the id of a deleted account is given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// By nobody.
    Never,
    /// The application gives texts of its own.
    Unknown,
    /// The next number is the highest and one.
    Likely,
}

impl Default for UserMap {
    fn default() -> Self {
        Self {
            table: "users".to_owned(),
            schema: None,
            id: "id".to_owned(),
            ids: Ids::ObjectId,
            login: "email".to_owned(),
            logins: Logins { kind: LoginKind::Email, case: Case::Exact },
            password: "password".to_owned(),
            passwords: PasswordFormat::BCRYPTJS,
            name: Some("name".to_owned()),
            roles: None,
            flag: None,
            verified: Verified::Unknown,
            created: None,
            updated: None,
            providers: Vec::new(),
            session_epoch: None,
            clock: FlagClock::default(),
        }
    }
}

impl UserMap {
    /// Whether the map can be one.
    pub fn check(&self) -> Result<(), UserMapError> {
        let fields = self.fields();
        let names = fields.iter().map(|(_, name)| *name).chain([&*self.table]).chain(self.schema.as_deref());
        let odd = |name: &str| {
            let part = |part: &str| part.is_empty() || part.starts_with('$');
            name.split('.').any(part) || name.contains(['\0', '"'])
        };
        if let Some(name) = names.into_iter().find(|name| odd(name)) {
            return Err(UserMapError::Name { name: name.to_owned() });
        }
        for (number, (two, name)) in fields.iter().enumerate() {
            if let Some((one, _)) = fields[..number].iter().find(|(_, other)| overlap(name, other)) {
                return Err(UserMapError::Twice { name: (*name).to_owned(), one, two });
            }
        }
        for (number, (name, _)) in self.providers.iter().enumerate() {
            if self.providers[..number].iter().any(|(other, _)| other == name) {
                return Err(UserMapError::Provider { name: name.clone() });
            }
        }
        match self.passwords {
            PasswordFormat::Argon2id if self.session_epoch.is_none() => Err(UserMapError::NoEpoch),
            PasswordFormat::Bcrypt { cost } if !(4..=MAX_BCRYPT_COST).contains(&cost) => {
                Err(UserMapError::Cost { cost })
            }
            _ => Ok(()),
        }
    }

    /// Every field with what it is.
    pub(super) fn fields(&self) -> Vec<(&'static str, &str)> {
        let roles = self.roles.as_ref().map(|(Roles::One(name) | Roles::List(name))| name);
        let flag = self.flag.as_ref().map(|(Flag::Disabled(name) | Flag::Enabled(name))| name);
        let optional = [
            ("the name", self.name.as_ref()),
            ("the roles", roles),
            ("the flag", flag),
            ("the mark of verified addresses", self.verified.field()),
            ("the time it was made", self.created.as_ref()),
            ("the time it was changed", self.updated.as_ref()),
            ("the session epoch", self.session_epoch.as_ref()),
        ];
        let required =
            [("the id", &*self.id), ("the login", &*self.login), ("the password", &*self.password)];
        let optional = optional.into_iter().filter_map(|(what, name)| Some((what, name?.as_str())));
        let providers = self.providers.iter().map(|(_, name)| ("the id at a provider", name.as_str()));
        required.into_iter().chain(optional).chain(providers).collect()
    }

    /// The fields that a new account has.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn filled(&self) -> Vec<(&'static str, &str)> {
        let ours = |what: &str| !matches!(what, "the id at a provider" | "the session epoch");
        self.fields().into_iter().filter(|(what, _)| ours(what)).collect()
    }

    /// Where the ids of a provider stand.
    #[cfg(feature = "mongodb")]
    pub(super) fn provider(&self, name: &str) -> Option<&str> {
        self.providers.iter().find(|(provider, _)| provider == name).map(|(_, field)| field.as_str())
    }

    /// How an account is told from another with its id.
    pub(super) fn reuse(&self, again: Again) -> Reuse {
        match (&self.created, again) {
            (_, Again::Never) | (None, Again::Unknown) => Reuse::Never,
            (Some(_), _) => Reuse::ByCreated,
            (None, Again::Likely) => Reuse::ByLogin,
        }
    }

    /// Says at start which fields of providers are searched for in all of a large table.
    pub(super) fn warn_unindexed_providers(
        &self,
        has_index: impl Fn(&str) -> bool,
        cure: impl Fn(&str) -> String,
    ) {
        for (_, field) in self.providers.iter().filter(|(_, field)| !has_index(field)) {
            tracing::warn!(
                event = "provider_not_indexed",
                table = self.table,
                field,
                cure = cure(field),
                "the table is large, and each first sign-in by a provider reads it all"
            );
        }
    }

    /// Says at start that nothing but their logins tells accounts from former ones.
    pub(super) fn warn_reused(&self, again: Again, who: &str, cure: &str) {
        if self.reuse(again) == Reuse::ByLogin {
            tracing::warn!(
                event = "ids_reused",
                table = self.table,
                "{who} the ids of deleted accounts to new ones: an account is told from a former one by its login, so who has got another connects providers again; name the time it was made in users.created{cure}"
            );
        }
    }

    pub(super) fn conventions(&self, numeric_ids: bool, reuse: Reuse) -> Conventions {
        Conventions {
            reuse,
            logins: self.logins,
            passwords: self.passwords,
            numeric_ids,
            names: self.name.is_some(),
        }
    }

    /// Why the table cannot keep these roles; `None` when it can.
    pub(super) fn refuses(&self, roles: &[String]) -> Option<String> {
        match (&self.roles, roles.len()) {
            (Some(Roles::List(_)), _) | (Some(Roles::One(_)), 0..=1) | (None, 0) => None,
            (Some(Roles::One(name)), _) => Some(format!("{name} holds one role only")),
            (None, _) => Some("no field for roles is mapped".to_owned()),
        }
    }
}

impl Verified {
    /// The field that says it.
    pub(super) fn field(&self) -> Option<&String> {
        match self {
            Self::Field(name) => Some(name),
            Self::Unknown | Self::Always => None,
        }
    }

    /// What is known where no field says it.
    pub(super) fn without_field(&self) -> Option<bool> {
        (*self == Self::Always).then_some(true)
    }
}

/// Whether two fields are one, or one stands inside the other.
fn overlap(one: &str, other: &str) -> bool {
    let inside =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    one == other || inside(one, other) || inside(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_makes_no_sense_is_refused_with_the_reason() {
        let map = UserMap::default;
        let sentence = |map: UserMap| map.check().unwrap_err().to_string();
        assert_eq!(map().check(), Ok(()));
        assert!(sentence(UserMap { table: String::new(), ..map() }).contains("no name"));
        assert!(sentence(UserMap { password: "$x".to_owned(), ..map() }).contains("no name"));
        let twice = sentence(UserMap { name: Some("email".to_owned()), ..map() });
        assert_eq!(twice, "\"email\" cannot be the login and the name at once");
        let inside = UserMap { password: "auth".to_owned(), name: Some("auth.name".to_owned()), ..map() };
        assert!(sentence(inside).contains("the password and the name"));
        let provider = |field: &str| ("google".to_owned(), field.to_owned());
        let providers = vec![provider("googleId"), provider("google.id")];
        assert!(sentence(UserMap { providers, ..map() }).contains("\"google\" has two fields"));
        let argon2 = UserMap { passwords: PasswordFormat::Argon2id, ..map() };
        assert!(sentence(argon2.clone()).contains("session epoch"));
        assert_eq!(UserMap { session_epoch: Some("epoch".to_owned()), ..argon2 }.check(), Ok(()));
        assert!(
            sentence(UserMap { passwords: PasswordFormat::Bcrypt { cost: 3 }, ..map() }).contains("4 to 14")
        );
    }

    #[test]
    fn roles_without_a_place_are_refused() {
        let roles = ["a".to_owned(), "b".to_owned()];
        let of = |roles| UserMap { roles, ..UserMap::default() };
        assert!(of(None).refuses(&roles).is_some() && of(None).refuses(&[]).is_none());
        let one = of(Some(Roles::One("role".to_owned())));
        assert!(one.refuses(&roles).is_some() && one.refuses(&roles[..1]).is_none());
        assert!(of(Some(Roles::List("roles".to_owned()))).refuses(&roles).is_none());
    }
}
