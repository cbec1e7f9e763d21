//! What flags mean, in every type that a database has: only a plain yes enables, only a plain no is no ban, only a plain yes verifies.

use std::time::Duration;

use hallpass_auth::{Change, User, UserChanged, UserStore};
use hallpass_session::{ManualClock, Timestamp};
use hallpass_stores::{Flag, FlagClock, UserMap, Verified};
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, JavaScriptCodeWithScope, Regex, Timestamp as Internal, doc,
    oid::ObjectId, spec::BinarySubtype,
};

use super::{
    mongodb::Mongo,
    postgres::Postgres,
    sqlite::{Log, open, sqlite},
    typed,
};

/// As `users.enabled`, `users.disabled` and `users.verified` read a value: enabled, disabled, verified.
type Meaning = (bool, bool, Option<bool>);

const YES: Meaning = (true, true, Some(true));
const NO: Meaning = (false, false, Some(false));
/// A null, or no field.
const NOTHING: Meaning = (false, false, Some(false));
const EMPTY: Meaning = (false, true, Some(false));
/// A time in the future, and whatever is no flag.
const UNCLEAR: Meaning = (false, true, None);

fn maps() -> [UserMap; 3] {
    let map = || UserMap { table: "flags".to_owned(), name: None, ..UserMap::default() };
    [
        UserMap { flag: Some(Flag::Enabled("flag".to_owned())), ..map() },
        UserMap { flag: Some(Flag::Disabled("flag".to_owned())), ..map() },
        UserMap { verified: Verified::Field("flag".to_owned()), ..map() },
    ]
}

async fn find(store: &dyn UserStore, number: usize) -> User {
    let login = format!("u{number}@example.com");
    store.find_by_email(&typed(&login)).await.unwrap().unwrap_or_else(|| panic!("nobody is {login}"))
}

/// Each account means what is expected, through each of the three maps; and what is written there reads back.
async fn check(stores: [&dyn UserStore; 3], what: &str, meanings: &[Meaning]) {
    let [enabled, disabled, verified] = stores;
    for (number, meaning) in meanings.iter().enumerate() {
        let found = (
            !find(enabled, number).await.disabled,
            find(disabled, number).await.disabled,
            find(verified, number).await.verified,
        );
        assert_eq!(found, *meaning, "{what}, value {number}");
    }
    for store in [enabled, disabled] {
        let id = find(store, 0).await.id;
        for wanted in [true, false, true] {
            let changed = store.change(&id, &Change::Disabled(wanted)).await.unwrap();
            assert_eq!((changed, find(store, 0).await.disabled), (UserChanged::Done, wanted), "{what}");
        }
    }
    let user = find(verified, 0).await;
    verified.change(&user.id, &Change::Verified(user.email)).await.unwrap();
    assert_eq!(find(verified, 0).await.verified, Some(true), "{what}");
}

/// Literals, the same in all of SQL, with what they mean.
const TEXTS: [(&str, Meaning); 22] = [
    ("null", NOTHING),
    ("'1'", YES),
    ("'true'", YES),
    ("'TRUE'", YES),
    ("' t '", YES),
    ("'yes'", YES),
    ("'Y'", YES),
    ("'on'", YES),
    ("'0'", NO),
    ("'false'", NO),
    ("'F'", NO),
    ("'no'", NO),
    ("'N'", NO),
    ("'off'", NO),
    ("''", EMPTY),
    ("'2'", UNCLEAR),
    ("'null'", UNCLEAR),
    ("'active'", UNCLEAR),
    ("'2020-02-02'", YES),
    ("'2020-02-02 10:00:00.123 +00:00'", YES),
    ("'2999-02-02T10:00:00Z'", UNCLEAR),
    ("'[]'", UNCLEAR),
];

fn insert(literals: &[&str]) -> String {
    let row = |(number, literal): (usize, &&str)| format!("('u{number}@example.com', {literal})");
    let rows: Vec<String> = literals.iter().enumerate().map(row).collect();
    format!("insert into flags (email, flag) values {}", rows.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_flags_fail_closed_in_a_column_of_any_type() {
    let others = [
        ("1", YES),
        ("0", NO),
        ("2", UNCLEAR),
        ("-1", UNCLEAR),
        ("1.0", YES),
        ("0.0", NO),
        ("0.5", UNCLEAR),
        ("9e999", UNCLEAR),
        ("1580601600", YES),
        ("1580601600000", YES),
        ("32503680000000", UNCLEAR),
        ("x'31'", UNCLEAR),
        ("x''", UNCLEAR),
        ("cast(x'ff' as text)", UNCLEAR),
    ];
    let all = [&TEXTS[..], &others[..]].concat();
    let (literals, meanings): (Vec<&str>, Vec<Meaning>) = all.into_iter().unzip();
    for kind in [
        "",
        "boolean",
        "integer",
        "int(1)",
        "text",
        "varchar(5)",
        "real",
        "numeric",
        "blob",
        "datetime",
        "date",
    ] {
        // A text column makes texts of numbers: 1.0 is none of the words.
        let is_text = ["text", "varchar(5)"].contains(&kind);
        let expected = literals.iter().zip(&meanings).map(|(literal, meaning)| match *literal {
            "1.0" | "0.0" | "1580601600" | "1580601600000" if is_text => UNCLEAR,
            _ => *meaning,
        });
        let expected: Vec<Meaning> = expected.collect();
        let (_folder, path) = sqlite(&format!(
            "create table flags (id integer primary key autoincrement, email text unique, password text, flag {kind}); {}",
            insert(&literals)
        ));
        let stores = maps().map(|map| open(&path, &map));
        let [enabled, disabled, verified] = &stores;
        check([&**enabled, &**disabled, &**verified], &format!("SQLite {kind:?}"), &expected).await;
    }
}

/// The machine's clock may be wrong; whether a time has passed is for the clock of the stores to say.
#[tokio::test(flavor = "multi_thread")]
async fn flags_that_are_times_go_by_the_clock_of_the_map() {
    let (_folder, path) = sqlite(&format!(
        "create table flags (id integer primary key autoincrement, email text unique, password text, flag); {}",
        insert(&["'2030-01-01'"])
    ));
    let clock = ManualClock::new(Timestamp::parse("2029-12-31T00:00:00Z").unwrap());
    for (date, meaning) in [(0, UNCLEAR), (2, YES)] {
        clock.advance(Duration::from_secs(date * 24 * 3600));
        let maps = maps().map(|map| UserMap { clock: FlagClock::new(clock.clone()), ..map });
        let [enabled, disabled, verified] = maps.map(|map| open(&path, &map));
        let found = (
            !find(&*enabled, 0).await.disabled,
            find(&*disabled, 0).await.disabled,
            find(&*verified, 0).await.verified,
        );
        assert_eq!(found, meaning, "day {date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_flags_are_written_as_the_application_writes_them() {
    for (kind, value, on, off) in [
        ("text", "'yes'", "yes", "no"),
        ("text", "'N'", "Y", "N"),
        ("text", "null", "true", "false"),
        ("boolean", "null", "1", "0"),
        ("text", "'2020-02-02'", "20%-%-% %:%", ""),
        ("timestamp", "null", "20%-%-% %:%", ""),
    ] {
        let (_folder, path) = sqlite(&format!(
            "create table flags (id integer primary key autoincrement, email text unique, password text, flag {kind}); {}",
            insert(&[value])
        ));
        let [enabled, disabled, _] = maps();
        let rows = rusqlite::Connection::open(&path).unwrap();
        for (map, flips) in [(enabled, true), (disabled, false)] {
            let store = open(&path, &map);
            for wanted in [true, false] {
                let id = find(&*store, 0).await.id;
                store.change(&id, &Change::Disabled(wanted)).await.unwrap();
                let expected = if wanted == flips { off } else { on };
                let fits = "select coalesce(flag, '') like ?1, coalesce(flag, 'null') from flags";
                let (fits, found): (bool, String) = rows
                    .query_row(fits, [expected], |row| {
                        Ok((
                            row.get(0)?,
                            row.get::<_, rusqlite::types::Value>(1).map(|value| format!("{value:?}"))?,
                        ))
                    })
                    .unwrap();
                assert!(fits, "{kind} {value}: {found}, should be {expected:?}");
            }
        }
    }
}

/// A field that is missing in many rows keeps many people out: that must not go unseen.
#[tokio::test(flavor = "multi_thread")]
async fn flags_that_are_neither_yes_nor_no_are_counted_at_start() {
    let literals = ["1", "0", "null", "''", "'maybe'", "'2999-01-01'", "'2020-01-01'"];
    let (_folder, path) = sqlite(&format!(
        "create table flags (id integer primary key autoincrement, email text unique, password text, flag); {}",
        insert(&literals)
    ));
    for (map, unclear) in maps().into_iter().zip([4, 2, 2]) {
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || open(&path, &map));
        let said = log.0.lock().unwrap().clone();
        let counted = format!("accounts=7 unclear={unclear} ");
        assert!(said.contains("flag_unclear") && said.contains(&counted), "{unclear}: {said}");
    }
    rusqlite::Connection::open(&path).unwrap().execute_batch("update flags set flag = id % 2").unwrap();
    for map in maps() {
        let log = Log::default();
        tracing::subscriber::with_default(log.clone(), || open(&path, &map));
        let said = log.0.lock().unwrap().clone();
        assert!(!said.contains("flag_unclear"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_flags_fail_closed_in_a_column_of_any_type() {
    let Some(postgres) = Postgres::start().await else { return };
    let numbers =
        [("null", NOTHING), ("1", YES), ("0", NO), ("2", UNCLEAR), ("-1", UNCLEAR), ("1580601600", YES)];
    let fractions = [&numbers[..], &[("0.5", UNCLEAR), ("'NaN'", UNCLEAR)]].concat();
    let times = [
        ("null", NOTHING),
        ("'2020-02-02'", YES),
        ("'2999-02-02'", UNCLEAR),
        ("'infinity'", UNCLEAR),
        ("'-infinity'", UNCLEAR),
    ];
    let json = [
        ("null", NOTHING),
        ("'null'", NOTHING),
        ("'true'", YES),
        ("'false'", NO),
        ("'1'", YES),
        ("'0'", NO),
        ("'2'", UNCLEAR),
        ("'0.5'", UNCLEAR),
        ("'\"yes\"'", YES),
        ("'\"off\"'", NO),
        ("'\"\"'", EMPTY),
        ("'\"maybe\"'", UNCLEAR),
        ("'[]'", UNCLEAR),
        ("'{}'", UNCLEAR),
    ];
    let booleans = [("null", NOTHING), ("true", YES), ("false", NO)];
    let bigs = [&numbers[..], &[("1580601600000", YES), ("32503680000000", UNCLEAR)]].concat();
    let short = [("null", NOTHING), ("'Y'", YES), ("'N'", NO), ("''", EMPTY), ("'x'", UNCLEAR)];
    let tables: [(&str, &[(&str, Meaning)]); 16] = [
        ("boolean", &booleans),
        ("smallint", &numbers[..5]),
        ("integer", &numbers),
        ("bigint", &bigs),
        ("numeric", &fractions),
        ("real", &fractions[..5]),
        ("double precision", &fractions),
        ("text", &TEXTS),
        ("varchar", &TEXTS),
        ("character(1)", &short),
        ("varchar(1)", &short),
        ("timestamptz", &times),
        ("timestamp", &times),
        ("date", &times),
        ("json", &json),
        ("jsonb", &json),
    ];
    for (kind, values) in tables {
        let (literals, meanings): (Vec<&str>, Vec<Meaning>) = values.iter().copied().unzip();
        let table = format!(
            "drop table if exists flags; create table flags (id serial primary key, email text unique, password text, flag {kind}); {}",
            insert(&literals)
        );
        postgres.client.batch_execute(&table).await.unwrap();
        let [one, two, three] = maps();
        let enabled = postgres.try_connect(&one).await.unwrap();
        let disabled = postgres.try_connect(&two).await.unwrap();
        let verified = postgres.try_connect(&three).await.unwrap();
        check([&enabled, &disabled, &verified], &format!("PostgreSQL {kind}"), &meanings).await;
    }
}

fn bson() -> Vec<(Option<Bson>, Meaning)> {
    let (past, future) =
        (DateTime::from_millis(1_580_601_600_000), DateTime::from_millis(32_503_680_000_000));
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
    let some = |(value, meaning): (Bson, Meaning)| (Some(value), meaning);
    let values = vec![
        (Bson::Null, NOTHING),
        (Bson::Undefined, NOTHING),
        (true.into(), YES),
        (false.into(), NO),
        (1_i32.into(), YES),
        (0_i32.into(), NO),
        (2_i32.into(), UNCLEAR),
        (1_i64.into(), YES),
        (0_i64.into(), NO),
        (1_580_601_600_000_i64.into(), YES),
        (32_503_680_000_000_i64.into(), UNCLEAR),
        (1.0.into(), YES),
        (0.0.into(), NO),
        (Bson::from(-0.0), NO),
        (0.5.into(), UNCLEAR),
        (f64::NAN.into(), UNCLEAR),
        (f64::INFINITY.into(), UNCLEAR),
        (decimal("1"), YES),
        (decimal("0"), NO),
        (decimal("NaN"), UNCLEAR),
        (past.into(), YES),
        (future.into(), UNCLEAR),
        ("true".into(), YES),
        ("Yes".into(), YES),
        ("1".into(), YES),
        ("false".into(), NO),
        ("0".into(), NO),
        ("no".into(), NO),
        ("".into(), EMPTY),
        ("maybe".into(), UNCLEAR),
        ("2020-02-02T00:00:00Z".into(), YES),
        (Bson::Array(vec![]), UNCLEAR),
        (Bson::Array(vec![true.into()]), UNCLEAR),
        (doc! {}.into(), UNCLEAR),
        (doc! { "value": true }.into(), UNCLEAR),
        (ObjectId::new().into(), UNCLEAR),
        (Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![1] }), UNCLEAR),
        (
            Bson::RegularExpression(Regex {
                pattern: "1".try_into().unwrap(),
                options: "".try_into().unwrap(),
            }),
            UNCLEAR,
        ),
        (Bson::JavaScriptCode("true".to_owned()), UNCLEAR),
        (
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code: "true".to_owned(),
                scope: doc! {},
            }),
            UNCLEAR,
        ),
        (Bson::Symbol("true".to_owned()), UNCLEAR),
        (Bson::Timestamp(Internal { time: 1, increment: 1 }), UNCLEAR),
        (Bson::MinKey, UNCLEAR),
        (Bson::MaxKey, UNCLEAR),
    ];
    [(None, NOTHING)].into_iter().chain(values.into_iter().map(some)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_flags_fail_closed_in_a_field_of_any_type() {
    let Some(mongo) = Mongo::start().await else { return };
    mongo.make("flags", "email", doc! {}).await;
    let (values, meanings): (Vec<Option<Bson>>, Vec<Meaning>) = bson().into_iter().unzip();
    for (number, value) in values.into_iter().enumerate() {
        let mut document = doc! { "email": format!("u{number}@example.com") };
        document.extend(value.map(|value| ("flag".to_owned(), value)));
        mongo.collection("flags").insert_one(document).await.unwrap();
    }
    let [one, two, three] = maps();
    let (enabled, disabled) = (mongo.connect(one).await, mongo.connect(two).await);
    check([&enabled, &disabled, &mongo.connect(three).await], "MongoDB", &meanings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_flags_are_written_as_the_application_writes_them() {
    let Some(mongo) = Mongo::start().await else { return };
    let past = Bson::from(DateTime::from_millis(1_580_601_600_000));
    for (value, on, off) in [
        (Bson::from(true), Bson::from(true), Bson::from(false)),
        (0_i32.into(), 1_i32.into(), 0_i32.into()),
        ("no".into(), "yes".into(), "no".into()),
        (past.clone(), past, Bson::Null),
    ] {
        mongo.make("flags", "email", doc! {}).await;
        let document = doc! { "email": "u0@example.com", "flag": value };
        mongo.collection("flags").insert_one(document).await.unwrap();
        let [enabled, ..] = maps();
        let store = mongo.connect(enabled).await;
        for wanted in [true, false] {
            let id = find(&store, 0).await.id;
            store.change(&id, &Change::Disabled(wanted)).await.unwrap();
            let row = mongo.collection("flags").find_one(doc! {}).await.unwrap().unwrap();
            let expected = if wanted { &off } else { &on };
            assert_eq!(row["flag"].element_type(), expected.element_type(), "{row}");
            assert!(row["flag"] == *expected || matches!(expected, Bson::DateTime(_)), "{row}");
            assert_eq!(find(&store, 0).await.disabled, wanted);
        }
    }
}
