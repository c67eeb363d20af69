//! Services as processes of their own, on the server of a system.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context;
use secretscan_bus::access::Identity;
use secretscan_testkit::service::ServiceProcess;
use tempfile::TempDir;

use crate::faults::binaries;
use crate::{Size, System};

/// Of a system whose services are processes.
pub const NO_TASKS: Size =
    Size { controllers: 0, schedulers: 0, repo_agents: 0, batch_agents: 0, batch_commits: 0 };

/// The programs of the services.
pub struct Programs {
    built: HashMap<&'static str, PathBuf>,
    _dir: TempDir,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// When they can't be built.
    pub async fn build() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let to = dir.path().to_owned();
        let built = tokio::task::spawn_blocking(move || binaries::build(&to)).await??;
        Ok(Self { built, _dir: dir })
    }

    /// Starts one, with more variables.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(
        &self,
        system: &System,
        service: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<ServiceProcess> {
        let identity = Identity::ALL.into_iter().find(|identity| identity.name() == service);
        let variables = system.variables(identity.with_context(|| format!("there is no service {service}"))?);
        let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let variables: Vec<_> = variables.chain(more.iter().copied()).collect();
        let binary = self.built[service].to_str().context("its path is no text")?;
        ServiceProcess::start(binary, &system.server, &variables).await
    }
}
