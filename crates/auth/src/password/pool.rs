//! [`HashPool`]: hashing off the request threads, a bounded number at once.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hallpass_session::Secret;
use tokio::sync::oneshot;

use super::{
    Argon2Params, HashCost, Hasher, PasswordFormat, Verdict,
    queue::{Permit, Queue, Requester},
    threads::Threads,
};
use crate::{Error, PasswordHash};

/// How much hashing may happen at once. Memory in use is at most `threads` times the memory of one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashPoolOptions {
    /// Hashes at once. Default: one less than there are cores, which is left for everybody else; at least one.
    pub threads: NonZeroUsize,
    /// How long a request waits for its turn before it is turned away. Default: 2 seconds.
    pub queue_deadline: Duration,
    /// How many requests may wait; as many again may wait from known browsers. Default: 256.
    pub max_waiting: usize,
}

impl Default for HashPoolOptions {
    fn default() -> Self {
        Self {
            threads: all_but_one(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
            queue_deadline: Duration::from_secs(2),
            max_waiting: 256,
        }
    }
}

fn all_but_one(cores: NonZeroUsize) -> NonZeroUsize {
    NonZeroUsize::new(cores.get() - 1).unwrap_or(NonZeroUsize::MIN)
}

/// Hashes and verifies passwords on threads of its own, which give way to those that serve requests. Clones share one pool.
#[derive(Clone, Debug)]
pub struct HashPool {
    hasher: Hasher,
    /// What an unknown user's password is compared with: nothing matches it, and it costs as much as any.
    nobody: PasswordHash,
    threads: Arc<Threads>,
    queue: Arc<Queue>,
    queue_deadline: Duration,
}

impl HashPool {
    /// A pool that makes hashes of this cost.
    ///
    /// # Panics
    /// Never in practice: when the operating system has no randomness.
    pub fn new(params: Argon2Params, options: HashPoolOptions) -> Self {
        Self::with_format(params, PasswordFormat::default(), options)
    }

    /// The same in a format; the cost of argon2id counts only there.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_format(params: Argon2Params, format: PasswordFormat, options: HashPoolOptions) -> Self {
        let hasher = Hasher::with_format(params, format);
        Self {
            nobody: hasher.cost().dummy(),
            hasher,
            threads: Arc::new(Threads::new(options.threads)),
            queue: Queue::new(options.threads.get(), options.max_waiting),
            queue_deadline: options.queue_deadline,
        }
    }

    /// What verifying a new hash costs.
    pub(crate) fn cost(&self) -> HashCost {
        self.hasher.cost()
    }

    /// Hashes a new password.
    pub async fn hash(&self, password: Secret<String>, requester: Requester) -> Result<PasswordHash, Error> {
        self.hash_after(password, None, requester).await
    }

    /// Hashes a new password, at no lower a cost than the former one's.
    pub async fn hash_after(
        &self,
        password: Secret<String>,
        former: Option<PasswordHash>,
        requester: Requester,
    ) -> Result<PasswordHash, Error> {
        self.run(requester, move |pool| pool.hasher.hash_after(password.expose(), former.as_ref())).await
    }

    /// Compares a password with a user's hash. Without one, or with one that [`HashCost::of`] refuses, the work of a new hash is done
    /// and the answer is no, so that the time it takes does not tell who has an account.
    pub async fn verify(
        &self,
        password: Secret<String>,
        hash: Option<PasswordHash>,
        requester: Requester,
    ) -> Result<Verdict, Error> {
        Ok(self.verify_timed(password, hash, requester).await?.0)
    }

    /// The same, and how long the work took, without the wait for a turn.
    pub(crate) async fn verify_timed(
        &self,
        password: Secret<String>,
        hash: Option<PasswordHash>,
        requester: Requester,
    ) -> Result<(Verdict, Duration), Error> {
        let hash = hash.filter(|hash| HashCost::of(hash).is_ok());
        self.run(requester, move |pool| {
            let started = Instant::now();
            let verdict = pool.hasher.verify(password.expose(), hash.as_ref().unwrap_or(&pool.nobody));
            (if hash.is_some() { verdict } else { Verdict::Wrong }, started.elapsed())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        requester: Requester,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.permit(requester).await.ok_or(Error::Busy { retry_after: self.queue_deadline })?;
        let (pool, (answer, answered)) = (self.clone(), oneshot::channel());
        self.threads.run(Box::new(move || {
            // The job owns its permit: a request that goes away while it hashes does not make room for another.
            let done = work(&pool);
            drop(permit);
            let _ = answer.send(done);
        }));
        answered.await.map_err(|error| Error::Internal { doing: "hash a password", source: error.into() })
    }

    /// A permit to hash; `None` when too many are waiting or the wait was too long.
    async fn permit(&self, requester: Requester) -> Option<Permit> {
        self.queue.acquire(requester, self.queue_deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Requester = Requester::operator();

    fn pool(threads: usize, max_waiting: usize) -> HashPool {
        let options = HashPoolOptions {
            threads: threads.try_into().unwrap(),
            max_waiting,
            queue_deadline: Duration::from_millis(30),
        };
        HashPool::new(Argon2Params::insecure_for_tests(), options)
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn one_core_is_left_for_everybody_else() {
        for (cores, hashing) in [(1, 1), (2, 1), (3, 2), (64, 63)] {
            assert_eq!(all_but_one(NonZeroUsize::new(cores).unwrap()).get(), hashing, "{cores}");
        }
    }

    #[tokio::test]
    async fn verifies_what_it_hashed_and_nothing_for_nobody() {
        let pool = pool(1, 8);
        let hash = pool.hash(secret("p"), WHO).await.unwrap();
        assert_eq!(pool.verify(secret("p"), Some(hash.clone()), WHO).await.unwrap(), Verdict::Right);
        assert_eq!(pool.verify(secret("q"), Some(hash), WHO).await.unwrap(), Verdict::Wrong);
        assert_eq!(pool.verify(secret("the password of nobody"), None, WHO).await.unwrap(), Verdict::Wrong);
    }

    /// Verifying it would take days, or memory that there is not.
    #[tokio::test]
    async fn a_hash_of_absurd_cost_holds_nobody_up() {
        let pool = pool(1, 8);
        for costly in [
            "$2b$31$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K",
            "$argon2id$v=19$m=4194304,t=4294967295,p=1$nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho",
        ] {
            let hash = Some(PasswordHash::new(costly));
            assert_eq!(pool.verify(secret("p"), hash.clone(), WHO).await.unwrap(), Verdict::Wrong);
            let next = pool.hash_after(secret("p"), hash, WHO).await.unwrap();
            assert_eq!(pool.verify(secret("p"), Some(next), WHO).await.unwrap(), Verdict::Right);
        }
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_turned_away() {
        let pool = pool(1, 8);
        let busy = pool.permit(WHO).await.unwrap();
        let refused = pool.hash(secret("p"), WHO).await.unwrap_err();
        assert!(matches!(refused, Error::Busy { retry_after } if retry_after == Duration::from_millis(30)));
        drop(busy);
        assert!(pool.hash(secret("p"), WHO).await.is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_turns_away_at_once() {
        let pool = pool(1, 0);
        let _busy = pool.permit(WHO).await.unwrap();
        let asked = tokio::time::Instant::now();
        assert!(pool.hash(secret("p"), WHO).await.is_err());
        assert!(asked.elapsed() < Duration::from_millis(25));
    }

    #[tokio::test]
    async fn a_request_that_goes_away_keeps_its_turn_until_the_hash_is_done() {
        let pool = pool(1, 8);
        let (started, go) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
        let (job_started, job_go) = (started.clone(), go.clone());
        let hashing = pool.clone();
        let request = tokio::spawn(async move {
            let work = move |_: &HashPool| {
                job_started.wait();
                job_go.wait();
            };
            hashing.run(WHO, work).await
        });
        tokio::task::spawn_blocking(move || started.wait()).await.unwrap();
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(pool.queue.free(), 0);
        go.wait();
    }
}
