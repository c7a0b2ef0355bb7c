//! Seconds from a time as Kubernetes writes it (`2026-01-02T03:04:05Z`).
//!
//! Only this one form is read; a controller never makes a time of its own.

/// Seconds since 1970, or nothing for any other form.
pub fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, at: char| -> Option<Vec<i64>> {
        text.split(at).map(|part| part.split('.').next()?.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    // Days of the civil calendar since 1970 (Hinnant's days_from_civil).
    let year = if *month <= 2 { year - 1 } else { *year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if *month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubernetes_own_form_is_a_time() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2026-11-22T06:38:16Z"), Some(1_795_329_496));
        assert_eq!(seconds("2000-02-29T00:00:00.123Z"), Some(951_782_400));
        assert_eq!(seconds("yesterday"), None);
        assert_eq!(seconds("2026-11-22 06:38:16"), None);
    }
}
