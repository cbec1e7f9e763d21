//! Two at work on one account at the same moment.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod provider;

use std::sync::Arc;

use hallpass_auth::{MemoryUsers, UserStore};
use provider::races::{no_link_to_a_deleted_account_stays, nothing_of_the_maker_lasts};

async fn users() -> Arc<dyn UserStore> {
    Arc::new(MemoryUsers::new())
}

#[tokio::test]
async fn whatever_the_maker_of_an_account_does_while_its_owner_comes_is_gone() {
    nothing_of_the_maker_lasts(users).await;
}

#[tokio::test]
async fn a_link_that_is_made_while_its_account_is_deleted_does_not_stay() {
    no_link_to_a_deleted_account_stays(users).await;
}
