//! The binary, as a process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod indexer;

use secretscan_testkit::service::behaves;

#[tokio::test]
async fn it_comes_up_and_stops_as_a_service_does() {
    behaves(env!("CARGO_BIN_EXE_secretscan-repo-agent"), &[]).await;
}
