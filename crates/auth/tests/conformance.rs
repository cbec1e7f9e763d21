//! The memory stores keep the contracts.

use std::sync::Arc;

use hallpass_auth::{MemoryRecords, MemoryUsers, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn memory_users() {
    conformance::users(Arc::new(MemoryUsers::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_records() {
    conformance::records(Arc::new(MemoryRecords::new())).await;
}
