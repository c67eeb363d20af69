//! Room on the disk of the data: findings, ledger, mirrors, packs in flight.

use indicatif::DecimalBytes;
use rustix::fs::statvfs;

use super::Machine;
use crate::doctor::report::Line;

/// With less than this a repository of some size does not fit.
const LOW: u64 = 10_000_000_000;
/// With less than this the streams soon take no more.
const TOO_LITTLE: u64 = 1_000_000_000;

/// Whether there is enough.
pub fn check(machine: &Machine) -> Line {
    let Some(data) = &machine.data else {
        let advice = "name a directory with --data, or set HOME";
        return Line::warning("disk", "there is no place for the data of `run` and `up`", advice);
    };
    // What is not there yet is made on the disk of its parent.
    let Some(there) = data.ancestors().find(|path| path.exists()) else {
        return Line::warning(
            "disk",
            format!("{} can't be made", data.display()),
            "name another with --data",
        );
    };
    match statvfs(there) {
        Ok(disk) => judge(&data.display().to_string(), disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => {
            let says = format!("{} can't be looked at: {error}", there.display());
            Line::warning("disk", says, "name another directory with --data")
        }
    }
}

fn judge(data: &str, free: u64) -> Line {
    let says = format!("{} free for {data}", DecimalBytes(free));
    let advice = "free some, or name a directory on another disk with --data";
    match free {
        ..TOO_LITTLE => Line::failed("disk", says, advice),
        TOO_LITTLE..LOW => Line::warning("disk", says, advice),
        LOW.. => Line::ok("disk", says),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn room() {
        assert_eq!(judge("/data", 500_000_000).status, Status::Failed);
        assert_eq!(judge("/data", 5_000_000_000).status, Status::Warning);
        assert_eq!(judge("/data", 50_000_000_000), Line::ok("disk", "50.00 GB free for /data"));
    }
}
