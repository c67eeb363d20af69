//! How near the account and the streams are to what they may hold.

use indicatif::DecimalBytes;

use super::System;
use crate::doctor::report::Line;

/// From here on, in percent, somebody should know.
const HIGH: u64 = 80;
/// From here on, in percent, the next repository may be refused.
const FULL: u64 = 95;

/// Whether there is room.
pub fn check(system: &System) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Ok(Some(usage)) = &system.usage {
        let max = usage.max_bytes.map_or("the disk".to_owned(), |max| DecimalBytes(max).to_string());
        let says = format!("{} of {max} used by all streams", DecimalBytes(usage.bytes));
        let advice =
            "raise `max_file` of the account, or free room: `secretscan requests` shows what is under way";
        lines.push(judge(usage.bytes, usage.max_bytes, says, advice));
    }
    for (part, found) in system.found_streams().filter(|(_, found)| found.is_new_refused) {
        let advice = "raise the limit that somebody has set for it";
        if let Some(max) = found.max_bytes.filter(|max| percent(found.bytes, *max) >= HIGH) {
            let says = format!("{part}: {} of {}", DecimalBytes(found.bytes), DecimalBytes(max));
            lines.push(judge(found.bytes, Some(max), says, advice));
        }
        if let Some(max) = found.max_messages.filter(|max| percent(found.messages, *max) >= HIGH) {
            let says = format!("{part}: {} of {max} messages", found.messages);
            lines.push(judge(found.messages, Some(max), says, advice));
        }
    }
    lines
}

fn judge(used: u64, max: Option<u64>, says: String, advice: &str) -> Line {
    match max.map_or(0, |max| percent(used, max)) {
        FULL.. => Line::failed("limits", says, advice),
        HIGH..FULL => Line::warning("limits", says, advice),
        ..HIGH => Line::ok("limits", says),
    }
}

fn percent(used: u64, max: u64) -> u64 {
    used.saturating_mul(100) / max.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn the_nearer_the_worse() {
        let status = |used, max| judge(used, max, String::new(), "").status;
        assert_eq!(status(79, Some(100)), Status::Ok);
        assert_eq!(status(80, Some(100)), Status::Warning);
        assert_eq!(status(96, Some(100)), Status::Failed);
        assert_eq!(status(1, Some(0)), Status::Failed);
        assert_eq!(status(u64::MAX, None), Status::Ok);
    }
}
