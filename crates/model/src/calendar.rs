//! When a schedule runs: a cron pattern read in a time zone, and jitter.
//!
//! Hours that a pattern names go by the wall clock: what falls into an hour that daylight saving skips runs once, at the end
//! of the gap, and what falls into one that comes twice runs the first time. A pattern of every hour goes by elapsed time, so
//! nothing of it is skipped or doubled. (croner alone does so for a single time of day: of `0 2,14 * * *` it leaves out the
//! skipped 2 o'clock.)

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ids::{ScheduleId, Timestamp};

/// Longer patterns are refused before anybody reads them, in bytes.
const MAX_CRON: usize = 256;
/// Jitter of more than a day is refused, in seconds.
const MAX_JITTER_S: u64 = 24 * 60 * 60;
const HOURS_OF_A_DAY: usize = 24;

/// Why a schedule can't be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CalendarError {
    /// It is no cron pattern.
    #[error(
        "cron {found:?} can't be read: {reason}; give five fields (minute, hour, day of month, month, day of week), six \
         with seconds before them, or @hourly, @daily, @weekly, @monthly or @yearly"
    )]
    Cron {
        /// What was given, cut in length.
        found: String,
        /// Why not.
        reason: String,
    },
    /// It never comes.
    #[error("cron {found:?} never comes: no such day exists")]
    Never {
        /// What was given.
        found: String,
    },
    /// No such time zone.
    #[error("there is no time zone {found:?}; give a name of the IANA database, such as Europe/Paris or UTC")]
    TimeZone {
        /// What was given, cut in length.
        found: String,
    },
    /// It is no duration.
    #[error("jitter {found:?} can't be read; give a number and a unit, such as 30s, 10m or 2h, 24h at most")]
    Jitter {
        /// What was given, cut in length.
        found: String,
    },
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_CRON).collect()
}

/// A cron pattern in a time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

impl Calendar {
    /// Reads a pattern of five fields, six with seconds, or a name such as `@daily`, and the name of a time zone; UTC when
    /// that is empty.
    ///
    /// # Errors
    /// [`CalendarError`] names the one that can't be read.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, CalendarError> {
        let wrong = |reason: String| CalendarError::Cron { found: shown(cron), reason };
        if cron.len() > MAX_CRON {
            return Err(wrong(format!("it is longer than {MAX_CRON} bytes")));
        }
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| wrong(error.to_string()))?;
        let zone = match time_zone {
            "" => TimeZone::UTC,
            name => TimeZoneDatabase::bundled()
                .get(name)
                .map_err(|_| CalendarError::TimeZone { found: shown(name) })?,
        };
        Ok(Self { cron, zone })
    }

    /// The first time after this one, to the second; `None` when none will come.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = jiff::Timestamp::from_millisecond(at.0).ok()?.to_zoned(self.zone.clone());
        let next = if self.cron.pattern.hours.values().len() == HOURS_OF_A_DAY {
            self.cron.find_next_occurrence(&at, false).ok()?.timestamp()
        } else {
            let mut civil = at.datetime();
            loop {
                // The second pass of an hour that comes twice has nothing that the first did not have.
                civil = self.cron.find_next_occurrence(&civil, false).ok()?;
                let next = self.instant(civil)?;
                if next > at.timestamp() {
                    break next;
                }
            }
        };
        Some(Timestamp(next.as_millisecond()))
    }

    /// When the wall clock shows this time first, or the end of the gap that skips it. Never earlier for a later time.
    fn instant(&self, civil: DateTime) -> Option<jiff::Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier().ok()?;
                Some(self.zone.following(before).next()?.timestamp())
            }
        }
    }
}

/// Reads a duration such as `30s`, `10m`, `2h` or `0`; gives seconds.
///
/// # Errors
/// [`CalendarError::Jitter`].
pub fn parse_jitter(text: &str) -> Result<u64, CalendarError> {
    let wrong = || CalendarError::Jitter { found: shown(text) };
    let text = text.trim();
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().next_back()),
        None if text.is_empty() || text == "0" => return Ok(0),
        None => return Err(wrong()),
    };
    let seconds = match unit {
        Some('m') => 60,
        Some('h') => 60 * 60,
        _ => 1,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let jitter =
        number.parse::<u64>().ok().filter(|_| is_number).and_then(|number| number.checked_mul(seconds));
    jitter.filter(|jitter| *jitter <= MAX_JITTER_S).ok_or_else(wrong)
}

/// How many milliseconds a run is late on purpose: from 0 to the jitter, the same for whoever asks.
pub(crate) fn jitter_ms(schedule: &ScheduleId, run: u64, jitter_s: u64) -> i64 {
    let hash = Sha256::digest(format!("{schedule}.{run}"));
    let (first, _) = hash.split_first_chunk::<8>().expect("a SHA-256 has 32 bytes");
    let bound = jitter_s.min(MAX_JITTER_S) * 1_000 + 1;
    (u64::from_le_bytes(*first) % bound).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    /// So many times from this one on, in UTC.
    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let calendar = Calendar::parse(cron, zone).unwrap();
        let mut now = at(from);
        (0..count)
            .map(|_| {
                now = calendar.next_after(now).unwrap();
                jiff::Timestamp::from_millisecond(now.0).unwrap().strftime("%d %H:%M:%S").to_string()
            })
            .collect()
    }

    #[test]
    fn patterns_of_all_forms_are_read() {
        let next = |cron| times(cron, "", "2026-01-01T00:00:00.500Z", 1).remove(0);
        assert_eq!(next("0 3 * * *"), "01 03:00:00");
        assert_eq!(next("* * * * * *"), "01 00:00:01");
        assert_eq!(next("15 30 4 * * *"), "01 04:30:15");
        assert_eq!(next("@daily"), "02 00:00:00");
        assert_eq!(next("@hourly"), "01 01:00:00");
        assert_eq!(next("0 0 * jan fri"), "02 00:00:00");
        assert_eq!(next("0 0 L * *"), "31 00:00:00");
    }

    #[test]
    fn errors_name_the_field_and_what_to_do() {
        for wrong in ["", "61 * * * *", "* * * *", "* * * * * * *", "@reboot", "every day", "a@daily"] {
            let error = Calendar::parse(wrong, "UTC").unwrap_err().to_string();
            assert!(error.starts_with(&format!("cron {wrong:?} can't be read: ")), "{error}");
            assert!(error.contains("give five fields"), "{error}");
        }
        let error = Calendar::parse("@daily", "Mars/Base").unwrap_err().to_string();
        assert!(error.starts_with("there is no time zone \"Mars/Base\"; give"), "{error}");
        assert!(Calendar::parse(&"*,".repeat(500), "").is_err());
        for wrong in ["10", "m", "-1s", "+1s", "1d", "25h", "99999999999999999999h", "1 m"] {
            let error = parse_jitter(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("jitter {wrong:?} can't be read; give")), "{error}");
        }
        let jitters = ["", "0", "30s", "10m", "24h"].map(|text| parse_jitter(text).unwrap());
        assert_eq!(jitters, [0, 0, 30, 600, 86_400]);
        assert_eq!(Calendar::parse("0 0 30 2 *", "").unwrap().next_after(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn a_time_in_the_skipped_hour_comes_once() {
        // Paris goes from 02:00 to 03:00 at 01:00 UTC on the 29th.
        let paris = |cron| times(cron, "Europe/Paris", "2026-03-27T23:30:00Z", 3);
        assert_eq!(paris("30 2 * * *"), ["28 01:30:00", "29 01:00:00", "30 00:30:00"]);
        assert_eq!(paris("0 2,14 * * *"), ["28 01:00:00", "28 13:00:00", "29 01:00:00"]);
        assert_eq!(paris("0 2,3 * * *")[2], "29 01:00:00");
        assert_eq!(
            times("*/15 2 * * *", "Europe/Paris", "2026-03-29T00:00:00Z", 2),
            ["29 01:00:00", "30 00:00:00"]
        );
        // New York: from 02:00 to 03:00 at 07:00 UTC on the 8th.
        let york = times("15 2 * * *", "America/New_York", "2026-03-07T08:00:00Z", 2);
        assert_eq!(york, ["08 07:00:00", "09 06:15:00"]);
        // Lord Howe: from 02:00 to 02:30, at 15:30 UTC on the 3rd.
        let howe = times("10 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00:00Z", 2);
        assert_eq!(howe, ["03 15:30:00", "04 15:10:00"]);
    }

    #[test]
    fn a_time_in_the_doubled_hour_comes_once() {
        // Paris shows 02:00 to 03:00 twice from 00:00 UTC on the 25th.
        let paris = |cron, count| times(cron, "Europe/Paris", "2026-10-24T12:00:00Z", count);
        assert_eq!(paris("30 2 * * *", 2), ["25 00:30:00", "26 01:30:00"]);
        assert_eq!(
            paris("*/30 2,3 * * *", 5),
            ["25 00:00:00", "25 00:30:00", "25 02:00:00", "25 02:30:00", "26 01:00:00"]
        );
        // In the midst of the second pass.
        assert_eq!(times("*/10 2 * * *", "Europe/Paris", "2026-10-25T01:15:00Z", 1), ["26 01:00:00"]);
        // New York shows 01:00 to 02:00 twice from 05:00 UTC on the 1st.
        let york = times("59 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2);
        assert_eq!(york, ["01 05:59:00", "02 06:59:00"]);
        // Lord Howe shows 01:30 to 02:00 twice, from 14:30 UTC on the 4th.
        let howe = times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);
        assert_eq!(howe, ["04 14:45:00", "05 15:15:00"]);
    }

    #[test]
    fn every_hour_is_elapsed_time() {
        let paris = |from| times("0 * * * *", "Europe/Paris", from, 4);
        assert_eq!(
            paris("2026-03-28T23:30:00Z"),
            ["29 00:00:00", "29 01:00:00", "29 02:00:00", "29 03:00:00"]
        );
        assert_eq!(
            paris("2026-10-24T23:30:00Z"),
            ["25 00:00:00", "25 01:00:00", "25 02:00:00", "25 03:00:00"]
        );
        let howe = times("*/30 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", 3);
        assert_eq!(howe, ["04 14:30:00", "04 15:00:00", "04 15:30:00"]);
    }

    #[test]
    fn jitter_is_the_same_for_all_and_spreads() {
        let schedule: ScheduleId = "s1".parse().unwrap();
        let of = |run| jitter_ms(&schedule, run, 600);
        assert_eq!(of(7), of(7));
        assert!((1..1_000).all(|run| (0..=600_000).contains(&of(run))));
        let late = (1..1_000).filter(|run| of(*run) > 300_000).count();
        assert!((400..600).contains(&late), "{late}");
        assert_eq!(jitter_ms(&schedule, 7, 0), 0);
    }
}
