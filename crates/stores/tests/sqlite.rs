//! SQLite keeps the contracts, also with several programs on one file, and guards its file.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hallpass_session::{
    Created, Document, IdGenerator, Lifetime, Listed, RandomIds, Revision, SessionHandle, SessionId,
    SessionRecord, SessionStore, StoreError, Stored, Timestamp, Touch, Updated,
};
use hallpass_stores::{Sqlite, SqliteOptions};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);

struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("hallpass.db"), _folder: folder }
    }

    fn open(&self) -> Sqlite {
        open(&self.path).unwrap()
    }

    /// Chosen anew whenever the log begins.
    fn salt(&self) -> Vec<u8> {
        std::fs::read(self.path.with_file_name("hallpass.db-wal")).unwrap()[16..24].to_vec()
    }

    /// How many bytes the write-ahead log takes.
    fn log(&self) -> u64 {
        std::fs::metadata(self.path.with_file_name("hallpass.db-wal")).map_or(0, |log| log.len())
    }
}

fn open(path: &Path) -> Result<Sqlite, hallpass_stores::OpenError> {
    Sqlite::open(path, &SqliteOptions::default())
}

fn record() -> SessionRecord {
    SessionRecord {
        document: Document::from_json(r#"{"n":1}"#).unwrap(),
        user: Some("ann".into()),
        label: None,
        created: NOW,
        authenticated: None,
        seen: NOW,
        lifetime: Lifetime { idle: Duration::from_secs(60), until: None, persistent: false },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions() {
    hallpass_session::conformance::run(Arc::new(File::new().open())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users() {
    hallpass_auth::conformance::users(Arc::new(File::new().open())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records() {
    hallpass_auth::conformance::records(Arc::new(File::new().open())).await;
}

/// Two connections to one file, as two programs have; every call goes to the other one.
struct TwoPrograms {
    programs: [Sqlite; 2],
    calls: AtomicUsize,
}

impl TwoPrograms {
    fn next(&self) -> &Sqlite {
        &self.programs[self.calls.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[async_trait]
impl SessionStore for TwoPrograms {
    async fn load(&self, id: &SessionId, now: Timestamp) -> Result<Option<Stored>, StoreError> {
        self.next().load(id, now).await
    }
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        self.next().create(id, record, now).await
    }
    async fn update(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        expected: Revision,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.next().update(id, record, expected, now).await
    }
    async fn rotate(
        &self,
        old: &SessionId,
        expected: Revision,
        new: &SessionId,
        record: &SessionRecord,
        now: Timestamp,
    ) -> Result<Updated, StoreError> {
        self.next().rotate(old, expected, new, record, now).await
    }
    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<(), StoreError> {
        self.next().touch(batch, now).await
    }
    async fn delete(&self, id: &SessionId, now: Timestamp) -> Result<bool, StoreError> {
        self.next().delete(id, now).await
    }
    async fn of_user(&self, user: &str, now: Timestamp) -> Result<Vec<Listed>, StoreError> {
        self.next().of_user(user, now).await
    }
    async fn delete_of_user(
        &self,
        user: &str,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.next().delete_of_user(user, except, now).await
    }
    async fn delete_handle(
        &self,
        handle: SessionHandle,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.next().delete_handle(handle, user, now).await
    }
    async fn list(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        self.next().list(after, limit, now).await
    }
    async fn sweep(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.next().sweep(limit, now).await
    }
    async fn export(
        &self,
        after: Option<SessionHandle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Stored)>, StoreError> {
        self.next().export(after, limit, now).await
    }
    async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        self.next().check(now).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_two_programs_on_one_file() {
    let file = File::new();
    let store = TwoPrograms { programs: [file.open(), file.open()], calls: AtomicUsize::new(0) };
    hallpass_session::conformance::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_reopening_and_ids_are_not() {
    let file = File::new();
    let id = RandomIds.generate();
    let store = file.open();
    store.create(&id, &record(), NOW).await.unwrap();
    let bytes = |name: &str| std::fs::read(file.path.with_file_name(name)).unwrap_or_default();
    let everything = [bytes("hallpass.db"), bytes("hallpass.db-wal")].concat();
    assert!(everything.windows(3).any(|window| window == b"ann"), "the row is on disk");
    let needle = id.expose().as_bytes();
    assert!(!everything.windows(needle.len()).any(|window| window == needle), "so is not the id");
    drop(store);
    assert_eq!(*file.open().load(&id, NOW).await.unwrap().unwrap().record, record());
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_start_at_once_agree_on_one_schema() {
    let file = File::new();
    let path = file.path.clone();
    let openings = (0..8).map(|_| {
        let path = path.clone();
        std::thread::spawn(move || open(&path).map(drop).map_err(|error| error.to_string()))
    });
    for opening in openings.collect::<Vec<_>>() {
        assert_eq!(opening.join().unwrap(), Ok(()));
    }
}

fn refusal(path: &Path) -> String {
    open(path).err().expect("refused").to_string()
}

#[test]
fn files_that_are_not_ours_are_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a database at all, but long enough to look like one ".repeat(20)).unwrap();
    assert!(refusal(&text).contains("is not a Hallpass database"), "{}", refusal(&text));
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("not a database"), "and left alone");

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("create table t (x)").unwrap();
    assert!(refusal(&foreign).contains("is not a Hallpass database"));

    let newer = folder.path().join("newer.db");
    drop(open(&newer).unwrap());
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 7).unwrap();
    assert!(
        refusal(&newer).contains("newer Hallpass (schema 7, this program knows 1)"),
        "{}",
        refusal(&newer)
    );

    let nowhere = folder.path().join("no/such/folder/hallpass.db");
    assert!(refusal(&nowhere).contains("check that the folder exists"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn only_this_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let file = File::new();
    let store = file.open();
    store.create(&RandomIds.generate(), &record(), NOW).await.unwrap();
    for name in ["hallpass.db", "hallpass.db-wal", "hallpass.db-shm"] {
        let mode = std::fs::metadata(file.path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// A session of a hundred kilobytes, which are some 25 pages of the log.
fn large() -> SessionRecord {
    let mut document = Document::new();
    document.insert("notes", &"n".repeat(100_000)).unwrap();
    SessionRecord { document, ..record() }
}

/// Eight always write, until so many sessions have been written.
async fn write_large(store: &Sqlite, count: usize) {
    let writers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..count / 8 {
                let created = store.create(&RandomIds.generate(), &large(), NOW).await.unwrap();
                assert!(matches!(created, Created::Done(_)));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_begins_anew_while_others_write_without_a_pause() {
    let file = File::new();
    let store = file.open();
    write_large(&store, 1600).await;
    assert!(file.log() < 80_000_000, "{} bytes of 160 million", file.log());
    drop(store);
    assert_eq!(file.log(), 0, "a clean end leaves none");
    assert_eq!(file.open().list(None, 9999, NOW).await.unwrap().len(), 1600);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_reads_for_long_keeps_what_he_sees_and_nobody_from_writing() {
    let file = File::new();
    let store = file.open();
    write_large(&store, 8).await;
    let reader = rusqlite::Connection::open(&file.path).unwrap();
    let seen = || reader.query_row("select count(*) from sessions", [], |row| row.get::<_, u32>(0)).unwrap();
    reader.execute_batch("begin").unwrap();
    assert_eq!(seen(), 8);
    write_large(&store, 400).await;
    assert_eq!(seen(), 8);
    reader.execute_batch("commit").unwrap();
    assert_eq!(seen(), 408);
    // Once nobody reads the old log, it begins anew, which its salt shows.
    let (salt, deadline) = (file.salt(), Instant::now() + Duration::from_secs(60));
    while file.salt() == salt {
        assert!(Instant::now() < deadline, "the log of {} bytes goes on", file.log());
        write_large(&store, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_locked_for_too_long_is_an_error_and_recovers() {
    let file = File::new();
    let options = SqliteOptions { timeout: Duration::from_millis(200), ..Default::default() };
    let store = Sqlite::open(&file.path, &options).unwrap();
    let other = rusqlite::Connection::open(&file.path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let id = RandomIds.generate();
    let error = store.create(&id, &record(), NOW).await.unwrap_err();
    assert_eq!(error.to_string(), "could not create a session");
    assert!(store.load(&id, NOW).await.unwrap().is_none(), "readers go on, and nothing was half done");
    other.execute_batch("rollback").unwrap();
    assert!(matches!(store.create(&id, &record(), NOW).await.unwrap(), Created::Done(_)));
}
