//! A disk that is full turns SQLite's changes into errors, loses nothing that was answered, and is no matter once there is room.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{env, fs, path::Path, process::Command, time::Duration};

use hallpass_session::{
    Clock, Document, IdGenerator, Lifetime, RandomIds, SessionId, SessionRecord, SessionStore, SystemClock,
};
use hallpass_stores::{Sqlite, SqliteOptions};

/// Tells the test's own process, run again with a small limit, from the first.
const CHILD: &str = "HALLPASS_TEST_FULL_DISK";

fn record(bytes: usize) -> SessionRecord {
    let now = SystemClock.now();
    let mut document = Document::new();
    document.insert("big", &"x".repeat(bytes)).unwrap();
    SessionRecord {
        document,
        user: None,
        label: None,
        created: now,
        authenticated: None,
        seen: now,
        lifetime: Lifetime { idle: Duration::from_secs(3600), until: None, persistent: false },
    }
}

/// Fills the disk until changes fail; what was acknowledged is still there, and can be read all the time.
async fn fill(store: &Sqlite) -> Vec<SessionId> {
    let now = SystemClock.now();
    let mut kept = Vec::new();
    let mut refused = 0;
    for _ in 0..400 {
        let id = RandomIds.generate();
        match store.create(&id, &record(64 * 1024), now).await {
            Ok(_) => kept.push(id),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0 && !kept.is_empty(), "{refused} refused, {} kept", kept.len());
    for id in &kept {
        assert!(store.load(id, now).await.unwrap().is_some(), "an acknowledged session is lost");
    }
    kept
}

async fn on_a_full_disk(folder: &Path, make_room: impl FnOnce()) {
    let path = folder.join("hallpass.db");
    let store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
    let kept = fill(&store).await;
    make_room();
    let now = SystemClock.now();
    let id = RandomIds.generate();
    store.create(&id, &record(10), now).await.unwrap();
    assert!(store.delete(&kept[0], now).await.unwrap(), "changes work again by themselves");
    drop(store);
    let store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
    assert!(store.load(&id, now).await.unwrap().is_some());
    for id in &kept[1..] {
        assert!(store.load(id, now).await.unwrap().is_some(), "lost after reopening");
    }
}

/// A file system of its own where that is allowed; else this test runs again as a process whose files may not grow.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_room_is_enough_to_go_on() {
    if let Some(folder) = env::var_os(CHILD) {
        let free = || {
            let own = std::process::id().to_string();
            Command::new("prlimit").args(["--pid", &own, "--fsize=unlimited"]).status().unwrap();
        };
        return on_a_full_disk(Path::new(&folder), free).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(folder.path())
        .stderr(std::process::Stdio::null())
        .status();
    if mounted.is_ok_and(|status| status.success()) {
        let ballast = folder.path().join("ballast");
        fs::write(&ballast, vec![0; 2 * 1024 * 1024]).unwrap();
        on_a_full_disk(folder.path(), || fs::remove_file(&ballast).unwrap()).await;
        assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
        return;
    }
    // The signal that comes with the limit would end the process.
    let limited = "trap '' XFSZ; exec prlimit --fsize=4194304:unlimited -- \"$0\"";
    let limit = Command::new("sh")
        .args(["-c", limited])
        .arg(env::current_exe().unwrap())
        .env(CHILD, folder.path())
        .status();
    assert!(limit.unwrap().success(), "the test failed where files may not grow");
}
