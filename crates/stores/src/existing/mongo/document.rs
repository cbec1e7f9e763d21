//! Documents of another application, through its map.

use std::sync::OnceLock;

use hallpass_auth::{Change, Email, PasswordHash, Reuse, User, UserId};
use hallpass_session::{StoreError, Timestamp, random};
use mongodb::{
    Collection,
    bson::{Bson, DateTime, Document, doc, oid::ObjectId},
    error::Error,
};

use super::super::{
    Flag, Ids, Roles, UserMap, Verified, epoch,
    map::Again,
    placeholder,
    reading::{self, Raw, Style},
    uuid,
};
use super::ids::{self, binary};
use crate::mongo::{date, time};

pub(super) struct Documents {
    pub(super) map: UserMap,
    /// How the application marks a verified address, once some document has told.
    pub(super) mark: OnceLock<Style>,
    /// The same for the flag.
    pub(super) flag: OnceLock<Style>,
}

impl Documents {
    /// The fields that are read.
    pub(super) fn projection(&self) -> Document {
        let fields = self.map.fields().into_iter().filter(|(what, _)| *what != "the id");
        fields.map(|(_, name)| (name.to_owned(), Bson::Int32(1))).collect()
    }

    /// How an id stands in the database; `None` when no id there reads so.
    pub(super) fn id(&self, id: &UserId) -> Option<Bson> {
        ids::id(self.map.ids, id.as_str())
    }

    fn text(&self, id: &Bson) -> Option<String> {
        ids::text(self.map.ids, id)
    }

    /// Whether ids of deleted accounts are given again.
    pub(super) fn again(&self) -> Again {
        match self.map.ids {
            Ids::ObjectId | Ids::Uuid => Again::Never,
            Ids::Text => Again::Unknown,
            Ids::Number => Again::Likely,
        }
    }

    pub(super) fn reuse(&self) -> Reuse {
        self.map.reuse(self.again())
    }

    /// The account, if it can be read; if not, the log names it.
    pub(super) fn readable(&self, document: &Document) -> Option<User> {
        let login = get(document, &self.map.login).and_then(Bson::as_str);
        self.user(document).map_err(|error| self.warn_unreadable(login, &error)).ok()
    }

    /// Says which account nobody can use.
    pub(super) fn warn_unreadable(&self, login: Option<&str>, error: &(dyn std::error::Error + 'static)) {
        super::super::warn_unreadable(&self.map, login, error);
    }

    pub(super) fn user(&self, document: &Document) -> Result<User, StoreError> {
        let map = &self.map;
        let id = document.get("_id").unwrap_or(&Bson::Null);
        let text = self.text(id).ok_or_else(|| {
            let found = id.element_type();
            StoreError::new("read a user", format!("its _id, {found:?}, is empty or too long to be an id"))
        })?;
        let text_at = |path: &str| get(document, path).and_then(Bson::as_str).filter(|text| !text.is_empty());
        let optional = |path: Option<&String>| path.and_then(|path| get(document, path));
        let (password, placeholder) = placeholder::read(text_at(&map.password));
        let column = optional(map.session_epoch.as_ref()).and_then(whole).unwrap_or(0);
        let mut user = User {
            id: UserId::new(&text),
            email: Email::verbatim(text_at(&map.login).unwrap_or_default()),
            name: map.name.as_deref().and_then(text_at).map(str::to_owned),
            session_epoch: 0,
            password,
            placeholder,
            roles: self.roles(document),
            disabled: map.is_disabled(&raw(optional(map.flag.as_ref().map(Flag::field)))),
            verified: map.is_verified(&raw(optional(map.verified.field()))),
            created: optional(map.created.as_ref()).and_then(moment).unwrap_or_else(|| made(id)),
        };
        user.session_epoch = epoch::epoch(column, &user, self.reuse());
        Ok(user)
    }

    fn roles(&self, document: &Document) -> Vec<String> {
        let Some(Roles::One(path) | Roles::List(path)) = &self.map.roles else { return Vec::new() };
        match get(document, path) {
            Some(Bson::Array(roles)) => roles.iter().filter_map(Bson::as_str).map(str::to_owned).collect(),
            Some(Bson::String(role)) => vec![role.clone()],
            _ => Vec::new(),
        }
    }

    /// How a field is written; where no document has told yet, as its name suggests.
    fn style(&self, field: &str) -> Style {
        let told =
            if self.map.verified.field().is_some_and(|mark| mark == field) { &self.mark } else { &self.flag };
        let time = field.ends_with("At") || field.ends_with("_at");
        told.get().copied().unwrap_or(if time { Style::Time } else { Style::Bool })
    }

    fn written(&self, field: &str, truth: bool) -> Bson {
        match self.style(field) {
            Style::Bool => truth.into(),
            Style::Number => i32::from(truth).into(),
            Style::Words(yes, no) => if truth { yes } else { no }.into(),
            Style::Time if truth => date(self.map.clock.now()).into(),
            Style::Time => Bson::Null,
        }
    }

    fn flag(&self, disabled: bool) -> Option<(&str, bool)> {
        match self.map.flag.as_ref()? {
            Flag::Disabled(path) => Some((path, disabled)),
            Flag::Enabled(path) => Some((path, !disabled)),
        }
    }

    fn roles_value(&self, roles: &[String]) -> Option<(&str, Bson)> {
        match self.map.roles.as_ref()? {
            Roles::One(path) => Some((path, roles.first().cloned().into())),
            Roles::List(path) => Some((path, roles.to_vec().into())),
        }
    }

    /// How an id at a provider may stand: as a text, or as the number that GitHub gives. One number is found however it is written.
    pub(super) fn any_of(subject: &str) -> Document {
        let number: Option<i64> = subject.parse().ok();
        let texts = [Bson::from(subject)].into_iter();
        doc! { "$in": texts.chain(number.map(Bson::Int64)).collect::<Vec<Bson>>() }
    }

    /// Whether this is the id that stands there: a collation may take others for the same, and a number may have been cut.
    pub(super) fn is_at_provider(document: &Document, path: &str, subject: &str) -> bool {
        get(document, path).is_some_and(|id| match id {
            Bson::String(id) => id == subject,
            number => whole(number).is_some_and(|number| number.to_string() == subject),
        })
    }

    /// The document of a new account, in the order mongoose gives fields, and its id.
    pub(super) fn new_document(&self, user: &User) -> (UserId, Document) {
        let (map, id) = (&self.map, self.new_id(user));
        let text = self.text(&id).unwrap_or_default();
        let mut document = doc! { "_id": id };
        set(&mut document, &map.login, user.email.as_str().into());
        // mongoose may demand one, which nothing here tells.
        let password = user.password.clone().unwrap_or_else(placeholder::fresh);
        set(&mut document, &map.password, password.expose().into());
        if let (Some(path), Some(name)) = (&map.name, &user.name) {
            set(&mut document, path, name.into());
        }
        if let Some((path, roles)) = self.roles_value(&user.roles).filter(|_| !user.roles.is_empty()) {
            set(&mut document, path, roles);
        }
        if let Some((path, flag)) = self.flag(user.disabled) {
            set(&mut document, path, self.written(path, flag));
        }
        if let Verified::Field(path) = &map.verified {
            set(&mut document, path, self.written(path, user.verified == Some(true)));
        }
        for path in [&map.created, &map.updated].into_iter().flatten() {
            set(&mut document, path, date(user.created).into());
        }
        // As mongoose begins to count: without it, some of its changes of arrays would fail.
        document.insert("__v", 0_i32);
        (UserId::new(&text), document)
    }

    fn new_id(&self, user: &User) -> Bson {
        match self.map.ids {
            Ids::ObjectId => {
                let seconds = u32::try_from(user.created.as_millis() / 1000).unwrap_or_default();
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&seconds.to_be_bytes());
                bytes[4..].copy_from_slice(&random::<8>());
                Bson::ObjectId(ObjectId::from_bytes(bytes))
            }
            Ids::Text | Ids::Number => Bson::String(user.id.as_str().to_owned()),
            Ids::Uuid => binary(uuid::fresh()),
        }
    }

    /// What a change demands and what it sets; `None` when there is no place for it.
    pub(super) fn update(&self, change: &Change) -> Option<(Document, Document)> {
        let map = &self.map;
        let (mut filter, mut update, mut moments) = (doc! {}, doc! {}, doc! {});
        match change {
            Change::Password { from, to } => {
                filter.insert(&map.password, no_password_or(from.as_ref()));
                let to = to.clone().unwrap_or_else(placeholder::fresh);
                update.insert("$set", doc! { &map.password: to.expose() });
            }
            Change::Rehash { from, to } => {
                let column = map.session_epoch.as_ref()?;
                filter.insert(&map.password, from.expose());
                update.insert("$set", doc! { &map.password: to.expose() });
                update.insert("$inc", doc! { column: epoch::make_up(from, to) });
            }
            Change::Name(name) => {
                update.insert("$set", doc! { map.name.as_ref()?: name.as_deref() });
            }
            Change::Roles(roles) => {
                let (path, roles) = self.roles_value(roles).filter(|_| map.refuses(roles).is_none())?;
                update.insert("$set", doc! { path: roles });
            }
            Change::Email { .. } => return None,
            Change::Verified(address) => {
                let Verified::Field(path) = &map.verified else { return None };
                filter.insert(&map.login, address.as_str());
                match self.style(path) {
                    Style::Time => drop(moments.insert(path, true)),
                    _ => drop(update.insert("$set", doc! { path: self.written(path, true) })),
                }
            }
            Change::Disabled(disabled) => {
                let (path, flag) = self.flag(*disabled)?;
                match self.style(path) {
                    Style::Time if flag => drop(moments.insert(path, true)),
                    _ => drop(update.insert("$set", doc! { path: self.written(path, flag) })),
                }
                if let (Some(column), true) = (&map.session_epoch, *disabled) {
                    update.insert("$inc", doc! { column: 1_i64 });
                }
            }
            Change::Disconnect(Some((provider, subject))) => {
                let path = map.provider(provider)?;
                filter.insert(path, Self::any_of(subject));
                update.insert("$unset", doc! { path: "" });
            }
            Change::Disconnect(None) if map.providers.is_empty() => return None,
            Change::Disconnect(None) => {
                let fields = map.providers.iter().map(|(_, path)| (path.clone(), Bson::from("")));
                update.insert("$unset", fields.collect::<Document>());
            }
        }
        if let Some(path) = &map.updated {
            moments.insert(path, true);
        }
        if !moments.is_empty() {
            update.insert("$currentDate", moments);
        }
        Some((filter, update))
    }
}

/// What a stored password must be: this hash, or none, which passport's applications also write as an empty text.
fn no_password_or(hash: Option<&PasswordHash>) -> Bson {
    hash.map_or_else(|| doc! { "$in": [Bson::Null, ""] }.into(), |hash| hash.expose().into())
}

/// The value at a path such as `local.password`.
fn get<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((first, rest)) => get(document.get_document(first).ok()?, rest),
    }
}

fn set(document: &mut Document, path: &str, value: Bson) {
    let Some((first, rest)) = path.split_once('.') else {
        document.insert(path, value);
        return;
    };
    let mut inner = document.get_document(first).cloned().unwrap_or_default();
    set(&mut inner, rest, value);
    document.insert(first, inner);
}

pub(super) fn whole(number: &Bson) -> Option<i64> {
    match number {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        // As JavaScript writes what it counts.
        Bson::Double(number) => reading::whole(*number),
        _ => None,
    }
}

/// What stands in the field of a flag.
fn raw(value: Option<&Bson>) -> Raw<'_> {
    match value {
        None | Some(Bson::Null | Bson::Undefined) => Raw::Missing,
        Some(Bson::Boolean(flag)) => Raw::Bool(*flag),
        Some(Bson::Int32(number)) => Raw::Whole((*number).into()),
        Some(Bson::Int64(number)) => Raw::Whole(*number),
        Some(Bson::Double(number)) => Raw::Real(*number),
        Some(Bson::Decimal128(number)) => number.to_string().parse().map_or(Raw::Other, Raw::Real),
        Some(Bson::String(text)) => Raw::Text(text.into()),
        Some(Bson::DateTime(moment)) => Raw::Time(moment.timestamp_millis()),
        Some(_) => Raw::Other,
    }
}

fn moment(value: &Bson) -> Option<Timestamp> {
    match value {
        Bson::DateTime(moment) => Some(time(*moment)),
        // Date.now()
        number => whole(number).map(Timestamp::from_millis),
    }
}

/// When an id was made, as far as it tells.
fn made(id: &Bson) -> Timestamp {
    id.as_object_id().map_or(Timestamp::from_millis(0), |id| {
        time(DateTime::from_millis(id.timestamp().timestamp_millis()))
    })
}

/// Looks at what stands in a field of some documents: says how many hold neither a yes nor a no, and returns how the application
/// writes it; `None` when no document tells.
pub(super) async fn look(
    users: &Collection<Document>,
    map: &UserMap,
    field: &str,
    warns: bool,
) -> Result<Option<Style>, Error> {
    let find = users.find(doc! {}).projection(doc! { "_id": 0, field: 1 }).limit(reading::SAMPLE.into());
    let (mut found, mut documents) = (find.await?, Vec::new());
    while found.advance().await? {
        documents.push(found.deserialize_current()?);
    }
    let values: Vec<Raw<'_>> = documents.iter().map(|document| raw(get(document, field))).collect();
    if warns {
        map.warn_unclear(field, &values);
    }
    Ok(reading::style(&values))
}
