//! `bench-scale STORE COUNT…`: fills a store with sessions through its own interface, up to each COUNT in turn, and prints for each a line of JSON: what one
//! operation takes then, in microseconds.
//!
//! Ten sessions a user, browser and address in the label, ends spread over half a day. Operations come one after the other, so what is timed is the
//! store, not a queue. After the last of several COUNTs it also sweeps, while somebody reads and writes: that nobody waits for the sweeper shows there.
//!
//! `bench-scale --read STORE COUNT` instead prints what a read takes of a filled store, in microseconds of processor time, when many ask at once.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use hallpass_session::{
    Clock, Document, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore, SystemClock, Timestamp,
    Updated, random,
};
use hallpass_stores::{OpenOptions, StoreUrl, Stores, open_sessions};
use tokio::{sync::Semaphore, task::JoinSet};

const HOUR: Duration = Duration::from_secs(3600);
const LABEL: &str = r#"{"addr":"192.0.2.1","agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}"#;

/// So many sign in at once while a store is being filled.
const FILLING: usize = 256;
const READS: usize = 20_000;
const BUSY: usize = 32;
const LISTS: usize = 2_000;
const SWEEPS: usize = 200;
/// As many as the server's sweeper takes in a step.
const STEP: usize = 200;

async fn open(store: &str) -> Arc<dyn SessionStore> {
    let url: StoreUrl = store.parse().unwrap();
    match url {
        StoreUrl::Redis(_) => open_sessions(&url, &OpenOptions::default()).await.unwrap(),
        _ => Stores::open(store).await.unwrap().sessions,
    }
}

fn id(number: usize) -> SessionId {
    SessionId::new(&format!("{number:043}")).unwrap()
}

fn user(number: usize) -> String {
    format!("{:032x}", number / 10)
}

fn record(number: usize, now: Timestamp) -> SessionRecord {
    let mut document = Document::new();
    document.insert("userId", &user(number)).unwrap();
    document.insert("hallpass", &serde_json::json!({ "epoch": 0 })).unwrap();
    document.insert("csrf", &format!("{number:043}")).unwrap();
    let spread = Duration::from_secs(number as u64 * 7919 % (12 * 3600));
    SessionRecord {
        document,
        user: Some(user(number).into()),
        label: Some(LABEL.into()),
        created: now,
        authenticated: Some(now),
        seen: now,
        lifetime: Lifetime { idle: 12 * HOUR + spread, until: Some(now + 720 * HOUR), persistent: false },
    }
}

async fn fill(store: &Arc<dyn SessionStore>, from: usize, to: usize, now: Timestamp) {
    let places = Arc::new(Semaphore::new(FILLING));
    let mut writes = JoinSet::new();
    for number in from..to {
        let place = places.clone().acquire_owned().await.unwrap();
        let store = store.clone();
        writes.spawn(async move {
            let _place = place;
            store.create(&id(number), &record(number, now), now).await.unwrap();
        });
        while writes.try_join_next().is_some_and(|done| done.is_ok()) {}
    }
    while let Some(done) = writes.join_next().await {
        done.unwrap();
    }
}

fn somebody(count: usize) -> usize {
    usize::from_le_bytes(random()) % count
}

struct Times(Vec<f64>);

impl Times {
    fn new() -> Self {
        Self(Vec::new())
    }

    async fn take<T>(&mut self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.0.push(began.elapsed().as_secs_f64() * 1e6);
        done
    }

    fn at(&mut self, percent: usize) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

async fn reads(store: &dyn SessionStore, count: usize, now: Timestamp) -> Times {
    let mut times = Times::new();
    for _ in 0..READS {
        let id = id(somebody(count));
        times.take(store.load(&id, now)).await.unwrap().expect("it is there");
    }
    times
}

/// Microseconds of processor time a read takes in this process when [`BUSY`] ask at once, so that no thread sleeps: waking one costs more
/// than SQLite's whole answer.
async fn busy_reads(store: &Arc<dyn SessionStore>, count: usize, now: Timestamp) -> f64 {
    let began = processor_time();
    let mut readers = JoinSet::new();
    for _ in 0..BUSY {
        let store = store.clone();
        readers.spawn(async move {
            let mut found = 0;
            for _ in 0..READS {
                found += usize::from(store.load(&id(somebody(count)), now).await.unwrap().is_some());
            }
            found
        });
    }
    let mut found = 0;
    while let Some(done) = readers.join_next().await {
        found += done.unwrap();
    }
    assert!(found * 10 > READS * BUSY * 9, "all but what was swept is there");
    (processor_time() - began) / (READS * BUSY) as f64
}

/// Of all threads of this process, in microseconds.
fn processor_time() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let times = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap()
    });
    times.sum::<f64>() / 1e3
}

async fn lists(store: &dyn SessionStore, count: usize, now: Timestamp) -> Times {
    let mut times = Times::new();
    for _ in 0..LISTS {
        let user = user(somebody(count));
        assert_eq!(times.take(store.of_user(&user, now)).await.unwrap().len(), 10);
    }
    times
}

async fn logins(store: &dyn SessionStore, count: usize, now: Timestamp) -> Times {
    use hallpass_session::IdGenerator;
    let mut times = Times::new();
    for _ in 0..LISTS / 4 {
        let (id, record) = (RandomIds.generate(), record(somebody(count), now));
        times.take(store.create(&id, &record, now)).await.unwrap();
        store.delete(&id, now).await.unwrap();
    }
    times
}

/// Sweeps as the server does, at a time when the first have ended, while others read and write.
async fn sweeping(
    store: &Arc<dyn SessionStore>,
    count: usize,
    now: Timestamp,
) -> (Times, Times, Times, usize) {
    let later = now + 12 * HOUR + 6 * HOUR;
    let (mut steps, mut swept) = (Times::new(), 0);
    let sweeper = async {
        for _ in 0..SWEEPS {
            swept += steps.take(store.sweep(STEP, later)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (mut reads, mut writes) = (Times::new(), Times::new());
    let others = async {
        loop {
            let id = id(somebody(count));
            if let Some(stored) = reads.take(store.load(&id, later)).await.unwrap() {
                let written = writes.take(store.update(&id, &stored.record, stored.revision, later)).await;
                assert_ne!(written.unwrap(), Updated::Conflict);
            }
        }
    };
    tokio::select! {
        () = sweeper => {}
        () = others => unreachable!("they never end"),
    }
    (steps, reads, writes, swept)
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, name, count] = &arguments[..]
        && flag == "--read"
    {
        let (store, count) = (open(name).await, count.parse().expect("a number"));
        busy_reads(&store, count, SystemClock.now()).await;
        println!("{}", busy_reads(&store, count, SystemClock.now()).await);
        return;
    }
    let (name, counts) = arguments.split_first().expect("bench-scale STORE COUNT…");
    let counts: Vec<usize> = counts.iter().map(|count| count.parse().expect("a number")).collect();
    let now = SystemClock.now();
    let mut store = open(name).await;
    let mut filled = 0;
    for (at, &count) in counts.iter().enumerate() {
        let began = Instant::now();
        fill(&store, filled, count, now).await;
        let filling = (count - filled) as f64 / began.elapsed().as_secs_f64();
        filled = count;
        drop(store);
        let began = Instant::now();
        store = open(name).await;
        store.load(&id(0), now).await.unwrap().expect("it is there");
        let opening = began.elapsed().as_secs_f64() * 1e3;
        reads(&*store, count, now).await;
        let (mut read, mut list) = (reads(&*store, count, now).await, lists(&*store, count, now).await);
        let mut login = logins(&*store, count, now).await;
        let mut line = serde_json::json!({
            "count": count, "filling": filling, "opening": opening,
            "read": read.at(50), "read99": read.at(99), "list": list.at(50), "login": login.at(50),
        });
        if at > 0 && at + 1 == counts.len() {
            let (mut steps, mut reads, mut writes, swept) = sweeping(&store, count, now).await;
            line["sweep"] = serde_json::json!({
                "swept": swept, "step": steps.at(50), "step99": steps.at(99), "slowest": steps.at(100),
                "read99": reads.at(99), "slowestRead": reads.at(100), "write99": writes.at(99), "slowestWrite": writes.at(100),
            });
        }
        println!("{line}");
    }
}
