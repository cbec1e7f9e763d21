//! The suites every [`UserStore`](crate::UserStore) and [`RecordStore`] must pass: the sentences of [`users`](crate::users) and
//! [`records`](crate::records) as questions. The database may hold other things; times are given, so nothing waits.

mod users;
mod watched;

use std::{sync::Arc, time::Duration};

use hallpass_session::{Timestamp, random};
use tokio::{sync::Barrier, task::JoinSet};

pub use self::users::{CREATED, DISABLING, EPOCHS, OWN_IDS, ROLE_LISTS, ROLES, users, users_without};
use crate::{Inserted, Record, RecordKey, RecordStore, Replaced, UserId};

/// How many callers there are at once.
const CALLERS: usize = 32;
const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
const HOUR: Duration = Duration::from_secs(3600);

fn fresh() -> String {
    UserId::generate().to_string()
}

/// Runs `call` of each caller at the same moment; the answers in no particular order.
async fn at_once<T, Fut>(call: impl Fn(usize) -> Fut) -> Vec<T>
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let gate = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (gate, call) = (gate.clone(), call(number));
        callers.spawn(async move {
            gate.wait().await;
            call.await
        });
    }
    callers.join_all().await
}

/// Checks the whole contract of a record store; panics at the first promise that is broken.
pub async fn records(store: Arc<dyn RecordStore>) {
    records_round_trip(&store).await;
    records_expire(&store).await;
    records_are_hidden_by_a_past_expiry(&store).await;
    records_are_got_together(&store).await;
    records_are_counted(&store).await;
    records_have_one_winner(&store).await;
    records_belong_to_somebody(&store).await;
    records_are_swept(&store).await;
    records_can_be_exported(&store).await;
    records_can_be_checked(&store).await;
}

async fn records_can_be_checked(store: &Arc<dyn RecordStore>) {
    let probe = crate::records::probe();
    for _ in 0..2 {
        store.check(NOW).await.expect("check");
        assert_eq!(get(store, &probe, NOW).await, None, "what a check writes is shown as a record");
        assert_eq!(store.take(&probe.key, NOW).await.expect("take"), None, "and it can be taken");
    }
    let checking = store.clone();
    let checks = at_once(move |_| {
        let store = checking.clone();
        async move { store.check(NOW).await }
    });
    for check in checks.await {
        check.expect("of many servers that check at once, each is told the truth");
    }
}

fn record() -> Record {
    let key = RecordKey { kind: "test", id: fresh() };
    Record { key, owner: None, body: r#"{"a":"ü"}"#.to_owned(), expires: Some(NOW + HOUR), version: 1 }
}

async fn insert(store: &Arc<dyn RecordStore>, record: &Record) {
    assert_eq!(store.insert(record, NOW).await.expect("insert"), Inserted::Done);
}

async fn get(store: &Arc<dyn RecordStore>, record: &Record, now: Timestamp) -> Option<Record> {
    store.get(&record.key, now).await.expect("get")
}

async fn records_round_trip(store: &Arc<dyn RecordStore>) {
    let owned = Record { owner: Some(UserId::generate()), expires: None, ..record() };
    for record in [record(), owned] {
        assert_eq!(get(store, &record, NOW).await, None);
        insert(store, &Record { version: 77, ..record.clone() }).await;
        assert_eq!(get(store, &record, NOW).await.as_ref(), Some(&record));
        let other = Record { body: "{}".to_owned(), ..record.clone() };
        assert_eq!(store.insert(&other, NOW).await.expect("insert"), Inserted::Taken);
        let next = Record { body: "2".to_owned(), expires: Some(NOW + HOUR * 2), ..record.clone() };
        assert_eq!(store.replace(&next, NOW).await.expect("replace"), Replaced::Done);
        assert_eq!(store.replace(&next, NOW).await.expect("replace"), Replaced::Refused, "a stale version");
        let expected = Record { version: 2, ..next };
        assert_eq!(get(store, &record, NOW).await.as_ref(), Some(&expected));
        assert_eq!(store.take(&record.key, NOW).await.expect("take"), Some(expected.clone()));
        assert_eq!(store.take(&record.key, NOW).await.expect("take"), None);
        assert_eq!(
            store.replace(&expected, NOW).await.expect("replace"),
            Replaced::Refused,
            "a replace never creates"
        );
    }
}

async fn records_expire(store: &Arc<dyn RecordStore>) {
    let record = Record { owner: Some(UserId::generate()), ..record() };
    insert(store, &record).await;
    let end = NOW + HOUR;
    assert!(get(store, &record, NOW + (HOUR.saturating_sub(Duration::from_millis(1)))).await.is_some());
    assert_eq!(get(store, &record, end).await, None);
    assert_eq!(store.take(&record.key, end).await.expect("take"), None);
    assert_eq!(store.replace(&record, end).await.expect("replace"), Replaced::Refused);
    let owner = record.owner.clone().expect("an owner");
    assert!(store.list("test", &owner, end).await.expect("list").is_empty());
    let again = Record { expires: Some(end + HOUR), ..record };
    assert_eq!(store.insert(&again, end).await.expect("insert"), Inserted::Done, "an expired record is none");
    assert_eq!(get(store, &again, end).await, Some(again));
}

/// Who has read a record may end it, unless somebody has changed it since: no other method removes under a condition.
async fn records_are_hidden_by_a_past_expiry(store: &Arc<dyn RecordStore>) {
    for end in [NOW, Timestamp::from_millis(1)] {
        let record = Record { owner: Some(UserId::generate()), expires: None, ..record() };
        insert(store, &record).await;
        let ended = Record { expires: Some(end), ..record.clone() };
        let stale = Record { version: 7, ..ended.clone() };
        assert_eq!(store.replace(&stale, NOW).await.expect("replace"), Replaced::Refused);
        assert_eq!(get(store, &record, NOW).await.as_ref(), Some(&record));
        assert_eq!(store.replace(&ended, NOW).await.expect("replace"), Replaced::Done);
        assert_eq!(get(store, &record, NOW).await, None, "an ended record is there");
        assert_eq!(store.take(&record.key, NOW).await.expect("take"), None);
        let next = Record { version: 2, ..record.clone() };
        assert_eq!(store.replace(&next, NOW).await.expect("replace"), Replaced::Refused);
        let owner = record.owner.clone().expect("an owner");
        assert!(store.list("test", &owner, NOW).await.expect("list").is_empty());
        assert_eq!(store.delete_owned(&owner, NOW).await.expect("delete_owned"), 0);
        insert(store, &record).await;
        assert_eq!(get(store, &record, NOW).await, Some(record), "its key is free");
    }
}

async fn records_are_got_together(store: &Arc<dyn RecordStore>) {
    let (one, two) = (record(), Record { owner: Some(UserId::generate()), ..record() });
    let expired = Record { expires: Some(NOW + Duration::from_millis(1)), ..record() };
    for record in [&one, &two, &expired] {
        insert(store, record).await;
    }
    let other_kind = RecordKey { kind: "test2", ..two.key.clone() };
    let keys = [two.key.clone(), other_kind, expired.key, one.key.clone(), record().key, two.key.clone()];
    let found = store.get_all(&keys, NOW + Duration::from_millis(1)).await.expect("get_all");
    assert_eq!(found, [Some(two.clone()), None, None, Some(one), None, Some(two)]);
    assert!(store.get_all(&[], NOW).await.expect("get_all").is_empty());
}

async fn records_are_counted(store: &Arc<dyn RecordStore>) {
    let record = Record { body: "0".to_owned(), ..record() };
    insert(store, &record).await;
    at_once(|_| {
        let (store, key) = (store.clone(), record.key.clone());
        async move {
            loop {
                let mut found = store.get(&key, NOW).await.expect("get").expect("the record");
                found.body = (found.body.parse::<u32>().expect("a number") + 1).to_string();
                if store.replace(&found, NOW).await.expect("replace") == Replaced::Done {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let end = get(store, &record, NOW).await.expect("the record");
    assert_eq!((end.body, end.version), (CALLERS.to_string(), CALLERS as u64 + 1), "counts were lost");
}

async fn records_have_one_winner(store: &Arc<dyn RecordStore>) {
    let record = record();
    let inserts = at_once(|_| {
        let (store, record) = (store.clone(), record.clone());
        async move { store.insert(&record, NOW).await.expect("insert") }
    })
    .await;
    assert_eq!(inserts.iter().filter(|answer| **answer == Inserted::Done).count(), 1);
    let takes = at_once(|_| {
        let (store, key) = (store.clone(), record.key.clone());
        async move { store.take(&key, NOW).await.expect("take") }
    })
    .await;
    assert_eq!(takes.iter().flatten().count(), 1);
}

async fn records_belong_to_somebody(store: &Arc<dyn RecordStore>) {
    let (mine, other) = (UserId::generate(), UserId::generate());
    let of = |owner: &UserId, kind| Record {
        owner: Some(owner.clone()),
        key: RecordKey { kind, id: format!("{:02x}", u16::from_be_bytes(random())) + &fresh() },
        ..record()
    };
    let (one, two, else_kind, others) =
        (of(&mine, "test"), of(&mine, "test"), of(&mine, "test2"), of(&other, "test"));
    for record in [&one, &two, &else_kind, &others] {
        insert(store, record).await;
    }
    let mut expected = vec![one.clone(), two];
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(store.list("test", &mine, NOW).await.expect("list"), expected);
    assert_eq!(store.delete_owned(&mine, NOW).await.expect("delete_owned"), 3);
    assert_eq!(get(store, &one, NOW).await, None);
    assert!(get(store, &others, NOW).await.is_some(), "another user's record went along");
}

async fn records_can_be_exported(store: &Arc<dyn RecordStore>) {
    const KIND: &str = "exported";
    let of = |expires| Record { key: RecordKey { kind: KIND, id: fresh() }, expires, ..record() };
    let mut expected = vec![of(None), of(Some(NOW + HOUR)), of(None)];
    for record in &expected {
        insert(store, record).await;
    }
    insert(store, &record()).await;
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.export(KIND, after.as_deref(), 2, NOW).await.expect("export");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.key.id.clone());
        seen.extend(page);
    }
    assert_eq!(seen, expected);
    let late = store.export(KIND, None, 9, NOW + HOUR).await.expect("export");
    assert_eq!(late.len(), 2, "an expired record is exported");
}

async fn records_are_swept(store: &Arc<dyn RecordStore>) {
    // Long before everything else in the database, so that only these can be expired.
    let early = Timestamp::from_millis(1_000_000);
    // What a check has written is older still.
    while store.sweep(2, Timestamp::from_millis(1)).await.expect("sweep") > 0 {}
    for _ in 0..5 {
        let record = Record { expires: Some(early + HOUR), ..record() };
        store.insert(&record, early).await.expect("insert");
    }
    let alive = record();
    insert(store, &alive).await;
    let forever = Record { expires: None, ..record() };
    insert(store, &forever).await;
    let mut swept = Vec::new();
    while swept.last() != Some(&0) {
        swept.push(store.sweep(2, early + HOUR).await.expect("sweep"));
    }
    assert!(swept.iter().all(|count| *count <= 2), "more than the limit at once: {swept:?}");
    assert_eq!(swept.iter().sum::<usize>(), 5);
    assert!(get(store, &alive, NOW).await.is_some() && get(store, &forever, NOW).await.is_some());
}
