//! What every service shares: configuration, tracing, the health endpoint, signals, drain. Knows no domain word.
//!
//! A `main.rs` names its service, its configuration and what to run; [`main`] does the rest, in this order: arguments,
//! configuration, tracing, health endpoint, signal handlers, run, drain. The price of the one order: nothing of a service
//! runs before its configuration is whole and right.

mod config;
mod health;
mod nice;
mod telemetry;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use prometheus_client::metrics::info::Info;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio_util::sync::CancellationToken;

pub use config::{ConfigError, LogFormat, ServiceSettings, Settings, load, parse};
pub use health::Health;
pub use nice::nicely;
pub use telemetry::request_span;

/// What a service is given to run with.
pub struct Context<C> {
    /// Its configuration.
    pub config: C,
    /// Fires when it is to stop; it has [`ServiceSettings::grace_s`] seconds from then.
    pub stop: CancellationToken,
    /// Where it says that it is ready, and registers its metrics.
    pub health: Health,
}

/// Why a service stopped by itself.
pub type RunError = Box<dyn std::error::Error + Send + Sync>;

/// Stopped on request.
const STOPPED: u8 = 0;
/// The configuration is wrong: EX_USAGE of sysexits.h.
const BAD_CONFIG: u8 = 64;
/// Anything else.
const FAILED: u8 = 1;

/// Runs a service: arguments `--config FILE`, `--help`, `--version`; configuration from the file, then from the
/// environment. `sample` is the documented configuration file, which `--help` shows.
pub fn main<C, R, F>(name: &'static str, sample: &str, run: R) -> ExitCode
where
    C: Settings,
    R: FnOnce(Context<C>) -> F,
    F: Future<Output = Result<(), RunError>>,
{
    let mut file: Option<std::path::PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                say(&help(name, sample));
                return STOPPED.into();
            }
            "--version" | "-V" => {
                say(&format!("secretscan-{name} {}", env!("CARGO_PKG_VERSION")));
                return STOPPED.into();
            }
            "--config" => match arguments.next() {
                Some(path) => file = Some(path.into()),
                None => return refuse("--config needs a file"),
            },
            other => return refuse(&format!("unknown argument {other:?}; --help shows what there is")),
        }
    }
    let file = file.or_else(|| std::env::var_os(config::FILE_VARIABLE).map(Into::into));
    let config: C = match load(file.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) => return refuse(&chain(&error)),
    };
    let settings = config.service().clone();
    // What is in memory is nobody's business, least of all after a crash. Children inherit it.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let kept_in = setrlimit(Resource::Core, none);
    let traces = match telemetry::init(name, &settings) {
        Ok(traces) => traces,
        Err(error) => return refuse(&format!("service.otlp_endpoint can't be used: {}", chain(&error))),
    };
    if let Err(error) = kept_in {
        tracing::warn!(%error, "core dumps can't be switched off");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads.max(1))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "can't start");
            return FAILED.into();
        }
    };
    let code = runtime.block_on(supervise(name, config, &settings, run));
    // Blocking work that ignored the stop is left behind; its messages come back by themselves.
    runtime.shutdown_timeout(Duration::from_secs(1));
    traces.flush();
    code.into()
}

async fn supervise<C, R, F>(name: &'static str, config: C, settings: &ServiceSettings, run: R) -> u8
where
    R: FnOnce(Context<C>) -> F,
    F: Future<Output = Result<(), RunError>>,
{
    let stop = CancellationToken::new();
    let health = Health::default();
    let build = Info::new(vec![("service", name), ("version", env!("CARGO_PKG_VERSION"))]);
    health.registry().register("secretscan_build", "Which service this is, in which version", build);
    if let Some(address) = settings.health_address {
        match health.serve(address, stop.clone()).await {
            Ok(address) => tracing::info!(%address, "health endpoint"),
            Err(error) => {
                tracing::error!(%address, %error, "the health endpoint can't listen; change service.health_address");
                return FAILED;
            }
        }
    }
    let mut running = std::pin::pin!(run(Context { config, stop: stop.clone(), health }));
    tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), "started");
    tokio::select! {
        ended = &mut running => return report(ended),
        () = asked_to_stop() => {}
    }
    tracing::info!(grace_s = settings.grace_s, "stopping: finishing or giving back what is in hand");
    stop.cancel();
    match tokio::time::timeout(Duration::from_secs(settings.grace_s), running).await {
        Ok(ended) => report(ended),
        Err(_) => {
            tracing::warn!("the grace period is over; what is in hand comes back by itself");
            STOPPED
        }
    }
}

fn report(ended: Result<(), RunError>) -> u8 {
    match ended {
        Ok(()) => STOPPED,
        Err(error) => {
            tracing::error!(error = chain(&*error), "ended");
            FAILED
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "a signal can't be waited for");
            std::future::pending().await
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

/// The error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn help(name: &str, sample: &str) -> String {
    format!(
        "secretscan-{name} {}\n\nUsage: secretscan-{name} [--config FILE]\n\n\
         The file is TOML; also named by {}. Every key may be set in the environment too, which wins:\n\
         nats.url is SECRETSCAN_NATS__URL. All keys, with their defaults:\n\n{sample}",
        env!("CARGO_PKG_VERSION"),
        config::FILE_VARIABLE,
    )
}

#[expect(clippy::print_stdout, reason = "the answer to --help and --version")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "tracing is not set up before the configuration is read")]
fn refuse(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    BAD_CONFIG.into()
}
