//! Comparing a typed password with what is stored, in a time that does not tell what is stored.

use std::time::Duration;

use hallpass_session::Secret;
use tokio::time::Instant;

use crate::{Auth, Error, HashCost, PasswordHash, Requester, User, Verdict, email::login_form};

/// How many accounts are looked at for what their hashes cost.
const SAMPLE: usize = 1000;

/// The outcome of a comparison.
pub(crate) struct Verified {
    pub(crate) verdict: Verdict,
    due: Instant,
}

impl Verified {
    /// The outcome where nothing was compared.
    pub(crate) fn nothing() -> Self {
        Self { verdict: Verdict::Wrong, due: Instant::now() }
    }

    /// Waits until a refusal tells nothing by when it comes.
    pub(crate) async fn refusal(&self) {
        tokio::time::sleep_until(self.due).await;
    }
}

impl Auth {
    /// Whether this is the user's password. The work of one hash is done, whether there is such a user, a password, a hash that can be
    /// verified, or none of them. Whoever is refused waits for [`Verified::refusal`] first.
    pub(crate) async fn verify(
        &self,
        login: &str,
        user: Option<&User>,
        password: &Secret<String>,
        requester: Requester,
    ) -> Result<Verified, Error> {
        let (hash, exists) = self.compared(login, user);
        let (verdict, took) = self.timed(password.clone(), hash, requester).await?;
        let verdict = if exists { verdict } else { Verdict::Wrong };
        Ok(Verified { verdict, due: Instant::now() + self.inner().costs.floor().saturating_sub(took) })
    }

    /// Verifies a hash and notes how long that took.
    async fn timed(
        &self,
        password: Secret<String>,
        hash: PasswordHash,
        requester: Requester,
    ) -> Result<(Verdict, Duration), Error> {
        let cost = HashCost::of(&hash).ok();
        let (verdict, took) = self.inner().hashing.verify_timed(password, Some(hash), requester).await?;
        if let Some(cost) = cost {
            self.inner().costs.observe(cost, took);
        }
        Ok((verdict, took))
    }

    /// What a password is compared with for this login, and whether that is the user's own hash.
    fn compared(&self, login: &str, user: Option<&User>) -> (PasswordHash, bool) {
        match user.and_then(Self::usable_hash) {
            Some(hash) => (hash, true),
            None => (self.inner().costs.choose(&login_form(login)).dummy(), false),
        }
    }

    /// The user's hash; `None` also for one that cannot be verified, which the log says.
    fn usable_hash(user: &User) -> Option<PasswordHash> {
        let hash = user.password.as_ref()?;
        match HashCost::of(hash) {
            Ok(_) => Some(hash.clone()),
            Err(reason) => {
                tracing::error!(event = "password_hash_refused", user = %user.id, ?hash, %reason);
                None
            }
        }
    }

    /// Looks at some accounts for what their hashes cost, so that a sign-in without an account takes as long as one with. Call it at
    /// start and now and then; until the first time, only the costs of new hashes and of those that were signed in with are known.
    pub async fn learn_hash_costs(&self) -> Result<(), Error> {
        let users = self.inner().users.sample(SAMPLE).await?;
        let hashes = users.iter().filter_map(|user| user.password.as_ref());
        for cost in self.inner().costs.learn(hashes) {
            self.timed(Secret::new(String::new()), cost.dummy(), Requester::operator()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use hallpass_session::Timestamp;

    use super::*;
    use crate::{AuthOptions, Email, MemoryRecords, MemoryUsers, UserStore};

    const NOW: Timestamp = Timestamp::from_millis(1_795_424_473_000);
    const BCRYPT: &str = "YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K";
    const ARGON2: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho";

    fn user(login: &str, password: Option<&str>) -> User {
        User { password: password.map(PasswordHash::new), ..User::new(Email::verbatim(login), NOW) }
    }

    /// Six in ten accounts came with bcrypt of cost 10, three with cost 12, one has signed in since.
    fn hash_of(number: usize) -> String {
        match number % 10 {
            0..6 => format!("$2b$10${BCRYPT}"),
            6..9 => format!("$2b$12${BCRYPT}"),
            _ => ARGON2.to_owned(),
        }
    }

    async fn auth() -> Auth {
        let users = MemoryUsers::new();
        for number in 0..900 {
            users.create(&user(&format!("u{number}@example.com"), Some(&hash_of(number)))).await.unwrap();
        }
        let options = AuthOptions { secret: Secret::new(b"of this test".to_vec()), ..AuthOptions::default() };
        let auth = Auth::new(Arc::new(users), Arc::new(MemoryRecords::new()), options).unwrap();
        auth.learn_hash_costs().await.unwrap();
        auth
    }

    /// How often each cost is worked for, among logins of this kind.
    fn work(auth: &Auth, of: impl Fn(usize) -> (String, Option<User>)) -> BTreeMap<HashCost, usize> {
        let mut counts = BTreeMap::new();
        for (login, user) in (0..9000).map(of) {
            let (hash, _) = auth.compared(&login, user.as_ref());
            *counts.entry(HashCost::of(&hash).unwrap()).or_default() += 1;
        }
        counts
    }

    #[tokio::test]
    async fn a_login_without_a_usable_hash_costs_what_accounts_cost() {
        let auth = auth().await;
        let login = |number: usize| format!("someone{number}@example.com");
        let existing =
            work(&auth, |number| (login(number), Some(user(&login(number), Some(&hash_of(number))))));
        let with = |password: Option<&'static str>| {
            work(&auth, move |number| (login(number), Some(user(&login(number), password))))
        };
        let missing = work(&auth, |number| (login(number), None));
        for (what, counts) in [
            ("missing", &missing),
            ("without a password", &with(None)),
            (
                "of an absurd cost",
                &with(Some("$2b$31$YbAdT18GFdNsG9hoEB94zeinAtcwOZTlloOj7zEIR9E9amKFSKY/K")),
            ),
            ("of an unknown kind", &with(Some("sha1$deadbeef"))),
        ] {
            assert_eq!(counts.keys().collect::<Vec<_>>(), existing.keys().collect::<Vec<_>>(), "{what}");
            // Two degrees of freedom: above 27.6 once in a million.
            let chi: f64 = existing.iter().map(|(cost, expected)| deviation(counts[cost], *expected)).sum();
            assert!(chi < 27.6, "{what}: {chi} {counts:?}");
            assert_eq!(counts, &missing, "{what}: an account without a usable hash is told from no account");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of thousands")]
    fn deviation(found: usize, expected: usize) -> f64 {
        (found as f64 - expected as f64).powi(2) / expected as f64
    }

    #[tokio::test]
    async fn spellings_of_one_login_cost_the_same() {
        let auth = auth().await;
        for number in 0..200 {
            let cost = |login: &str| HashCost::of(&auth.compared(login, None).0).unwrap();
            let plain = cost(&format!("n{number}@example.com"));
            assert_eq!(plain, cost(&format!(" N{number}@EXAMPLE.com")), "{number}");
        }
    }
}
