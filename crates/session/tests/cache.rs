//! The cache in front of a store: the store's contract holds, reads cost nothing, and nothing revoked is served.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod told;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use hallpass_session::{
    CacheOptions, CachedSessions, IdGenerator, ManualTimer, MemoryStore, RandomIds, SessionId, SessionStore,
    StoreError, Stored, Touch, Updated, conformance,
};
use told::{IDLE, NOW, Told, cached, options, record, stored};

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_with_a_feed_that_is_alive_silent_or_missing() {
    let (_, alive, _) = cached(&options()).await;
    conformance::run(alive).await;
    let silent = CacheOptions { max_staleness: Duration::from_nanos(1), ..options() };
    conformance::run(cached(&silent).await.1).await;
    conformance::run(Arc::new(CachedSessions::new(Arc::new(MemoryStore::new()), &options()))).await;
}

#[tokio::test]
async fn a_session_is_read_once_and_the_absence_of_one_every_time() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    assert!(cache.cached(&id, NOW).is_none());
    for _ in 0..5 {
        assert!(cache.load(&id, NOW).await.unwrap().is_some());
        assert!(cache.cached(&id, NOW).is_some());
    }
    assert_eq!(told.loads(), 1);
    let missing = RandomIds.generate();
    for _ in 0..5 {
        assert!(cache.load(&missing, NOW).await.unwrap().is_none());
    }
    assert_eq!(told.loads(), 5);
}

#[tokio::test]
async fn what_is_told_is_not_served_any_more() {
    let (told, cache, listener) = cached(&options()).await;
    let (one, other) = (stored(&cache, "ann").await, stored(&cache, "bob").await);
    for id in [&one, &other] {
        cache.load(id, NOW).await.unwrap();
    }
    told.store.delete(&one, NOW).await.unwrap();
    assert!(cache.cached(&one, NOW).is_some(), "nobody has told yet");
    listener.changed(&one.handle());
    assert!(cache.cached(&one, NOW).is_none());
    assert!(cache.load(&one, NOW).await.unwrap().is_none());
    assert!(cache.cached(&other, NOW).is_some());
    listener.everything();
    assert!(cache.cached(&other, NOW).is_none());
}

#[tokio::test]
async fn a_silent_feed_sends_reads_to_the_store_until_it_speaks() {
    let (told, cache, listener) =
        cached(&CacheOptions { max_staleness: Duration::from_millis(30), ..options() }).await;
    let id = stored(&cache, "ann").await;
    listener.alive(listener.now());
    tokio::time::sleep(Duration::from_millis(40)).await;
    for _ in 0..3 {
        assert!(cache.load(&id, NOW).await.unwrap().is_some());
        assert!(cache.cached(&id, NOW).is_none(), "the proof has run out");
    }
    assert_eq!(told.loads(), 3);
    assert!(!cache.is_proven());
}

/// No monotonic clock moves in these tests: the runtime's stands still, as it does while a machine is suspended.
#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_serves_nothing_from_before() {
    let clocks = ManualTimer::new(NOW);
    let second = Duration::from_secs(1);
    let (told, cache, listener) =
        cached(&CacheOptions { max_staleness: second, timer: clocks.clone().into(), ..options() }).await;
    let id = stored(&cache, "ann").await;
    cache.load(&id, NOW).await.unwrap();
    assert!(cache.cached(&id, NOW).is_some());
    // Another server ends the session while this machine is suspended.
    told.store.delete(&id, NOW).await.unwrap();
    clocks.advance(second);
    assert!(cache.cached(&id, NOW).is_none() && cache.load(&id, NOW).await.unwrap().is_none());
    listener.changed(&id.handle());
    listener.alive(listener.now());
    assert!(cache.is_proven(), "copies are used again once the feed has spoken");
}

/// Where no clock counts suspension, or a virtual machine was paused, only the wall clock tells.
#[tokio::test(start_paused = true)]
async fn a_jump_of_the_wall_clock_ends_what_was_proven_before() {
    for step in [60_000, 150, -150, -60_000] {
        let clocks = ManualTimer::new(NOW);
        let (told, cache, listener) =
            cached(&CacheOptions { timer: clocks.clone().into(), ..options() }).await;
        let id = stored(&cache, "ann").await;
        cache.load(&id, NOW).await.unwrap();
        clocks.advance(Duration::from_secs(60));
        assert!(cache.cached(&id, NOW).is_some(), "time that passes is no jump");
        told.store.delete(&id, NOW).await.unwrap();
        let asked_before = listener.now();
        clocks.step_wall(step);
        assert!(cache.cached(&id, NOW).is_none() && cache.load(&id, NOW).await.unwrap().is_none());
        listener.alive(asked_before);
        assert!(!cache.is_proven(), "what was asked before the jump proves nothing after it");
        listener.alive(listener.now());
        assert!(cache.is_proven());
    }
}

#[tokio::test]
async fn a_proof_counts_from_when_it_was_asked_for() {
    let (_, cache, listener) =
        cached(&CacheOptions { max_staleness: Duration::from_secs(1), ..options() }).await;
    let (_, late, _) = cached(&options()).await;
    drop(late);
    listener.alive(listener.now());
    assert!(cache.is_proven());
    let (_, cache, listener) =
        cached(&CacheOptions { max_staleness: Duration::from_nanos(1), ..options() }).await;
    listener.alive(listener.now());
    assert!(!cache.is_proven());
}

#[tokio::test]
async fn ones_own_changes_are_seen_at_once() {
    let (told, cache, _) = cached(&options()).await;
    let (id, renewed) = (stored(&cache, "ann").await, RandomIds.generate());
    let revision = cache.load(&id, NOW).await.unwrap().unwrap().revision;
    let mut changed = record("ann");
    changed.document.insert("n", &2).unwrap();
    let Updated::Done(revision) = cache.update(&id, &changed, revision, NOW).await.unwrap() else { panic!() };
    let read = cache.load(&id, NOW).await.unwrap().unwrap();
    assert_eq!((&*read.record, read.revision), (&changed, revision));
    cache.rotate(&id, revision, &renewed, &changed, NOW).await.unwrap();
    assert!(cache.cached(&id, NOW).is_none() && cache.load(&id, NOW).await.unwrap().is_none());
    cache.load(&renewed, NOW).await.unwrap().unwrap();
    assert!(cache.delete(&renewed, NOW).await.unwrap());
    assert!(cache.cached(&renewed, NOW).is_none());
    let (first, second) = (stored(&cache, "bob").await, stored(&cache, "bob").await);
    for id in [&first, &second] {
        cache.load(id, NOW).await.unwrap();
    }
    assert!(cache.delete_handle(first.handle(), Some("bob"), NOW).await.unwrap());
    assert!(cache.cached(&first, NOW).is_none() && cache.cached(&second, NOW).is_some());
    assert_eq!(cache.delete_of_user("bob", None, NOW).await.unwrap(), 1);
    assert!(cache.cached(&second, NOW).is_none());
    told.loads();
}

#[tokio::test]
async fn sign_out_everywhere_beats_a_load_that_is_under_way() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    told.gated.store(true, SeqCst);
    let loading = tokio::spawn({
        let (cache, id) = (cache.clone(), id.clone());
        async move { cache.load(&id, NOW).await.unwrap() }
    });
    while told.loads.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    cache.delete_of_user("ann", None, NOW).await.unwrap();
    told.gated.store(false, SeqCst);
    told.gate.add_permits(1);
    assert!(loading.await.unwrap().is_some(), "it read before the sign-out");
    assert!(cache.cached(&id, NOW).is_none());
    assert!(cache.load(&id, NOW).await.unwrap().is_none());
}

type Asked = tokio::task::JoinHandle<Result<Option<Stored>, StoreError>>;

/// So many ask for the session at once, and wait as far as they can get.
async fn ask(cache: &Arc<CachedSessions>, id: &SessionId, count: usize) -> Vec<Asked> {
    let one = |_| {
        let (cache, id) = (cache.clone(), id.clone());
        tokio::spawn(async move { cache.load(&id, NOW).await })
    };
    let all = (0..count).map(one).collect();
    everybody_else().await;
    all
}

/// Lets all others go on as far as they can.
async fn everybody_else() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// The store answers a question, and then the next.
async fn answer_two(told: &Told) {
    for _ in 0..2 {
        told.gate.add_permits(1);
        everybody_else().await;
    }
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_read_and_an_error_is_not_shared() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    told.gated.store(true, SeqCst);
    let all = ask(&cache, &id, 50).await;
    assert_eq!(told.loads.load(SeqCst), 1);
    told.gated.store(false, SeqCst);
    told.gate.add_permits(1);
    for one in all {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(told.loads(), 1);
    told.feed.lock().unwrap().as_ref().unwrap().everything();
    told.broken.store(true, SeqCst);
    for one in ask(&cache, &id, 5).await {
        assert!(one.await.unwrap().is_err());
    }
    told.broken.store(false, SeqCst);
    assert!(cache.load(&id, NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn an_absence_is_shared_with_those_who_asked_before_the_store_was_and_with_nobody_else() {
    let (told, cache, _) = cached(&options()).await;
    let id = RandomIds.generate();
    told.gated.store(true, SeqCst);
    let all = ask(&cache, &id, 50).await;
    answer_two(&told).await;
    for one in all {
        assert!(one.await.unwrap().unwrap().is_none());
    }
    assert_eq!(told.loads(), 2);

    let early = ask(&cache, &id, 1).await;
    // The store has answered that there is nothing, and we wait for its answer, when somebody signs in.
    cache.create(&id, &record("ann"), NOW).await.unwrap();
    let late = ask(&cache, &id, 50).await;
    assert_eq!(told.loads.load(SeqCst), 1);
    answer_two(&told).await;
    for one in early {
        assert!(one.await.unwrap().unwrap().is_none());
    }
    for one in late {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(told.loads(), 2);
}

#[tokio::test]
async fn whoever_waits_for_a_load_that_is_given_up_loads_itself() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    told.gated.store(true, SeqCst);
    let load = || {
        tokio::spawn({
            let (cache, id) = (cache.clone(), id.clone());
            async move { cache.load(&id, NOW).await.unwrap() }
        })
    };
    let first = load();
    while told.loads.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let second = load();
    tokio::task::yield_now().await;
    first.abort();
    first.await.unwrap_err();
    told.gate.add_permits(1);
    assert!(second.await.unwrap().is_some());
    assert_eq!(told.loads(), 2);
}

#[tokio::test]
async fn copies_expire_by_the_time_that_is_given() {
    let (told, cache, _) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    cache.load(&id, NOW).await.unwrap();
    told.loads();
    let end = NOW + IDLE;
    assert!(cache.cached(&id, end).is_none());
    assert!(cache.load(&id, end).await.unwrap().is_none());
    // Somebody else used it: the copy is too old to tell, the store knows.
    let touch = Touch { id: id.clone(), seen: NOW + IDLE / 2, expires: end + IDLE / 2 };
    told.store.touch(&[touch], NOW).await.unwrap();
    assert!(cache.load(&id, end).await.unwrap().is_some());
    assert!(cache.cached(&id, end).is_some());
}

#[tokio::test]
async fn uses_are_collected_seen_at_once_and_none_is_lost() {
    let (told, cache, _) = cached(&options()).await;
    let ids = [stored(&cache, "ann").await, stored(&cache, "ann").await];
    for id in &ids {
        cache.load(id, NOW).await.unwrap();
    }
    let later = NOW + Duration::from_secs(120);
    for _ in 0..10 {
        for id in &ids {
            let touch = Touch { id: id.clone(), seen: later, expires: later + IDLE };
            cache.touch(&[touch], later).await.unwrap();
        }
    }
    assert!(told.touches.lock().unwrap().is_empty());
    assert_eq!(cache.cached(&ids[0], later).unwrap().record.seen, later, "the next request need not note it");
    told.broken.store(true, SeqCst);
    cache.flush().await.unwrap_err();
    told.broken.store(false, SeqCst);
    cache.flush().await.unwrap();
    assert_eq!(*told.touches.lock().unwrap(), [2]);
    assert_eq!(told.store.load(&ids[1], later).await.unwrap().unwrap().record.seen, later);
}

#[tokio::test]
async fn memory_is_bounded_in_bytes() {
    let size = 256 * 1024;
    let (told, cache, _) = cached(&CacheOptions { size, ..options() }).await;
    let mut large = record("ann");
    large.document.insert("text", &"x".repeat(2000)).unwrap();
    for _ in 0..1000 {
        let id = RandomIds.generate();
        cache.create(&id, &large, NOW).await.unwrap();
        assert!(cache.load(&id, NOW).await.unwrap().is_some());
    }
    let (sessions, bytes) = cache.size();
    assert!(bytes <= u64::try_from(size).unwrap() && (20..200).contains(&sessions), "{sessions} in {bytes}");
    assert_eq!(told.loads(), 1000);
}

#[tokio::test]
async fn a_use_that_cannot_be_noted_hinders_neither_reading_nor_ending() {
    let (told, cache, listener) = cached(&options()).await;
    let id = stored(&cache, "ann").await;
    cache.load(&id, NOW).await.unwrap();
    let later = NOW + Duration::from_secs(120);
    cache.touch(&[Touch { id: id.clone(), seen: later, expires: later + IDLE }], later).await.unwrap();
    told.full.store(true, SeqCst);
    listener.everything();
    assert!(cache.load(&id, later).await.unwrap().is_some());
    assert_eq!(cache.of_user("ann", later).await.unwrap().len(), 1);
    told.full.store(false, SeqCst);
    cache.flush().await.unwrap();
    assert_eq!(*told.touches.lock().unwrap(), [1], "it was kept for later");
    assert_eq!(cache.delete_of_user("ann", None, later).await.unwrap(), 1);
}
