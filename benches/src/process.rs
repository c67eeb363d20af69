//! What a running process uses, as Linux tells in `/proc`.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;

use crate::succeed;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory now, in bytes.
    pub resident: u64,
    /// The most that was resident, in bytes.
    pub peak: u64,
    /// User and system time.
    pub cpu: Duration,
}

/// What a process has used.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    Ok(Usage {
        resident: kilobytes(&status, "VmRSS:").context("no VmRSS in the status of a process")? * 1024,
        peak: kilobytes(&status, "VmHWM:").context("no VmHWM in the status of a process")? * 1024,
        cpu: cpu(&stat, ticks_per_second()?).context("the stat of a process has another form")?,
    })
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// The fields 14 and 15 of proc_pid_stat(5), counted from behind the name, which may hold anything.
fn cpu(stat: &str, ticks_per_second: f64) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / ticks_per_second))
}

fn ticks_per_second() -> anyhow::Result<f64> {
    static TICKS: OnceLock<f64> = OnceLock::new();
    if let Some(ticks) = TICKS.get() {
        return Ok(*ticks);
    }
    let said = succeed(Command::new("getconf").arg("CLK_TCK"))?;
    let ticks = said.trim().parse().context("reading what getconf CLK_TCK says")?;
    Ok(*TICKS.get_or_init(|| ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        assert_eq!(kilobytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 98 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(cpu(stat, 100.0), Some(Duration::from_secs(2)));
        let this = usage(std::process::id()).unwrap();
        assert!(this.peak >= this.resident && this.resident > 0);
    }
}
