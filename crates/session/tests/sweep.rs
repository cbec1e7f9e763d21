//! The sweeper removes what has expired, in small steps, whatever the database does in between.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{START, Spy};
use hallpass_session::*;

const HOUR: Duration = Duration::from_secs(3600);

async fn fill(store: &Spy, number: usize, idle: Duration) -> SessionId {
    let record = SessionRecord {
        document: Document::new(),
        user: None,
        label: None,
        created: START,
        authenticated: None,
        seen: START,
        lifetime: Lifetime { idle, until: None, persistent: false },
    };
    let mut id = RandomIds.generate();
    for _ in 0..number {
        id = RandomIds.generate();
        store.create(&id, &record, START).await.unwrap();
    }
    id
}

fn sweeps(store: &Spy) -> usize {
    store.asked.lock().unwrap().iter().filter(|operation| **operation == "sweep").count()
}

#[tokio::test(start_paused = true)]
async fn it_goes_in_small_steps_survives_errors_and_leaves_the_living_alone() {
    let store = Arc::new(Spy::default());
    let clock = ManualClock::new(START);
    fill(&store, 950, HOUR).await;
    let alive = fill(&store, 1, HOUR * 48).await;
    let sweeper = Sweeper {
        every: Duration::from_secs(60),
        step: 100,
        pause: Duration::from_millis(20),
        clock: Arc::new(clock.clone()),
    };
    let task = tokio::spawn(sweeper.run(store.clone()));

    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(sweeps(&store), 1, "nothing has expired: one look");

    clock.advance(HOUR * 2);
    store.broken.lock().unwrap().insert("sweep");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(sweeps(&store), 3, "an error is not repeated at once, nor the end");
    assert!(!task.is_finished());

    store.broken.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sweeps(&store), 13, "nine full steps and one that found fewer");
    assert_eq!(store.inner.sweep(1000, clock.now()).await.unwrap(), 0, "all that had expired is gone");
    assert!(store.load(&alive, clock.now()).await.unwrap().is_some());
    task.abort();
}
