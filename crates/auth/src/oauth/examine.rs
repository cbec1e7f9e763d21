//! Asking a provider what signing in will ask, before anybody wants to: what an operator is told who has just configured it.

use hallpass_session::{Clock, Timestamp};
use serde_json::{Map, Value};
use url::Url;

use super::{
    ClientAuth, Endpoints, Entry, KeySet, OpenId, Providers, Reauth,
    attempt::Attempt,
    failure::{Problem, printable},
    fetch::{self, Answer, Fetch},
    id_token::SKEW,
    jwt,
    metadata::{self, Metadata},
    provider::Protocol,
    token::{STALE, UNKNOWN_CLIENT},
};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What: `metadata`, `keys`, `client`, `profile`, `settings`, `clock`.
    pub what: &'static str,
    /// What it means.
    pub verdict: Verdict,
    /// What was found, and what to do about it.
    pub detail: String,
}

/// What a [`Finding`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody will be stopped by this.
    Good,
    /// It may be meant so, or cannot be known from here.
    Doubtful,
    /// Signing in, or what the settings want, will fail.
    Bad,
}

/// A code that nobody gave out: whoever asks with it learns only whether the provider knows the client.
const NO_CODE: &str = "hallpass-check-config";

/// What was found so far, and how the provider's clock differs.
struct Report<'a> {
    entry: &'a Entry,
    fetch: &'a dyn Fetch,
    clock: &'a dyn Clock,
    findings: Vec<Finding>,
    dates: Option<(Timestamp, Timestamp)>,
}

impl Providers {
    /// Asks the provider `name` for its metadata and keys, whether it knows this application, and the time. It changes nothing there.
    pub async fn examine(&self, name: &str, clock: &dyn Clock) -> Vec<Finding> {
        let Some(entry) = self.entry(name) else { return Vec::new() };
        let mut report = Report { entry, fetch: self.fetch(), clock, findings: Vec::new(), dates: None };
        match &entry.provider.protocol {
            Protocol::OpenId(openid) => report.openid(openid).await,
            Protocol::OAuth2(oauth) => {
                let endpoints = Endpoints {
                    authorize: oauth.authorize_url.clone(),
                    token: oauth.token_url.clone(),
                    secret_in_form: true,
                    metadata: None,
                };
                report.client(&endpoints).await;
                report.profile(&oauth.userinfo_url).await;
            }
        }
        report.time();
        report.findings
    }
}

impl Report<'_> {
    fn add(&mut self, what: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.findings.push(Finding { what, verdict, detail: detail.into() });
    }

    /// The answer, if there is one; its date is noted.
    fn heard(&mut self, what: &'static str, answer: Result<Answer, Problem>) -> Option<Answer> {
        match answer {
            Ok(answer) => {
                self.dates = answer.date.map(|date| (date, self.clock.now())).or(self.dates);
                Some(answer)
            }
            Err(problem) => {
                self.add(what, Verdict::Bad, problem.detail);
                None
            }
        }
    }

    async fn openid(&mut self, openid: &OpenId) {
        let Some((object, metadata)) = self.metadata(openid).await else { return };
        self.keys(&metadata.jwks_uri, &object).await;
        let endpoints = Endpoints {
            authorize: metadata.authorization_endpoint.clone(),
            token: metadata.token_endpoint.clone(),
            secret_in_form: metadata.wants_secret_in_form(),
            metadata: Some(metadata),
        };
        self.client(&endpoints).await;
        self.settings(&object);
    }

    async fn metadata(&mut self, openid: &OpenId) -> Option<(Map<String, Value>, Metadata)> {
        let url = match metadata::place_of(openid) {
            Ok(url) => url,
            Err(problem) => {
                self.add("metadata", Verdict::Bad, problem.detail);
                return None;
            }
        };
        let answer = fetch::get(self.fetch, &url, None).await;
        let answer = self.heard("metadata", answer)?;
        let status = answer.status;
        let read = answer.object(&url).map_err(|_| {
            let place = fetch::place(&url);
            format!("{place} answered {status}, but no OpenID metadata: is that the issuer's address?")
        });
        let read = read.and_then(|object| {
            let metadata = Metadata::read(object.clone(), &url, openid).map_err(|problem| problem.detail)?;
            Ok((object, metadata))
        });
        match read {
            Ok(read) => {
                self.add("metadata", Verdict::Good, format!("the issuer is {}", read.1.issuer));
                Some(read)
            }
            Err(detail) => {
                self.add("metadata", Verdict::Bad, detail);
                None
            }
        }
    }

    async fn keys(&mut self, url: &Url, metadata: &Map<String, Value>) {
        let answer = fetch::get(self.fetch, url, None).await;
        let Some(answer) = self.heard("keys", answer) else { return };
        let place = fetch::place(url);
        let signing = texts(metadata, "id_token_signing_alg_values_supported");
        let unknown = |names: &Vec<&str>| !names.iter().any(|name| jwt::is_known(name));
        let (verdict, detail) =
            match (KeySet::parse(&answer.body).map(|keys| keys.len()), signing.filter(unknown)) {
                (None, _) => (Verdict::Bad, format!("{place} answered {}, but no keys", answer.status)),
                (Some(0), _) => {
                    let kinds = "RSA, P-256, P-384, Ed25519";
                    (
                        Verdict::Bad,
                        format!("of the keys at {place} none is of a kind that is known here: {kinds}"),
                    )
                }
                (_, Some(names)) => {
                    let names = names.join(", ");
                    (
                        Verdict::Bad,
                        format!(
                            "ID tokens are signed with {names} only; choose RS256 or ES256 at the provider"
                        ),
                    )
                }
                (Some(count), None) => (Verdict::Good, format!("{count} can be used")),
            };
        self.add("keys", verdict, detail);
    }

    /// Whether the provider knows this application: it must find fault with the code, and with nothing else.
    async fn client(&mut self, endpoints: &Endpoints) {
        let (attempt, _) = Attempt::new(&self.entry.provider.name, &self.entry.redirect_uri);
        let fields = vec![
            ("grant_type", "authorization_code"),
            ("code", NO_CODE),
            ("redirect_uri", attempt.redirect_uri.as_str()),
            ("code_verifier", attempt.verifier.as_str()),
        ];
        let answer = self.entry.answer(self.fetch, endpoints, fields, self.clock.now()).await;
        let Some(answer) = self.heard("client", answer) else { return };
        let place = fetch::place(&endpoints.token);
        let said = |name: &str| printable(answer.body.get(name).and_then(Value::as_str).unwrap_or_default());
        let error = said("error");
        let (verdict, detail) = if UNKNOWN_CLIENT.contains(&error.as_str()) {
            let description = said("error_description");
            (Verdict::Bad, format!("{place} said {error}: {description}; check client_id, {}", self.proof()))
        } else if STALE.contains(&error.as_str()) {
            (Verdict::Good, "the provider knows this application".to_owned())
        } else {
            let answered = format!("{place} answered {} {error}", answer.status);
            (
                Verdict::Doubtful,
                format!(
                    "{answered} to a code that nobody gave out: whether it knows this application is not told"
                ),
            )
        };
        self.add("client", verdict, detail);
    }

    /// What this application proves itself with.
    fn proof(&self) -> &'static str {
        match self.entry.provider.client_auth {
            ClientAuth::None => "and whether the provider takes applications without a secret (client_auth)",
            ClientAuth::PrivateKey(_) => "and that it knows the public half of private_key (jwks_uri)",
            ClientAuth::Apple(_) => "team_id, key_id and the key",
            _ => "client_secret and client_auth",
        }
    }

    async fn profile(&mut self, url: &Url) {
        let answer = fetch::get(self.fetch, url, None).await;
        let Some(answer) = self.heard("profile", answer) else { return };
        let place = fetch::place(url);
        if answer.status.as_u16() == 404 {
            self.add("profile", Verdict::Bad, format!("{place} answered 404: check userinfo_url"));
        } else {
            self.add("profile", Verdict::Good, format!("{place} answers"));
        }
    }

    /// What the settings want of the provider, and what it says of itself.
    fn settings(&mut self, metadata: &Map<String, Value>) {
        let provider = &self.entry.provider;
        let lacks =
            |list: &str, wanted: &str| texts(metadata, list).is_some_and(|names| !names.contains(&wanted));
        let mut found = Vec::new();
        if provider.end_session && !metadata.contains_key("end_session_endpoint") {
            found.push((
                Verdict::Bad,
                "end_session is on, but it has no end_session_endpoint; switch it off".to_owned(),
            ));
        }
        for scope in provider.scopes.iter().filter(|scope| lacks("scopes_supported", scope)) {
            found.push((
                Verdict::Doubtful,
                format!("it does not name the scope {scope} among those it knows"),
            ));
        }
        if provider.reauth == Reauth::Prove && lacks("claims_supported", "auth_time") {
            let detail = "it does not name auth_time among its claims; if signing in again fails, set reauth to ask or never";
            found.push((Verdict::Doubtful, detail.to_owned()));
        }
        if lacks("code_challenge_methods_supported", "S256") {
            found.push((Verdict::Doubtful, "it does not name S256 among its ways of PKCE".to_owned()));
        }
        for (verdict, detail) in found {
            self.add("settings", verdict, detail);
        }
    }

    fn time(&mut self) {
        let Some((theirs, ours)) = self.dates else { return };
        let (ahead, behind) = (ours.since(theirs), theirs.since(ours));
        let by = ahead.max(behind);
        if by < SKEW {
            return self.add("clock", Verdict::Good, "both clocks say the same");
        }
        let way = if ahead > behind { "ahead of" } else { "behind" };
        let detail = format!(
            "this machine's clock is {} seconds {way} the provider's; run a time service such as chrony",
            by.as_secs()
        );
        self.add("clock", Verdict::Bad, detail);
    }
}

/// The texts of a list.
fn texts<'a>(object: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    Some(object.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
}
