//! The threads that talk to SQLite: one writes in groups, some read.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use tokio::{sync::oneshot, time::timeout};

use super::{
    SqliteOptions,
    checkpoints::{Checkpoints, Pause},
    feed::{Ear, Ears, Hears, Watch},
};

/// One transaction takes at most so many writes, so that the first of them does not wait for ever.
const MAX_GROUP: usize = 256;

/// Does its work and sends the answer.
type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// Does its work inside the group's transaction, or not at all when there is none; the answer is sent later.
type WriteJob = Box<dyn FnOnce(Result<&Connection, Failure>) -> Answer + Send>;

/// Sends a write's answer, once it is known whether the group was committed.
type Answer = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// Why an operation has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Database(Arc<rusqlite::Error>),
    #[error("too many operations are waiting for the database")]
    QueueFull,
    #[error("the database did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the database has been closed")]
    Closed,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

pub(super) struct Workers {
    /// `None` only while closing.
    queues: Option<(SyncSender<WriteJob>, SyncSender<ReadJob>)>,
    writer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    /// Closes after the writer.
    checkpoints: Option<Checkpoints>,
    timeout: Duration,
    ears: Ears,
}

/// The connections that the threads use.
pub(super) struct Connections {
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
    /// Copies the log; `None`: the file is somebody else's, and nothing about it is changed.
    pub(super) checkpoints: Option<Connection>,
}

impl Workers {
    pub(super) fn start(connections: Connections, options: &SqliteOptions) -> io::Result<Self> {
        let Connections { mut writer, readers, checkpoints } = connections;
        let (ears, pause) = (Ears::default(), Arc::<Pause>::default());
        let watch = if checkpoints.is_some() {
            Watch::of(&writer, ears.clone()).map_err(io::Error::other)?
        } else {
            Watch::of_nothing(ears.clone())
        };
        let checkpoints = checkpoints.map(|own| Checkpoints::start(&mut writer, own, pause.clone()));
        let checkpoints = checkpoints.transpose()?;
        let (write, writes) = sync_channel(options.queue);
        let (read, reads) = sync_channel(options.queue);
        let reads = Arc::new(Mutex::new(reads));
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let writer = named("sqlite-write").spawn(move || write_all(&writer, &writes, watch, &pause))?;
        let readers = readers.into_iter().map(|connection| {
            let reads = reads.clone();
            named("sqlite-read").spawn(move || read_all(&connection, &reads))
        });
        let readers = readers.collect::<io::Result<_>>()?;
        Ok(Self {
            queues: Some((write, read)),
            writer: Some(writer),
            readers,
            checkpoints,
            timeout: options.timeout,
            ears,
        })
    }

    /// Tells what happens from now on.
    pub(super) fn listen(&self, hears: Box<dyn Hears>) -> Ear {
        let ear = self.ears.add(hears);
        // Wakes the thread, which may be waiting for ever.
        if let Some((queue, _)) = &self.queues {
            queue.try_send(Box::new(|_| Box::new(drop))).ok();
        }
        ear
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            // Nobody is waiting any more after a timeout; then there is nothing to do.
            if !answer.is_closed() {
                let _ = answer.send(work(connection));
            }
        });
        let (_, queue) = self.queues.as_ref().ok_or(Failure::Closed)?;
        enqueue(queue, job)?;
        self.wait(answered).await?.map_err(Failure::from)
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let job: WriteJob = Box::new(move |transaction| {
            let done = match transaction {
                // Nobody waits for it any more, and was told that it failed: then it must not happen.
                Ok(_) if answer.is_closed() => Err(Failure::Closed),
                Ok(connection) => savepoint(connection, work),
                Err(failure) => Err(failure),
            };
            Box::new(move |committed| drop(answer.send(committed.and(done))))
        });
        let (queue, _) = self.queues.as_ref().ok_or(Failure::Closed)?;
        enqueue(queue, job)?;
        self.wait(answered).await?
    }

    async fn wait<T>(&self, answered: oneshot::Receiver<T>) -> Result<T, Failure> {
        match timeout(self.timeout, answered).await {
            Ok(answer) => answer.map_err(|_| Failure::Closed),
            Err(_) => Err(Failure::Timeout(self.timeout)),
        }
    }
}

impl Drop for Workers {
    /// Lets the threads finish what is queued and close their connections. The last one folds the write-ahead log back into the
    /// file; they close one after the other, because of connections that close at once none would be the last.
    fn drop(&mut self) {
        let Some((writes, reads)) = self.queues.take() else { return };
        drop(reads);
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
        drop(writes);
        self.writer.take().map(JoinHandle::join);
        self.checkpoints = None;
    }
}

fn enqueue<J>(queue: &SyncSender<J>, job: J) -> Result<(), Failure> {
    queue.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) => Failure::QueueFull,
        TrySendError::Disconnected(_) => Failure::Closed,
    })
}

/// One of the group's jobs: if it fails, it alone is undone.
fn savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Failure> {
    execute(connection, "savepoint job")?;
    let done = work(connection);
    if done.is_err() {
        execute(connection, "rollback to job")?;
    }
    execute(connection, "release job")?;
    Ok(done?)
}

fn read_all(connection: &Connection, jobs: &Mutex<Receiver<ReadJob>>) {
    loop {
        // One thread waits for the next job, the others for their turn to wait.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job(connection);
    }
}

fn write_all(connection: &Connection, jobs: &Receiver<WriteJob>, mut watch: Watch, pause: &Pause) {
    loop {
        let job = next(jobs, watch.patience());
        pause.pass();
        match job {
            Ok(first) => write_group(connection, first, jobs, &watch),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        watch.look(connection);
    }
}

fn next<J>(jobs: &Receiver<J>, patience: Option<Duration>) -> Result<J, RecvTimeoutError> {
    match patience {
        Some(patience) => jobs.recv_timeout(patience),
        None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

fn write_group(connection: &Connection, first: WriteJob, jobs: &Receiver<WriteJob>, watch: &Watch) {
    // Immediate: another process that holds the write lock is waited for here, once, and not in the middle.
    let begun = execute(connection, "begin immediate");
    let group = std::iter::once(first).chain(jobs.try_iter().take(MAX_GROUP - 1));
    let transaction = || begun.clone().map(|()| connection);
    let answers: Vec<Answer> = group.map(|job| job(transaction())).collect();
    let committed = begun.clone().and_then(|()| commit(connection));
    // Before the answers: whoever has one never reads what was before it.
    watch.tell_own();
    for answer in answers {
        answer(committed.clone());
    }
}

fn commit(connection: &Connection) -> Result<(), Failure> {
    let committed = execute(connection, "commit");
    if committed.is_err() {
        // A full disk, say. What cannot be kept must not be seen either.
        let _ = execute(connection, "rollback");
    }
    committed
}

fn execute(connection: &Connection, statement: &'static str) -> Result<(), Failure> {
    Ok(connection.prepare_cached(statement)?.execute([]).map(drop)?)
}
