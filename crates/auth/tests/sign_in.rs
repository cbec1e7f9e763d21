//! Signing in, as an application and its browsers see it.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::{num::NonZeroUsize, time::Duration};

use common::{App, BCRYPTJS, PASSWORD, app, app_with, credentials};
use hallpass_auth::{
    Argon2Params, AuthOptions, Change, HashPoolOptions, Limit, LoginKey, PasswordHash, ThrottleOptions,
    UserStore,
};
use hallpass_session::SessionStore;
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn the_id_is_new_the_old_one_dead_and_a_visitors_data_kept() {
    let app = app().await;
    let visitor = app.post("/cart/apple", "", "").await.cookie();
    let login = app.log_in("ann", &visitor).await;
    assert_ne!(login.cookie(), visitor);
    assert_eq!(app.get("/who", &visitor).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.get("/cart", &visitor).await.body, "null");
    assert_eq!(app.get("/cart", &login.cookie()).await.body, "\"apple\"", "the cart came along");
}

#[tokio::test]
async fn a_count_that_cannot_be_given_back_turns_nobody_away() {
    let app = app().await;
    app.records.get_stuck(true);
    let login = app.log_in("ann", "").await;
    assert_eq!(login.status, StatusCode::OK);
    assert_eq!(app.get("/who", &login.cookie()).await.body, "ann@example.com");
}

#[tokio::test]
async fn whoever_has_to_wait_learns_nothing_from_the_right_password() {
    let limit = Limit { free: 3, ..ThrottleOptions::default().account };
    let throttle = ThrottleOptions { account: limit, ..ThrottleOptions::default() };
    let app = app_with(AuthOptions { throttle, ..common::options() }).await;
    for (guess, expected) in [(1, 400), (2, 400), (3, 400), (4, 429)] {
        let answer = app.post("/login", "", &credentials("ann", "wrong")).await;
        assert_eq!(answer.status.as_u16(), expected, "{guess}");
    }
    let answer = app.post("/login", "", &credentials("ann", PASSWORD)).await;
    assert_eq!((answer.status.as_u16(), answer.set_cookie), (429, None), "nor does the right one tell");
}

#[tokio::test]
async fn another_user_never_inherits_the_former_ones_data() {
    let app = app().await;
    let ann = app.log_in("ann", "").await.cookie();
    app.post("/cart/secret", &ann, "").await;
    let bob = app.log_in("bob", &ann).await.cookie();
    assert_eq!(app.get("/who", &bob).await.body, "bob@example.com");
    assert_eq!(app.get("/cart", &bob).await.body, "null");
    assert_eq!(app.get("/who", &ann).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn wrong_unknown_passwordless_and_disabled_look_the_same() {
    let app = app().await;
    app.auth.set_disabled(&app.user("bob").await, true, &*app.sessions, app.now()).await.unwrap();
    let eve = app.user("eve").await;
    let none = Change::Password { from: eve.password.clone(), to: None };
    app.users.change(&eve.id, &none).await.unwrap();
    for (name, password) in
        [("ann", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("eve", PASSWORD), ("", ""), ("ann", "")]
    {
        let answer = app.post("/login", "", &credentials(name, password)).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_REQUEST, "refused"), "{name}");
        assert_eq!(answer.set_cookie, None);
    }
}

#[tokio::test]
async fn a_disabled_or_deleted_user_is_out_at_once() {
    let app = app().await;
    let (ann, bob) = (app.log_in("ann", "").await.cookie(), app.log_in("bob", "").await.cookie());
    // Even if the sessions could not be deleted, they open nothing.
    app.users.change(&app.user("ann").await.id, &Change::Disabled(true)).await.unwrap();
    assert_eq!(app.get("/who", &ann).await.status, StatusCode::UNAUTHORIZED);
    app.users.delete(&app.user("bob").await.id).await.unwrap();
    assert_eq!(app.get("/who", &bob).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sessions_from_before_a_change_of_password_are_void_even_if_nothing_deletes_them() {
    let app = app().await;
    let ann = app.log_in("ann", "").await.cookie();
    let user = app.user("ann").await;
    let change = Change::Password { from: user.password.clone(), to: user.password.clone() };
    app.users.change(&user.id, &change).await.unwrap();
    assert_eq!(app.get("/who", &ann).await.status, StatusCode::UNAUTHORIZED);
    let again = app.log_in("ann", "").await.cookie();
    assert_eq!(app.get("/who", &again).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_bcryptjs_wrote_is_verified_and_upgraded_at_the_next_login() {
    let app = app().await;
    let ann = app.user("ann").await;
    // bcryptjs 3.0, hashSync("correct horse battery staple", 10)
    let old = PasswordHash::new(common::BCRYPTJS);
    let change = Change::Rehash { from: ann.password.clone().unwrap(), to: old.clone() };
    app.users.change(&ann.id, &change).await.unwrap();
    assert_eq!(app.post("/login", "", &credentials("ann", "wrong")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(app.user("ann").await.password, Some(old), "a wrong password upgrades nothing");
    let cookie = app.log_in("ann", "").await.cookie();
    assert!(app.user("ann").await.password.unwrap().expose().starts_with("$argon2id$"));
    assert_eq!(app.get("/who", &cookie).await.status, StatusCode::OK, "an upgrade voids no session");
    app.log_in("ann", "").await.cookie();
}

/// Gives the account another stored hash, as an import does.
async fn store(app: &App, name: &str, hash: &str) {
    let user = app.user(name).await;
    let change = Change::Rehash { from: user.password.clone().unwrap(), to: PasswordHash::new(hash) };
    app.users.change(&user.id, &change).await.unwrap();
}

/// bcrypt ignores what follows 72 bytes, so the end that was typed here may be wrong: kept, it would lock the owner out.
#[tokio::test]
async fn a_mistyped_end_that_bcrypt_ignores_does_not_lock_the_owner_out() {
    let app = app().await;
    let (start, imported) = ("a".repeat(72), "$2b$04$A/2tpbD9vlGpIlqYs6TKQez..U6AQQzBg14Bu8XKZD244UzzvogbW");
    store(&app, "ann", imported).await;
    for typed in [format!("{start}WRONG-TAIL"), start.clone(), format!("{start}RIGHT-TAIL")] {
        let answer = app.post("/login", "", &credentials("ann", &typed)).await;
        assert_eq!(answer.status, StatusCode::OK, "{typed}");
        assert_eq!(app.user("ann").await.password, Some(PasswordHash::new(imported)), "{typed}");
    }
}

/// Whoever imports accounts, or can write to the table, would else stop all sign-ins for hours.
#[tokio::test]
async fn a_stored_hash_of_absurd_cost_is_a_wrong_password_and_holds_nobody_up() {
    let app = app().await;
    for costly in [
        "$2b$31$A/2tpbD9vlGpIlqYs6TKQez..U6AQQzBg14Bu8XKZD244UzzvogbW",
        "$argon2id$v=19$m=4194304,t=4294967295,p=1$nhXGy3YWmhpNoPQBjJtDNA$CTV9YTiYqmerSQccA0bu85xJaPEqL0fZ8+Z0lOmH0Ho",
        "sha1$of$another$application",
    ] {
        store(&app, "bob", costly).await;
        let answer = app.post("/login", "", &credentials("bob", PASSWORD)).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_REQUEST, "refused"), "{costly}");
        app.log_in("ann", "").await.cookie();
    }
}

#[tokio::test]
async fn an_unknown_user_costs_a_hash_like_a_known_one() {
    // One hash at once, which takes long; who comes second must wait for it, known or not, and is turned away.
    let app = app_with(AuthOptions {
        argon2: Argon2Params { memory_kib: 19_456, iterations: 60, parallelism: 1 },
        hashing: HashPoolOptions {
            threads: NonZeroUsize::MIN,
            queue_deadline: Duration::from_millis(1),
            max_waiting: 8,
        },
        ..AuthOptions::default()
    })
    .await;
    for name in ["ann", "nobody"] {
        let bobs = credentials("bob", "wrong");
        let (first, second) = tokio::join!(app.post("/login", "", &bobs), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            app.post("/login", "", &credentials(name, "wrong")).await
        });
        assert_eq!(
            (first.status, second.status),
            (StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE),
            "{name}"
        );
        assert!(second.headers.contains_key("retry-after"));
    }
}

/// Where hashes of two costs are stored, a cheap one is refused no sooner than a costly one. The clock stands still while hashes are
/// computed, so it shows the wait alone.
#[tokio::test(start_paused = true)]
async fn a_refusal_waits_until_it_could_be_the_costliest_hash() {
    let app = app().await;
    let ann = app.user("ann").await;
    let to = Some(PasswordHash::new(BCRYPTJS));
    app.users.change(&ann.id, &Change::Password { from: ann.password, to }).await.unwrap();
    let refused = async || {
        let before = tokio::time::Instant::now();
        let answer = app.post("/login", "", &credentials("bob", "wrong")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        before.elapsed()
    };
    assert_eq!(refused().await, Duration::ZERO, "nothing is known of the other hash yet");
    app.auth.learn_hash_costs().await.unwrap();
    assert!(refused().await > Duration::ZERO);
}

#[tokio::test]
async fn guesses_are_slowed_down_by_account_and_by_address() {
    let limit = |free| Limit {
        free,
        window: Duration::from_secs(900),
        first_wait: Duration::from_secs(30),
        max_wait: Duration::from_secs(900),
    };
    let throttle = ThrottleOptions { account: limit(3), address: limit(6), ..ThrottleOptions::default() };
    let app = app_with(AuthOptions { throttle, ..common::options() }).await;
    let guess = async |name: &str| app.post("/login", "", &credentials(name, "wrong")).await.status;
    for _ in 0..3 {
        assert_eq!(guess("ann").await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(guess("ann").await, StatusCode::TOO_MANY_REQUESTS, "the account waits");
    assert_eq!(app.log_in("bob", "").await.status, StatusCode::OK, "others do not");
    for name in ["x", "y"] {
        assert_eq!(guess(name).await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(
        guess("z").await,
        StatusCode::TOO_MANY_REQUESTS,
        "now the address waits, whatever the account"
    );
    app.clock.advance(Duration::from_secs(31));
    assert_eq!(app.log_in("ann", "").await.status, StatusCode::OK, "waiting is enough");
}

#[tokio::test]
async fn remember_me_survives_later_writes_and_a_change_of_password() {
    let app = app().await;
    let login = app.post("/login?remember", "", &credentials("ann", PASSWORD)).await;
    assert!(login.set_cookie.as_deref().unwrap().contains("Max-Age=2592000"));
    let written = app.post("/cart/apple", &login.cookie(), "").await;
    app.clock.advance(Duration::from_secs(20 * 24 * 3600));
    assert_eq!(app.get("/who", &login.cookie()).await.status, StatusCode::OK, "twenty days later");
    drop(written);
    for day in 1..=40 {
        app.clock.advance(Duration::from_secs(24 * 3600));
        let used = app.get("/who", &login.cookie()).await;
        if day <= 9 {
            let cookie = used.set_cookie.unwrap();
            assert!(cookie.contains("Max-Age="), "its use moves the browser's end too: {cookie}");
        } else {
            assert_eq!(used.status, StatusCode::UNAUTHORIZED, "never beyond the absolute timeout");
        }
    }
    let plain = app.log_in("ann", "").await.cookie();
    app.clock.advance(Duration::from_secs(25 * 3600));
    assert_eq!(app.get("/who", &plain).await.status, StatusCode::UNAUTHORIZED, "without, a day");
}

#[tokio::test]
async fn passports_key_is_read_and_written_as_passport_does() {
    let app = app_with(AuthOptions { login_key: LoginKey::passport(), ..common::options() }).await;
    let cookie = app.log_in("ann", "").await.cookie();
    assert_eq!(app.get("/who", &cookie).await.body, "ann@example.com");
    let id = app.user("ann").await.id;
    assert_eq!(
        app.get("/data", &cookie).await.body,
        json!({ "passport": { "user": id }, "hallpass": { "epoch": 0 } }).to_string()
    );
}

#[tokio::test]
async fn logging_out_everywhere_ends_all_sessions_of_this_user_only() {
    let app = app().await;
    let (one, two, bob) = (
        app.log_in("ann", "").await.cookie(),
        app.log_in("ann", "").await.cookie(),
        app.log_in("bob", "").await.cookie(),
    );
    let answer = app.post("/logout-everywhere", &one, "").await;
    assert!(answer.set_cookie.unwrap().contains("Max-Age=0"));
    for cookie in [&one, &two] {
        assert_eq!(app.get("/who", cookie).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.get("/who", &bob).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_login_that_began_before_a_change_of_password_opens_nothing() {
    let app = app_with(AuthOptions {
        argon2: Argon2Params { memory_kib: 19_456, iterations: 20, parallelism: 1 },
        ..AuthOptions::default()
    })
    .await;
    let user = app.user("ann").await;
    let change = Change::Password { from: user.password.clone(), to: user.password.clone() };
    let (login, ()) = tokio::join!(app.log_in("ann", ""), async {
        // The login has read the account by now, and is hashing.
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.users.change(&user.id, &change).await.unwrap();
    });
    if login.set_cookie.is_some() {
        assert_eq!(app.get("/who", &login.cookie()).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn logins_at_once_from_one_browser_all_stay_signed_in() {
    let app = app().await;
    let visitor = app.post("/cart/apple", "", "").await.cookie();
    let logins = (0..8).map(|_| {
        let (app, visitor) = (app.clone(), visitor.clone());
        tokio::spawn(async move { app.log_in("ann", &visitor).await.cookie() })
    });
    for login in logins.collect::<Vec<_>>() {
        let cookie = login.await.unwrap();
        assert_eq!(app.get("/who", &cookie).await.status, StatusCode::OK);
    }
}

/// Whom the application has verified itself is signed in as with a password: listed, fresh, and out with the next password.
#[tokio::test]
async fn whom_the_application_has_verified_is_signed_in_like_everybody() {
    let app = app().await;
    let ann = app.user("ann").await;
    let path = format!("/code/{}", ann.id);
    let visitor = app.post("/cart/apple", "", "").await.cookie();
    let answer = app.post(&path, &visitor, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "ann@example.com"));
    let cookie = answer.cookie();
    assert_ne!(cookie, visitor);
    assert_eq!(app.get("/cart", &visitor).await.body, "null", "the old id is dead");
    assert_eq!(app.get("/cart", &cookie).await.body, "\"apple\"", "the cart came along");
    assert_eq!(app.get("/who", &cookie).await.body, "ann@example.com");
    assert_eq!(app.get("/fresh", &cookie).await.status, StatusCode::OK);
    let listed = app.sessions.of_user(ann.id.as_str(), app.now()).await.unwrap();
    assert_eq!(listed.len(), 1, "it is listed under its user");
    // Somebody else's session passes nothing on.
    let bobs = app.post(&format!("/code/{}", app.user("bob").await.id), &cookie, "").await.cookie();
    assert_eq!(app.get("/cart", &bobs).await.body, "null");
    assert_eq!(app.get("/who", &cookie).await.status, StatusCode::UNAUTHORIZED);
    let cookie = app.post(&path, "", "").await.cookie();
    let change = Change::Password { from: ann.password, to: None };
    app.users.change(&ann.id, &change).await.unwrap();
    assert_eq!(app.get("/who", &cookie).await.status, StatusCode::UNAUTHORIZED, "out with the password");
}

#[tokio::test]
async fn who_is_disabled_or_missing_is_not_signed_in_by_the_applications_word() {
    let app = app().await;
    let ann = app.user("ann").await;
    app.auth.set_disabled(&ann, true, &*app.sessions, app.now()).await.unwrap();
    for user in [ann.id.as_str(), "nobody"] {
        let answer = app.post(&format!("/code/{user}"), "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_REQUEST, "Refused"), "{user}");
        assert_eq!(answer.set_cookie, None, "{user}");
    }
    app.users.break_down(true);
    let answer = app.post(&format!("/code/{}", ann.id), "", "").await;
    assert_eq!((answer.status, answer.set_cookie), (StatusCode::SERVICE_UNAVAILABLE, None));
}

#[tokio::test]
async fn enabling_a_disabled_account_revives_no_session() {
    let app = app().await;
    let ann = app.log_in("ann", "").await.cookie();
    let id = app.user("ann").await.id;
    for disabled in [true, false] {
        app.users.change(&id, &Change::Disabled(disabled)).await.unwrap();
        assert_eq!(app.get("/who", &ann).await.status, StatusCode::UNAUTHORIZED);
    }
    let again = app.log_in("ann", "").await.cookie();
    assert_eq!(app.get("/who", &again).await.status, StatusCode::OK);
}
