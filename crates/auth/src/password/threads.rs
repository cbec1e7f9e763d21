//! [`Threads`]: where passwords are hashed.

use std::{
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use zeroize::Zeroize;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that do one job after the other, at a lower priority than the threads that serve requests: a storm of sign-ins takes what processor
/// time is left, and whoever is signed in notices little of it. (On Linux: elsewhere, only whole processes have one.) They end when this is dropped and the queue is empty.
pub(super) struct Threads(Sender<Job>);

/// As `nice` has it: a tenth of the share of a thread that serves requests, and all that nobody else wants.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// How much of the stack a hash may have used, in bytes.
const WIPED: usize = 16 * 1024;

impl Threads {
    /// So many. None of them is needed before the first job, so a thread that cannot be made now is missed only when all cannot.
    pub(super) fn new(count: NonZeroUsize) -> Self {
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..count.get() {
            let jobs = jobs.clone();
            let made = thread::Builder::new().name("hash".to_owned()).spawn(move || work(&jobs));
            if let Err(error) = made {
                tracing::error!(event = "no_hash_thread", %error, "sign-ins wait for each other");
            }
        }
        Self(queue)
    }

    /// Does this when its turn comes. A job that panics, or that no thread is left for, is dropped.
    pub(super) fn run(&self, job: Job) {
        let _ = self.0.send(job);
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(event = "no_lower_priority", %error);
    }
    loop {
        // One thread waits for the next job, the others for their turn to wait.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Whoever waits for the answer learns of a panic from its missing; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(job));
        wipe_stack();
    }
}

/// Overwrites what the last job left on the stack: hash functions keep parts of the password in buffers of their own there.
#[inline(never)]
fn wipe_stack() {
    let mut left = [0_u8; WIPED];
    left.zeroize();
    std::hint::black_box(&left);
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Threads")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads() -> Threads {
        Threads::new(NonZeroUsize::MIN)
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_along() {
        let (threads, (done, waits)) = (threads(), channel());
        threads.run(Box::new(|| panic!("on purpose")));
        threads.run(Box::new(move || done.send(()).unwrap()));
        waits.recv().unwrap();
    }

    /// Field 19 of `/proc/thread-self/stat` (proc(5)), counted after the name, which may contain blanks.
    #[cfg(target_os = "linux")]
    #[test]
    fn they_give_way_and_the_thread_that_asks_does_not() {
        fn niceness() -> i32 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
        }
        let (before, (told, hears)) = (niceness(), channel());
        threads().run(Box::new(move || told.send(niceness()).unwrap()));
        assert_eq!(hears.recv().unwrap(), (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }
}
