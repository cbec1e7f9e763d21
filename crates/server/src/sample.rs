//! Sample data for each page, so that a replaced template that fails is found before anybody meets it.

use minijinja::{Environment, Error, Value, context};

/// Renders every page as it is at first, and with everything that it may be given.
pub(crate) fn render_all(templates: &Environment<'_>) -> Result<(), Error> {
    for (name, samples) in pages() {
        let template = templates.get_template(name)?;
        for sample in samples {
            template.render(sample)?;
        }
    }
    Ok(())
}

fn pages() -> [(&'static str, Vec<Value>); 5] {
    let form = || {
        context! {
            csrf_field => "csrf_token",
            csrf_token => "sample",
            email => "ann@example.com",
            name => "Ann",
            next => "/orders?page=2",
            notice => "A notice.",
            failed => "It did not work.",
            error => "An error.",
            code => "invalid_email",
            remember => true,
            again => true,
        }
    };
    let error = |status: u16| {
        context! {
            status,
            message => "Something is wrong.",
            retry => "/account",
            request_id => "0123456789abcdef",
            wait => "2 seconds",
        }
    };
    [
        ("login.html", vec![context! {}, form()]),
        ("register.html", vec![context! {}, form()]),
        ("account.html", vec![account("password"), account("account"), account("name"), account("links")]),
        ("error.html", [400, 401, 403, 404, 429, 500, 503].map(error).to_vec()),
        ("away.html", vec![context! { location => "https://provider.example.com/authorize?x=y" }]),
    ]
}

/// The account page with an error in one of its forms.
fn account(form: &str) -> Value {
    let session = |current: bool| {
        context! {
            device => "Firefox on Linux",
            seen => "2 hours ago",
            handle => "0123456789abcdef0123456789abcdef",
            current,
            last_seen_at => "2026-01-31T12:00:00Z",
            address => "192.0.2.1",
        }
    };
    let link = context! {
        id => "sample",
        label => "Example",
        email => "ann@example.com",
        linked_at => "2026-01-31T12:00:00Z",
        since => "in January",
    };
    let sessions = vec![session(true), session(false)];
    let unlinked = vec![context! { name => "other", label => "Other" }];
    context! {
        csrf_field => "csrf_token",
        csrf_token => "sample",
        user => context! { email => "ann@example.com", name => (form != "name").then_some("Ann") },
        sessions,
        more_sessions => 3,
        has_password => form != "account",
        links => vec![link],
        unlinked,
        notice => "A notice.",
        error => "An error.",
        form,
        again => true,
    }
}
