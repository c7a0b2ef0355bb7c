//! Prometheus' text format, from plain numbers.
//!
//! Knows the format's escapes and the cumulative buckets of histograms, and
//! nobody's metrics.

use std::fmt::Write;

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Text in Prometheus' format, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        if !help.is_empty() {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(self.text, "# HELP {name} {help}");
        }
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    /// One number; `labels` as made by [`labels`].
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        self.begin((name, ""), labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// One whole number.
    pub fn count(&mut self, name: &str, labels: &str, value: u64) {
        self.whole((name, ""), labels, None, value);
    }

    /// One histogram: `counts[i]` observations are at most `bounds[i]` and above the
    /// bound before; what is above all bounds follows as the last of `counts`.
    ///
    /// Buckets below the smallest observation are left out: to Prometheus, and to a sum
    /// over many processes, a bucket that is missing there is one that is 0.
    pub fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram<'_>) {
        let mut total = 0;
        for (end, count) in histogram.bounds.iter().map(Some).chain([None]).zip(histogram.counts) {
            total += count;
            if total > 0 || end.is_none() {
                let end = end.copied().unwrap_or(f64::INFINITY);
                self.whole((name, "_bucket"), labels, Some(end), total);
            }
        }
        self.begin((name, "_sum"), labels, None);
        let _ = writeln!(self.text, " {}", histogram.sum);
        self.whole((name, "_count"), labels, None, total);
    }

    /// Adds text that is in the format already, and ends with a line's end.
    pub fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }

    /// How long the text is.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes out the text so far; the rest follows it.
    pub fn take(&mut self) -> String {
        let room = self.text.capacity();
        std::mem::replace(&mut self.text, String::with_capacity(room))
    }

    fn whole(&mut self, name: (&str, &str), labels: &str, end: Option<f64>, value: u64) {
        self.begin(name, labels, end);
        let _ = writeln!(self.text, " {value}");
    }

    /// The name of a sample, with the labels and the end of a bucket.
    fn begin(&mut self, (name, suffix): (&str, &str), labels: &str, end: Option<f64>) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        if labels.is_empty() && end.is_none() {
            return;
        }
        self.text.push('{');
        self.text.push_str(labels);
        let comma = if labels.is_empty() { "" } else { "," };
        match end {
            Some(end) if end.is_infinite() => {
                let _ = write!(self.text, "{comma}le=\"+Inf\"");
            }
            Some(end) => {
                let _ = write!(self.text, "{comma}le=\"{end}\"");
            }
            None => {}
        }
        self.text.push('}');
    }
}

/// A snapshot of a histogram.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// Upper ends, growing.
    pub bounds: &'a [f64],
    /// One more than there are bounds.
    pub counts: &'a [u64],
    /// The sum of everything observed.
    pub sum: f64,
}

/// `name="value"` pairs joined by commas, values escaped. A label without a value is
/// left out, which to Prometheus is the same.
pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What is in memory now.
    pub resident: u64,
    /// The part of it that no file backs, and no other process can share.
    pub anonymous: u64,
}

/// How much memory this process has; none where the kernel does not say.
pub fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_gauges_are_lines_with_escaped_labels() {
        let mut text = Exposition::default();
        text.family("requests_total", Kind::Counter, "All requests.");
        text.sample("requests_total", &labels([("code", "200"), ("path", "a\"b\\c\nd")]), 3.0);
        text.family("open", Kind::Gauge, "");
        text.sample("open", "", 0.5);
        assert_eq!(
            text.finish(),
            "# HELP requests_total All requests.\n# TYPE requests_total counter\n\
             requests_total{code=\"200\",path=\"a\\\"b\\\\c\\nd\"} 3\n# TYPE open gauge\nopen 0.5\n"
        );
    }

    #[test]
    fn histograms_accumulate_towards_infinity() {
        let mut text = Exposition::default();
        let histogram = Histogram { bounds: &[0.5, 1.0, 5.0], counts: &[0, 1, 0, 2], sum: 9.25 };
        text.histogram("took", "a=\"b\"", &histogram);
        let none = Histogram { bounds: &[0.5], counts: &[0, 0], sum: 0.0 };
        text.histogram("none", "", &none);
        assert_eq!(
            text.take(),
            "took_bucket{a=\"b\",le=\"1\"} 1\ntook_bucket{a=\"b\",le=\"5\"} 1\n\
             took_bucket{a=\"b\",le=\"+Inf\"} 3\ntook_sum{a=\"b\"} 9.25\ntook_count{a=\"b\"} 3\n\
             none_bucket{le=\"+Inf\"} 0\nnone_sum 0\nnone_count 0\n"
        );
        assert!(text.is_empty());
    }

    #[test]
    fn this_process_has_some_memory() {
        let memory = memory().unwrap();
        assert!(memory.anonymous > 10_000 && memory.resident > memory.anonymous, "{memory:?}");
    }
}
