//! `hallpass user list`, `search` and `duplicates`.

use std::collections::BTreeMap;

use hallpass_auth::User;
use serde_json::{Value, json};

use crate::cli::{
    Desk,
    output::{Failure, Output},
};

/// How many users are read at once.
const PAGE: usize = 500;

const COLUMNS: [&str; 6] = ["email", "name", "roles", "disabled", "created_at", "id"];

pub(super) async fn all(output: &Output, desk: &Desk) -> Result<(), Failure> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    each(desk, |user| rows.push(row(user))).await?;
    output.list(&COLUMNS, &rows);
    Ok(())
}

/// The accounts with this text. All are read: no store has an index for parts of words.
pub(super) async fn search(output: &Output, desk: &Desk, text: &str) -> Result<(), Failure> {
    let text = text.trim().to_lowercase();
    let has = |field: &str| field.to_lowercase().contains(&text);
    let mut rows: Vec<Vec<Value>> = Vec::new();
    each(desk, |user| {
        let address = has(user.email.as_str()) || user.email.grouping_key().contains(&text);
        if address || user.name.as_deref().is_some_and(has) || has(user.id.as_str()) {
            rows.push(row(user));
        }
    })
    .await?;
    output.list(&COLUMNS, &rows);
    Ok(())
}

/// Goes through all accounts.
async fn each(desk: &Desk, mut found: impl FnMut(&User)) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = desk.stores.users.list(after.as_ref(), PAGE).await.map_err(Failure::failed)?;
        page.iter().for_each(&mut found);
        // Fewer than asked for is not the end: accounts that cannot be read are left out.
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.email),
            None => return Ok(()),
        }
    }
}

/// Accounts whose addresses are one by today's rules. They go on working; a new one of that address is not made.
pub(super) async fn duplicates(output: &Output, desk: &Desk) -> Result<(), Failure> {
    let mut by_address: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
    each(desk, |user| {
        let address = user.email.grouping_key();
        let row =
            vec![json!(address), json!(user.email.as_str()), json!(user.created.to_string()), json!(user.id)];
        by_address.entry(address).or_default().push(row);
    })
    .await?;
    by_address.retain(|_, accounts| accounts.len() > 1);
    let rows: Vec<Vec<Value>> = by_address.into_values().flatten().collect();
    output.list(&["address", "email", "created_at", "id"], &rows);
    Ok(())
}

fn row(user: &User) -> Vec<Value> {
    vec![
        json!(user.email.as_str()),
        json!(user.name),
        json!(user.roles),
        json!(user.disabled),
        json!(user.created.to_string()),
        json!(user.id),
    ]
}
