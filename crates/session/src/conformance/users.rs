//! The sessions of a user, and listings.

use std::time::Duration;

use super::{Contract, IDLE, NOW, Store, fresh_id, load, promises, record, stored};
use crate::{Created, Listed, SessionId, SessionRecord};

pub(super) fn contracts() -> Vec<Contract> {
    promises! {
        "a user's sessions are listed, the last used first, without expired ones" => of_user,
        "of a user's sessions the first ones can be listed, with the number of the others" => recent_of_user,
        "of a user's sessions those used longest ago end, and the newest one stays" => trim_user,
        "a user's sessions end together, except one if wanted" => delete_of_user,
        "a handle ends its session, if it is the user's" => delete_handle,
        "all sessions can be paged through" => list,
        "what is exported can be created again, and opens with the same id" => export,
    }
}

/// A user nobody else in the database is.
fn fresh_user() -> String {
    format!("user {}", fresh_id().handle())
}

async fn session_of(store: &Store, user: &str, seconds: u64) -> (SessionId, SessionRecord) {
    let seen = NOW + Duration::from_secs(seconds);
    let record =
        SessionRecord { user: Some(user.into()), label: Some("laptop".into()), seen, ..record("{}") };
    let (id, _) = stored(store, &record).await;
    (id, record)
}

async fn handles(store: &Store, user: &str) -> Vec<crate::SessionHandle> {
    store.of_user(user, NOW).await.expect("of_user").into_iter().map(|listed| listed.handle).collect()
}

async fn of_user(store: Store) {
    let (user, other) = (fresh_user(), fresh_user());
    let (old, record) = session_of(&store, &user, 1).await;
    let (new, _) = session_of(&store, &user, 60).await;
    session_of(&store, &other, 5).await;
    let listed = store.of_user(&user, NOW).await.expect("of_user");
    assert_eq!(listed.iter().map(|one| one.handle).collect::<Vec<_>>(), [new.handle(), old.handle()]);
    let expected = Listed {
        handle: old.handle(),
        user: record.user.clone(),
        label: record.label.clone(),
        created: record.created,
        authenticated: record.authenticated,
        seen: record.seen,
        expires: record.expires(),
    };
    assert_eq!(listed[1], expected);
    let left = store.of_user(&user, record.expires()).await.expect("of_user");
    assert_eq!(left.len(), 1, "an expired session is listed");
    assert!(store.of_user("", NOW).await.expect("of_user").is_empty(), "sessions of nobody are nobody's");
}

async fn recent_of_user(store: Store) {
    let user = fresh_user();
    let recent = async |limit| store.recent_of_user(&user, limit, NOW).await.expect("recent_of_user");
    assert_eq!(recent(3).await, crate::Recent::default());
    let mut made = Vec::new();
    for seconds in [2, 4, 1, 3] {
        made.push(session_of(&store, &user, seconds).await.0.handle());
    }
    let (all, some) = (recent(4).await, recent(2).await);
    assert_eq!((all.listed.len(), all.more), (4, 0));
    assert_eq!(all.listed, store.of_user(&user, NOW).await.expect("of_user"));
    let handles: Vec<_> = some.listed.iter().map(|listed| listed.handle).collect();
    assert_eq!((handles, some.more), (vec![made[1], made[3]], 2));
}

async fn trim_user(store: Store) {
    let (user, other) = (fresh_user(), fresh_user());
    session_of(&store, &other, 0).await;
    let mut made = Vec::new();
    for seconds in [2, 4, 1, 3] {
        made.push(session_of(&store, &user, seconds).await.0);
    }
    let trim = async |keep, newest: &SessionId| {
        let ended = store.trim_user(&user, keep, newest, NOW).await.expect("trim_user");
        (ended, handles(&store, &user).await)
    };
    let [two, four, one, three] = [0, 1, 2, 3].map(|at: usize| made[at].handle());
    assert_eq!(trim(4, &made[2]).await, (0, vec![four, three, two, one]));
    // The newest session counts, though others were used later by a clock that is ahead.
    assert_eq!(trim(3, &made[2]).await, (1, vec![four, three, one]));
    assert_eq!(trim(1, &made[1]).await, (2, vec![four]));
    assert_eq!(trim(0, &made[1]).await, (0, vec![four]), "one remains");
    assert_eq!(handles(&store, &other).await.len(), 1);
}

async fn delete_of_user(store: Store) {
    let (user, other) = (fresh_user(), fresh_user());
    let (one, _) = session_of(&store, &user, 1).await;
    let (two, _) = session_of(&store, &user, 2).await;
    let (kept, _) = session_of(&store, &user, 3).await;
    let (stranger, _) = session_of(&store, &other, 4).await;
    assert_eq!(store.delete_of_user(&user, Some(&kept), NOW).await.expect("delete_of_user"), 2);
    for id in [&one, &two] {
        assert!(load(&store, id, NOW).await.is_none());
    }
    assert_eq!(handles(&store, &user).await, [kept.handle()]);
    assert_eq!(store.delete_of_user(&user, Some(&stranger), NOW).await.expect("delete_of_user"), 1);
    assert_eq!(store.delete_of_user(&user, None, NOW).await.expect("delete_of_user"), 0);
    assert!(load(&store, &stranger, NOW).await.is_some(), "another user's session ended");
}

async fn delete_handle(store: Store) {
    let user = fresh_user();
    let (mine, _) = session_of(&store, &user, 1).await;
    let delete = async |handle, user| store.delete_handle(handle, user, NOW).await.expect("delete_handle");
    assert!(!delete(mine.handle(), Some("somebody else")).await);
    assert!(!delete(fresh_id().handle(), Some(&user)).await);
    assert!(load(&store, &mine, NOW).await.is_some(), "a stranger ended the session");
    assert!(delete(mine.handle(), Some(&user)).await);
    assert!(!delete(mine.handle(), Some(&user)).await);
    assert!(load(&store, &mine, NOW).await.is_none());
    let (anonymous, _) = stored(&store, &record("{}")).await;
    assert!(delete(anonymous.handle(), None).await, "an operator ends any session");
}

async fn list(store: Store) {
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(stored(&store, &record("{}")).await.0.handle());
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(after, 2, NOW).await.expect("list");
        assert!(page.len() <= 2, "a page is longer than asked for");
        let Some(last) = page.last() else { break };
        after = Some(last.handle);
        seen.extend(page.into_iter().map(|listed| listed.handle));
    }
    assert!(seen.is_sorted(), "pages are out of order");
    assert!(expected.iter().all(|handle| seen.contains(handle)), "a session is on no page");
    let late = store.list(None, 1000, NOW + IDLE).await.expect("list");
    assert!(late.iter().all(|listed| !expected.contains(&listed.handle)), "an expired session is listed");
}

async fn export(store: Store) {
    let (user, data) = (fresh_user(), r#"{"n":[1]}"#);
    let record = SessionRecord { user: Some(user.as_str().into()), ..record(data) };
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(stored(&store, &record).await.0);
    }
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = store.export(after, 2, NOW).await.expect("export");
        assert!(page.len() <= 2, "a page is longer than asked for");
        let Some((last, _)) = page.last() else { break };
        after = Some(last.handle());
        pages.extend(page);
    }
    let handles: Vec<_> = pages.iter().map(|(id, _)| id.handle()).collect();
    assert!(handles.is_sorted(), "pages are out of order");
    for id in &expected {
        let at = handles.iter().position(|handle| *handle == id.handle()).expect("a session is on no page");
        let (exported, found) = &pages[at];
        assert_eq!(*found.record, record);
        assert!(store.release(id, NOW).await.expect("release"));
        assert!(matches!(
            store.create(exported, &found.record, NOW).await.expect("create"),
            Created::Done(_)
        ));
        assert_eq!(load(&store, id, NOW).await, Some(record.clone()), "the browser's id does not open it");
    }
    let late = store.export(None, 1000, NOW + IDLE).await.expect("export");
    let late = |id: &SessionId| late.iter().any(|(other, _)| other.handle() == id.handle());
    assert!(!expected.iter().any(late), "an expired session is exported");
}
