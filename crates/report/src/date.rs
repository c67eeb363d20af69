//! Times as dates, in UTC.

use secretscan_model::Timestamp;

/// The date and time in UTC as RFC 3339 writes it, or `None` outside the years 0 to 9999, which it can't write. A
/// commit may claim any time.
pub(crate) fn rfc3339(seconds: i64) -> Option<String> {
    let date = date(seconds)?;
    let of_day = seconds.rem_euclid(86_400);
    Some(format!("{date}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60))
}

/// The date and time of an event of the scan, as RFC 3339 writes it.
pub(crate) fn of_event(at: Timestamp) -> String {
    // A clock that is off by millennia is not worth an error.
    rfc3339(at.0.div_euclid(1000)).unwrap_or_else(|| "0000-01-01T00:00:00Z".to_owned())
}

/// The same without the zone.
pub(crate) fn without_zone(at: Timestamp) -> String {
    of_event(at).trim_end_matches('Z').to_owned()
}

/// The date alone, such as `2026-01-31`.
pub(crate) fn date(seconds: i64) -> Option<String> {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    (0..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// Year, month and day of the proleptic Gregorian calendar from days since 1970-01-01. Counts in eras of 400 years
/// that begin on 1 March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    /// From 0000-03-01 to 1970-01-01.
    const EPOCH: i64 = 719_468;
    let days = days + EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days and again: 153 in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_234_567_890, "2009-02-13T23:31:30Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, text) in known {
            assert_eq!(rfc3339(seconds).as_deref(), Some(text));
        }
    }

    #[test]
    fn events_have_a_date() {
        assert_eq!(of_event(Timestamp(951_782_400_999)), "2000-02-29T00:00:00Z");
        assert_eq!(without_zone(Timestamp(i64::MAX)), "0000-01-01T00:00:00");
    }

    #[test]
    fn times_that_cannot_be_written_are_none() {
        for seconds in [i64::MIN, i64::MAX, 253_402_300_800, -62_167_219_201] {
            assert_eq!(rfc3339(seconds), None);
        }
        assert_eq!(date(-62_167_219_200).as_deref(), Some("0000-01-01"));
    }
}
