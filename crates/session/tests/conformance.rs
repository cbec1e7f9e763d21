//! The memory store keeps the contract.

use std::sync::Arc;

use hallpass_session::{MemoryStore, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::run(Arc::new(MemoryStore::new())).await;
}
