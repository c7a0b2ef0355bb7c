//! A strict reader of Prometheus' text format: what it takes, every scraper takes.

use std::collections::{BTreeMap, BTreeSet};

/// One number, with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
}

impl Sample {
    /// Whether it has these labels, among others.
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|it| it == value))
    }
}

/// Reads `text`.
///
/// # Panics
///
/// Where `text` breaks the format, with the line.
pub fn parse(text: &str) -> Vec<Sample> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    let mut families = Families::default();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => families.comment(comment, line),
            None => families.sample(line),
        }
    }
    families.finish();
    families.samples
}

#[derive(Default)]
struct Families {
    samples: Vec<Sample>,
    /// The family whose lines come now, and its kind.
    current: (String, String),
    /// Where its samples begin.
    begin: usize,
    done: BTreeSet<String>,
    helped: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Families {
    fn comment(&mut self, comment: &str, line: &str) {
        let mut words = comment.splitn(3, ' ');
        let (word, name) = (words.next().unwrap(), words.next().expect(line));
        let rest = words.next().expect(line);
        assert!(is_name(name, true), "{line}");
        match word {
            "HELP" => assert!(self.helped.insert(name.to_owned()), "twice: {line}"),
            "TYPE" => {
                assert!(["counter", "gauge", "histogram", "untyped"].contains(&rest), "{line}");
                self.finish();
                assert!(!self.done.contains(name), "the family comes back: {line}");
                self.current = (name.to_owned(), rest.to_owned());
                self.begin = self.samples.len();
            }
            _ => panic!("{line}"),
        }
    }

    fn sample(&mut self, line: &str) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect(line));
        assert!(is_name(name, true), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest, line),
            None => (BTreeMap::new(), rest),
        };
        let value: f64 = value.strip_prefix(' ').expect(line).parse().expect(line);
        let (family, kind) = &self.current;
        let suffix = name.strip_prefix(family.as_str());
        let fits = match kind.as_str() {
            "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            _ => suffix == Some(""),
        };
        assert!(fits, "outside of its family {family}: {line}");
        assert!(kind == "gauge" || value >= 0.0, "{line}");
        let key = format!("{name}{labels:?}");
        assert!(self.seen.insert(key), "twice: {line}");
        self.samples.push(Sample { name: name.to_owned(), labels, value });
    }

    /// Histograms are whole: buckets grow up to `+Inf`, which is the count.
    fn finish(&mut self) {
        let (family, kind) = std::mem::take(&mut self.current);
        if kind == "histogram" {
            let mut histograms: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
            for sample in &self.samples[self.begin..] {
                let mut labels = sample.labels.clone();
                labels.remove("le");
                histograms.entry(labels).or_default().push(sample);
            }
            for samples in histograms.values() {
                let number = |suffix: &str| {
                    let name = format!("{family}_{suffix}");
                    samples.iter().filter(|one| one.name == name).copied().collect::<Vec<_>>()
                };
                let [count] = number("count")[..] else { panic!("{family} without a count") };
                assert_eq!(number("sum").len(), 1, "{family} without a sum");
                let ends: Vec<(f64, f64)> = number("bucket")
                    .iter()
                    .map(|one| {
                        (one.labels["le"].replace("+Inf", "inf").parse().unwrap(), one.value)
                    })
                    .collect();
                let grow = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
                assert!(ends.windows(2).all(grow), "{family}: {ends:?}");
                assert_eq!(ends.last(), Some(&(f64::INFINITY, count.value)), "{family}");
            }
        }
        if !family.is_empty() {
            self.done.insert(family);
        }
    }
}

fn labels<'a>(mut rest: &'a str, line: &str) -> (BTreeMap<String, String>, &'a str) {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return (labels, rest);
        }
        let (name, after) = rest.split_once("=\"").expect(line);
        assert!(is_name(name, false), "{name} in {line}");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect(line) {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().expect(line).1 {
                    'n' => '\n',
                    kept @ ('\\' | '"') => kept,
                    other => panic!("\\{other} in {line}"),
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice in {line}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or_else(|| {
            assert!(rest.starts_with('}'), "no comma: {line}");
            rest
        });
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || colons && byte == b':';
    name.bytes().all(fits) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}
