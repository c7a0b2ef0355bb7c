//! What a misspelt word was meant to be.

/// The longest word that is compared with others, in letters; no field has a longer name.
const LONGEST: usize = 64;

/// The one of `known` that `word` is nearest to, if it is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.chars().nth(LONGEST).is_some() {
        return None;
    }
    let plain = |word: &str| word.replace(['_', '-'], "").to_lowercase();
    let word = plain(word);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4).min(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be inserted, removed, replaced or swapped with their neighbour.
///
/// Keeps three rows of the matrix, whatever the length of `left`.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<_> = right.chars().collect();
    let mut above: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut before = None;
    for (i, letter) in left.chars().enumerate() {
        let mut row = vec![i + 1];
        for j in 1..=right.len() {
            let differs = usize::from(letter != right[j - 1]);
            let mut least = (row[j - 1] + 1).min(last[j] + 1).min(last[j - 1] + differs);
            let swapped = j > 1 && letter == right[j - 2] && before == Some(right[j - 1]);
            if swapped {
                least = least.min(above[j - 2] + 1);
            }
            row.push(least);
        }
        (above, last, before) = (last, row, Some(letter));
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, ["hosts", "gateways", "http", "exportTo"]), expected, "{word}");
    }

    #[test]
    fn slips_of_the_finger_are_understood() {
        check("hots", Some("hosts"));
        check("Host", Some("hosts"));
        check("gatewasy", Some("gateways"));
        check("export-to", Some("exportTo"));
    }

    #[test]
    fn letters_may_be_swapped_lost_doubled_and_replaced() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("hotss", "hosts", 1),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn words_longer_than_any_field_are_not_compared() {
        check(&"hosts".repeat(100_000), None);
    }

    #[test]
    fn other_words_are_not_guessed_at() {
        check("destination", None);
        check("tls", None);
    }
}
