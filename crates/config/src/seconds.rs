//! Durations as text in seconds, as in `1.5s` and `0.025s`, for serde.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes a duration.
pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}s", value.as_secs_f64()))
}

/// Reads a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.strip_suffix('s')
        .and_then(|number| number.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration such as 1.5s")))
}

/// The same for durations that may be absent.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Wrapped(#[serde(with = "super")] Duration);

    /// Writes a duration, or null.
    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super")]
        always: Duration,
        #[serde(default, with = "super::option")]
        perhaps: Option<Duration>,
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        let both =
            Both { always: Duration::from_millis(1500), perhaps: Some(Duration::from_micros(25)) };
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(text, r#"{"always":"1.5s","perhaps":"0.000025s"}"#);
        assert_eq!(serde_json::from_str::<Both>(&text).unwrap(), both);
        let without = serde_json::from_str::<Both>(r#"{"always":"0s"}"#).unwrap();
        assert_eq!(without.perhaps, None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "s", "-1s", "1m", "NaNs", "1e300s"] {
            let json = format!(r#"{{"always":"{text}"}}"#);
            assert!(serde_json::from_str::<Both>(&json).is_err(), "{text}");
        }
    }
}
