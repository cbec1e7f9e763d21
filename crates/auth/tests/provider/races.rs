//! Somebody made an account with another person's address. Whatever they do at the moment at which the owner comes, nothing of it lasts.

use std::{pin::Pin, sync::Arc};

use hallpass_auth::{RecordStore, UserId, UserStore};
use hallpass_session::Clock;
use http::header::SET_COOKIE;
use serde_json::{Value, json};

use super::{
    app::{App, app_on, state, text},
    held::{Held, at_question},
};

/// Writes into the application's own table who the account is at the provider: the account's id, the provider's for the person.
pub type Connect = Box<dyn Fn(&str, &str) -> Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Both flows ask fewer questions than this.
const MOST: usize = 60;

/// The person at the provider who made the account, and its owner.
fn maker(verified: bool) -> Value {
    json!({ "sub": "bob", "email": "ann@example.com", "email_verified": verified })
}

fn owner() -> Value {
    json!({ "sub": "ann", "email": "ann@example.com", "email_verified": true })
}

/// An account that waits for its owner, and its maker's session.
struct Trap {
    app: App,
    id: String,
    session: String,
}

fn new_app(users: Arc<dyn UserStore>) -> App {
    app_on(Arc::new(Held(users)), |records| Arc::new(Held(records)), |_| {})
}

impl Trap {
    /// With a password.
    async fn registered(users: Arc<dyn UserStore>) -> Self {
        let app = new_app(users);
        let response = app.send("/register", "ann@example.com", "").await;
        let session = cookie(&response);
        Self { app, id: text(response).await, session }
    }

    /// Without one, opened by the maker's own account at the provider.
    async fn from_provider(users: Arc<dyn UserStore>) -> Self {
        let app = new_app(users);
        let response = app.come(maker(false)).await;
        let session = cookie(&response);
        Self { app, id: text(response).await, session }
    }

    /// The maker connects an account at the provider of their own; the answer from there is to come.
    async fn about_to_link(&self) -> impl Future<Output = String> + Send + use<> {
        let response = self.app.send("/begin-link", "", &self.session).await;
        let attempt = cookie(&response);
        let location = text(response).await;
        let code =
            self.app.provider.agree_as(&location, json!({ "sub": "bob", "email": "bob@evil.example" }));
        let (app, cookies) = (self.app.clone(), format!("{}; {attempt}", self.session));
        let query = format!("state={}&code={code}", state(&location));
        async move { text(app.send("/", &query, &cookies).await).await }
    }

    fn about_to_set_a_password(&self) -> impl Future<Output = String> + Send + use<> {
        let (app, session) = (self.app.clone(), self.session.clone());
        async move { text(app.send("/set-password", "", &session).await).await }
    }

    /// The maker signs in by the provider's own account of theirs; the answer, and the session's cookie.
    fn maker_comes(&self) -> impl Future<Output = (String, String)> + Send + use<> {
        let app = self.app.clone();
        async move {
            let response = app.come(json!({ "sub": "bob", "email": "bob@evil.example" })).await;
            let session = cookie(&response);
            (text(response).await, session)
        }
    }

    fn owner_comes(&self) -> impl Future<Output = String> + Send + use<> {
        let app = self.app.clone();
        async move { text(app.come(owner()).await).await }
    }

    /// The account is its owner's, who has come once more if somebody was at work at the first time, and nobody else's.
    async fn check(&self, what: &str) {
        let app = &self.app;
        assert_eq!(self.owner_comes().await, self.id, "{what}");
        assert_eq!(text(app.send("/who", "", &self.session).await).await, "nobody", "{what}");
        let user = app.auth.users().find(&UserId::new(&self.id)).await.unwrap().unwrap();
        assert_eq!(user.password, None, "{what}");
        let links = app.providers.links(&user, app.clock.now()).await.unwrap();
        assert_eq!(links.len(), 1, "{what}: {links:?}");
        let other = text(app.come(json!({ "sub": "bob", "email": "bob@evil.example" })).await).await;
        assert_ne!(other, self.id, "{what}");
    }
}

fn cookie(response: &axum::response::Response) -> String {
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let pairs: Vec<&str> = cookies.map(|one| one.to_str().unwrap().split(';').next().unwrap()).collect();
    pairs.join("; ")
}

/// The owner comes at every point of what the maker does, and the maker acts at every point of the owner's coming.
pub async fn nothing_of_the_maker_lasts(users: impl AsyncFn() -> Arc<dyn UserStore>) {
    linking(&users).await;
    setting_a_password(&users).await;
}

async fn linking(users: &impl AsyncFn() -> Arc<dyn UserStore>) {
    let mut met = [0; 2];
    for number in 1..MOST {
        let trap = Trap::registered(users().await).await;
        let (link, owner) = (trap.about_to_link().await, trap.owner_comes());
        let (_, reached) = at_question(number, link, async { drop(owner.await) }).await;
        met[0] += usize::from(reached);
        trap.check(&format!("the owner came before question {number} of a link")).await;
        let trap = Trap::registered(users().await).await;
        let (link, owner) = (trap.about_to_link().await, trap.owner_comes());
        let (_, reached) = at_question(number, owner, async { drop(link.await) }).await;
        met[1] += usize::from(reached);
        trap.check(&format!("a link was made before question {number} of the owner's coming")).await;
        if met.iter().all(|met| *met < number) {
            break;
        }
    }
    assert!(met.iter().all(|met| (5..MOST - 1).contains(met)), "not every point was met: {met:?}");
}

async fn setting_a_password(users: &impl AsyncFn() -> Arc<dyn UserStore>) {
    let mut met = [0; 2];
    for number in 1..MOST {
        let trap = Trap::from_provider(users().await).await;
        let (set, owner) = (trap.about_to_set_a_password(), trap.owner_comes());
        let (_, reached) = at_question(number, set, async { drop(owner.await) }).await;
        met[0] += usize::from(reached);
        trap.check(&format!("the owner came before question {number} of a new password")).await;
        let trap = Trap::from_provider(users().await).await;
        let (set, owner) = (trap.about_to_set_a_password(), trap.owner_comes());
        let (_, reached) = at_question(number, owner, async { drop(set.await) }).await;
        met[1] += usize::from(reached);
        trap.check(&format!("a password was set before question {number} of the owner's coming")).await;
        if met.iter().all(|met| *met < number) {
            break;
        }
    }
    assert!(met.iter().all(|met| (2..MOST - 1).contains(met)), "not every point was met: {met:?}");
}

/// The application's own table opens the account to its maker, `linked`: they have come that way before. The owner comes at every point of
/// the maker's coming, and the other way round.
pub async fn nothing_that_the_application_knows_lasts(
    users: impl AsyncFn() -> (Arc<dyn UserStore>, Connect),
) {
    for linked in [false, true] {
        let mut met = [0; 2];
        for number in 1..MOST {
            for turn in [0, 1] {
                let (users, connect) = users().await;
                let trap = Trap::registered(users).await;
                connect(&trap.id, "bob").await;
                if linked {
                    assert_eq!(trap.maker_comes().await.0, trap.id);
                }
                let (maker, owner) = (trap.maker_comes(), trap.owner_comes());
                let ((_, session), reached) = if turn == 0 {
                    at_question(number, maker, async { drop(owner.await) }).await
                } else {
                    let mut came = None;
                    let (_, reached) = at_question(number, owner, async { came = Some(maker.await) }).await;
                    (came.unwrap_or_default(), reached)
                };
                met[turn] += usize::from(reached);
                let what = format!("question {number}, turn {turn}, linked {linked}");
                trap.check(&what).await;
                assert_ne!(text(trap.app.send("/who", "", &session).await).await, trap.id, "{what}");
            }
            if met.iter().all(|met| *met < number) {
                break;
            }
        }
        assert!(met.iter().all(|met| (4..MOST - 1).contains(met)), "not every point was met: {met:?}");
    }
}

/// Who disconnects a provider is not let in by the application's own table again; `kept`: that table must say who they are.
pub async fn disconnecting_lasts(users: Arc<dyn UserStore>, connect: Connect, kept: bool) {
    let trap = Trap::registered(users).await;
    connect(&trap.id, "bob").await;
    let ((answer, _), app) = (trap.maker_comes().await, &trap.app);
    assert_eq!(answer, trap.id);
    let user = app.auth.users().find(&UserId::new(&trap.id)).await.unwrap().unwrap();
    let links = app.providers.links(&user, app.clock.now()).await.unwrap();
    let disconnect = format!("{} {}", trap.id, links[0].id);
    let unlinked = text(app.send("/unlink", &disconnect, &trap.session).await).await;
    assert_eq!(unlinked, if kept { "Kept" } else { "Done" });
    assert_eq!(trap.maker_comes().await.0 == trap.id, kept);
    assert_eq!(trap.owner_comes().await, if kept { "failed address_taken" } else { &trap.id });
    let password = app.auth.users().find(&user.id).await.unwrap().unwrap().password;
    assert_eq!(password.is_some(), kept, "who cannot have the account takes nothing away");
}

/// The account is deleted at every point of a link: no link stays, and the person at the provider can have an account.
pub async fn no_link_to_a_deleted_account_stays(users: impl AsyncFn() -> Arc<dyn UserStore>) {
    let mut met = 0;
    for number in 1..MOST {
        let trap = Trap::registered(users().await).await;
        let (app, link) = (trap.app.clone(), trap.about_to_link().await);
        let delete = async {
            let user = app.auth.users().find(&UserId::new(&trap.id)).await.unwrap().unwrap();
            let deleted = app.auth.delete_user(&user, &*app.sessions, app.clock.now()).await.unwrap();
            assert_eq!(deleted, hallpass_auth::Deleted::Done);
        };
        let (_, reached) = at_question(number, link, delete).await;
        if !reached {
            break;
        }
        met += 1;
        let links = app.records.export("oauth_link", None, 9, app.clock.now()).await.unwrap();
        assert_eq!(links, [], "before question {number}");
    }
    assert!((5..MOST - 1).contains(&met), "not every point was met: {met}");
}
