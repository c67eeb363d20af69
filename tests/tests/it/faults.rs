//! A short fault run. The long one is `cargo run --release -p secretscan-tests --bin faults`.

use std::time::Duration;

use secretscan_tests::faults::{Options, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_run_of_faults_loses_repeats_and_leaves_nothing() {
    let options =
        Options { seed: 1, repositories: 20, duration: Duration::from_secs(25), ..Options::default() };
    let outcome = run(&options, |line| println!("{line}")).await.unwrap();
    println!("{outcome}");
}
