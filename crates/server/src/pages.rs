//! The pages: templates compiled at start, ours or the operator's. They work without JavaScript.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::response::{Html, IntoResponse, Response};
use hallpass_auth::{CSRF_FIELD, LoginKind, PasswordFormat};
use hallpass_session::{Session, hex};
use http::{HeaderValue, StatusCode};
use minijinja::{Environment, Value, context};
use sha2::{Digest, Sha256};

use crate::{
    config::Config,
    csrf,
    error::{ApiError, wait},
    sample,
};

/// What can be replaced: every file of `pages.templates` by its name here.
const TEMPLATES: &[(&str, &str)] = &[
    ("base.html", include_str!("../templates/base.html")),
    ("login.html", include_str!("../templates/login.html")),
    ("register.html", include_str!("../templates/register.html")),
    ("account.html", include_str!("../templates/account.html")),
    ("error.html", include_str!("../templates/error.html")),
    ("providers.html", include_str!("../templates/providers.html")),
    ("away.html", include_str!("../templates/away.html")),
];

/// Where files lie that are the same for everybody.
pub(crate) const ASSETS: &str = "/assets/";

/// When to try again after a 503 that names no time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// No password of more characters fits into the 72 bytes of bcrypt.
const BCRYPT_LENGTH: usize = 72;

const STYLE_FILE: &str = "style.css";
const STYLE: &str = include_str!("../templates/style.css");

/// The compiled templates.
pub(crate) struct Pages {
    templates: Environment<'static>,
    style: String,
    style_name: String,
}

/// The request that an error page is about.
pub(crate) struct Trouble {
    /// Its name in the log.
    pub(crate) request_id: Option<HeaderValue>,
    /// The address to try again.
    pub(crate) retry: String,
}

/// The pages cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A replaced file cannot be read.
    #[error("cannot read the template {path:?}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that replaces nothing.
    #[error("{path:?} is no template, so nothing would show it; the templates are {}", known_files())]
    Unknown {
        /// Which file.
        path: PathBuf,
    },
    /// A replaced template shows what no page has.
    #[error(
        "the template {template:?} uses {name:?}, which no page has; compare it with the built-in template"
    )]
    Variable {
        /// Which template.
        template: &'static str,
        /// The variable's name.
        name: String,
    },
    /// A replaced template is broken.
    #[error("a template cannot be used: {0}")]
    Template(#[from] minijinja::Error),
}

impl Pages {
    pub(crate) fn new(config: &Config) -> Result<Self, PagesError> {
        let folder = config.templates.as_deref();
        let mut templates = Environment::new();
        for (name, ours) in TEMPLATES {
            templates.add_template_owned(*name, read(folder, name, ours)?)?;
        }
        let style = read(folder, STYLE_FILE, STYLE)?;
        let style_name = format!("style-{}.css", hex(&Sha256::digest(style.as_bytes())[..8]));
        // `public_url` holds nothing that must be escaped.
        let base = config.base_path();
        templates.add_global("base", Value::from_safe_string(base.to_owned()));
        templates.add_global("style", format!("{base}{ASSETS}{style_name}"));
        templates.add_global("service", config.service_name.clone());
        templates.add_global("registration_open", config.registration_open);
        let providers = config.providers.iter();
        let shown = providers.map(|provider| context! { name => &provider.name, label => &provider.label });
        templates.add_global("providers", shown.collect::<Vec<Value>>());
        templates.add_global("min_length", config.auth.password.min_length);
        add_users(&mut templates, config);
        if let Some(folder) = folder {
            check_files(folder)?;
            check_variables(&templates)?;
        }
        Ok(Self { templates, style, style_name })
    }

    /// Renders each page with sample data: what fails there would fail for people.
    pub(crate) fn check(&self) -> Result<(), PagesError> {
        Ok(sample::render_all(&self.templates)?)
    }

    pub(crate) fn style(&self) -> &str {
        &self.style
    }

    pub(crate) fn style_name(&self) -> &str {
        &self.style_name
    }

    /// A page as a response. In token mode its forms carry a token.
    pub(crate) fn render(
        &self,
        session: &Session,
        status: StatusCode,
        template: &str,
        context: Value,
    ) -> Result<Response, ApiError> {
        let token = csrf::token(session);
        let page = self.page(template, context! { csrf_field => CSRF_FIELD, csrf_token => token, ..context });
        page.map(|page| (status, Html(page)).into_response()).ok_or_else(broken)
    }

    /// A page without anything of its own that leads on to `location` at once. It needs no script, and the browser counts the request as
    /// coming from this site.
    pub(crate) fn away(&self, location: &str) -> Result<Response, ApiError> {
        let page = self.page("away.html", context! { location });
        page.map(|page| Html(page).into_response()).ok_or_else(broken)
    }

    /// The page that says what went wrong.
    pub(crate) fn error(&self, error: &ApiError, trouble: &Trouble) -> String {
        let (status, message) = (error.status.as_u16(), error.message.as_ref());
        let passes = error.status.is_server_error() || matches!(status, 408 | 429);
        let retry = passes.then_some(&trouble.retry);
        let request_id = trouble.request_id.as_ref().and_then(|id| id.to_str().ok());
        let wait = wait(error.retry_after.unwrap_or(RETRY_AFTER));
        let page = self.page("error.html", context! { status, message, retry, request_id, wait });
        page.unwrap_or_else(|| error.message.replace('<', "&lt;"))
    }

    fn page(&self, template: &str, context: Value) -> Option<String> {
        let page = self.templates.get_template(template).and_then(|template| template.render(context));
        page.map_err(|error| tracing::error!(event = "template_failed", template, %error)).ok()
    }
}

fn broken() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong here; it has been logged",
    )
}

/// What the forms ask for depends on what accounts have.
fn add_users(templates: &mut Environment<'static>, config: &Config) {
    let map = config.stores.users.as_ref().map(|users| &users.map);
    let user_names = map.is_some_and(|map| map.logins.kind == LoginKind::UserName);
    let most = match map.map(|map| map.passwords) {
        Some(PasswordFormat::Bcrypt { .. }) => config.auth.password.max_length.min(BCRYPT_LENGTH),
        _ => config.auth.password.max_length,
    };
    templates.add_global("user_names", user_names);
    templates.add_global("names", map.is_none_or(|map| map.name.is_some()));
    templates.add_global("max_length", most);
}

fn known_files() -> String {
    let names = TEMPLATES.iter().map(|(name, _)| *name).chain([STYLE_FILE]);
    names.collect::<Vec<_>>().join(", ")
}

/// Refuses a page or style sheet that replaces none of ours: it would silently do nothing.
fn check_files(folder: &Path) -> Result<(), PagesError> {
    let failed = |source| PagesError::File { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default().to_ascii_lowercase();
        let is_page = ["html", "htm", "css", "j2", "jinja", "jinja2"].contains(&kind.as_str());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_known = name == STYLE_FILE || TEMPLATES.iter().any(|(known, _)| *known == name);
        if is_page && !is_known && !name.starts_with('.') {
            return Err(PagesError::Unknown { path });
        }
    }
    Ok(())
}

/// Refuses variables that no template of ours has: they would show as nothing, or fail when somebody opens the page.
fn check_variables(templates: &Environment<'static>) -> Result<(), PagesError> {
    let mut ours = Environment::new();
    let mut known: HashSet<String> = templates.globals().map(|(name, _)| name.to_owned()).collect();
    for (name, text) in TEMPLATES {
        ours.add_template(name, text)?;
        known.extend(ours.get_template(name)?.undeclared_variables(false));
    }
    for (template, _) in TEMPLATES {
        let used = templates.get_template(template)?.undeclared_variables(false);
        let mut odd: Vec<String> = used.into_iter().filter(|name| !known.contains(name)).collect();
        odd.sort();
        if let Some(name) = odd.into_iter().next() {
            return Err(PagesError::Variable { template, name });
        }
    }
    Ok(())
}

/// The operator's file if there is one, else ours.
fn read(folder: Option<&Path>, name: &str, ours: &str) -> Result<String, PagesError> {
    let Some(path) = folder.map(|folder| folder.join(name)) else { return Ok(ours.to_owned()) };
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ours.to_owned()),
        Err(source) => Err(PagesError::File { path, source }),
        Ok(text) => Ok(text),
    }
}
