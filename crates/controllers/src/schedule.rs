//! When a schedule such as `*/5 * * * *` is due, in UTC.

/// Minutes that a search looks ahead: four years and more, for the 29th of February.
const FARTHEST: i64 = 60 * 24 * 366 * 5;

/// A schedule, field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the days of the month or of the week are restricted: if both are, one of
    /// them has to fit.
    restricts: (bool, bool),
}

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Reads a schedule; nothing when it is not one.
pub fn parse(text: &str) -> Option<Schedule> {
    let text = match text.trim() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return None };
    let mut weekdays = set(weekday, (0, 7), (WEEKDAYS, 0))?;
    // Sunday is 0 and 7.
    weekdays |= weekdays >> 7 & 1;
    Some(Schedule {
        minutes: set(minute, (0, 59), (&[], 0))?,
        hours: set(hour, (0, 23), (&[], 0))?,
        days: set(day, (1, 31), (&[], 0))?,
        months: set(month, (1, 12), (MONTHS, 1))?,
        weekdays,
        restricts: (!is_any(day), !is_any(weekday)),
    })
}

fn is_any(field: &str) -> bool {
    field.starts_with('*') || field.starts_with('?')
}

/// The values of one field, as bits.
fn set(field: &str, (least, most): (u64, u64), (names, base): (&[&str], u64)) -> Option<u64> {
    let number = |text: &str| -> Option<u64> {
        let lower = text.to_ascii_lowercase();
        let named = names.iter().position(|name| *name == lower);
        let number = match named {
            Some(index) => base + u64::try_from(index).ok()?,
            None => text.parse().ok()?,
        };
        (least..=most).contains(&number).then_some(number)
    };
    let mut bits = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u64>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range {
            "*" | "?" => (least, most),
            range => match range.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                None if part.contains('/') => (number(range)?, most),
                None => (number(range)?, number(range)?),
            },
        };
        if from > to {
            return None;
        }
        for value in (from..=to).step_by(usize::try_from(step).ok()?) {
            bits |= 1 << value;
        }
    }
    Some(bits)
}

impl Schedule {
    /// The first time after `seconds` since 1970 at which it is due.
    pub fn next(&self, seconds: i64) -> Option<i64> {
        let first = seconds.div_euclid(60) + 1;
        let mut minute = first;
        while minute < first + FARTHEST {
            let day = minute.div_euclid(24 * 60);
            if !self.has_day(day) {
                minute = (day + 1) * 24 * 60;
            } else if self.hours >> minute.div_euclid(60).rem_euclid(24) & 1 == 0 {
                minute = (minute.div_euclid(60) + 1) * 60;
            } else if self.minutes >> minute.rem_euclid(60) & 1 == 0 {
                minute += 1;
            } else {
                return Some(minute * 60);
            }
        }
        None
    }

    fn has_day(&self, day: i64) -> bool {
        let (month, of_month) = civil(day);
        // 1970-01-01 was a Thursday.
        let weekday = (day + 4).rem_euclid(7);
        let by_month = self.days >> of_month & 1 == 1;
        let by_week = self.weekdays >> weekday & 1 == 1;
        let fits = match self.restricts {
            (true, true) => by_month || by_week,
            _ => by_month && by_week,
        };
        fits && self.months >> month & 1 == 1
    }
}

/// Month and day of a day counted from 1970-01-01 (Hinnant's civil_from_days).
fn civil(days: i64) -> (i64, i64) {
    let days = days + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[track_caller]
    fn check(schedule: &str, after: &str, expected: &str) {
        let next = parse(schedule).unwrap().next(time::seconds(after).unwrap());
        assert_eq!(next, time::seconds(expected), "{schedule} after {after}");
    }

    #[test]
    fn the_next_time_is_found() {
        check("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        check("*/5 * * * *", "2026-01-01T00:04:59Z", "2026-01-01T00:05:00Z");
        check("30 9 * * mon-fri", "2026-01-02T10:00:00Z", "2026-01-05T09:30:00Z");
        check("@daily", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
        check("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        check("0 12 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T12:00:00Z");
    }

    #[test]
    fn what_is_not_a_schedule_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "x * * * *",
            "@often",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse("0 0 31 2 *").unwrap().next(0), None);
    }
}
