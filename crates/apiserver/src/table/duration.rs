//! How long ago something was, in as few letters as kubectl uses.

/// The age of a moment at `now`; `<unknown>` for none.
pub fn age(moment: Option<&str>, now: jiff::Timestamp) -> String {
    let moment = moment.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    match moment {
        Some(moment) => short(now.as_second() - moment.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// Kubernetes' own rounding: seconds for two minutes, minutes for three hours, …
fn short(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = minutes / 60;
    let days = hours / 24;
    let two = |whole: i64, unit: &str, rest: i64, smaller: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{smaller}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_as_kubectl_rounds_them() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (135, "2m15s"),
            (600, "10m"),
            (10_799, "179m"),
            (3 * 3600 + 120, "3h2m"),
            (30 * 3600, "30h"),
            (3 * 86_400 + 3600, "3d1h"),
            (30 * 86_400, "30d"),
            (800 * 86_400, "2y70d"),
            (-60, "<invalid>"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(short(seconds), expected, "{seconds}");
        }
    }
}
