//! Whether names are what they have to be: hosts, labels, namespaces.

use std::{collections::BTreeSet, net::IpAddr};

/// Whether `text` is a label of a DNS name.
pub(super) fn is_label(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is wrong with `text` as a host, which may begin with `*`.
pub(super) fn wildcard_host(text: &str) -> Option<String> {
    if text == "*" || text.parse::<IpAddr>().is_ok() {
        return None;
    }
    let (first, rest) =
        text.split_once('.').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let beginning = first.strip_prefix('*').map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    match (beginning, rest) {
        (Some(""), Some(rest)) => host(rest).map(|_| invalid(text)),
        (Some(label), _) if is_label(label) => rest.and_then(host).map(|_| invalid(text)),
        (Some(_), _) => Some(invalid(text)),
        (None, _) => host(text),
    }
}

/// What is wrong with `text` as a host.
pub(super) fn host(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Some("a host name is missing".to_owned());
    }
    let valid = name.len() <= 255 && name.split('.').all(is_label);
    (!valid).then(|| invalid(text))
}

fn invalid(text: &str) -> String {
    let hint = match text {
        _ if text.contains("://") => "; leave the scheme away",
        _ if text.contains(':') => "; ports have fields of their own",
        _ if text.contains('/') => "; paths and address ranges do not belong here",
        _ if text.contains('*') => "; only the beginning may be `*`",
        _ => "",
    };
    format!("`{text}` is not a host name{hint}")
}

/// What is wrong with `text` as the name of a Gateway, perhaps with its namespace.
pub(super) fn gateway(text: &str) -> Option<String> {
    let mut parts = text.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let valid = parts.next().is_none()
        && second.map_or(host(first).is_none(), |name| is_label(first) && host(name).is_none());
    (!valid).then(|| format!("`{text}` is not `NAME`, `NAMESPACE/NAME` or `mesh`"))
}

/// An address with the length of the prefix that counts, or all of it; else what is wrong.
pub fn subnet(text: &str) -> Result<(IpAddr, u8), String> {
    let bad = || format!("`{text}` is not an address or a range such as 10.1.0.0/16");
    let (ip, length) = match text.split_once('/') {
        Some((ip, length)) => (ip, Some(length)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| bad())?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let length = match length {
        None => whole,
        Some(text) => {
            Some(text).filter(digits).and_then(|text| text.parse().ok()).ok_or_else(bad)?
        }
    };
    if length > whole { Err(bad()) } else { Ok((ip, length)) }
}

/// What is wrong with each entry of `exportTo`, by its position.
pub(super) fn visibility(entries: &[String]) -> Vec<(usize, String)> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let known = matches!(entry.as_str(), "." | "*" | "~") || is_label(entry);
        if !known {
            wrong.push((index, format!("`{entry}` is not `.`, `*` or the name of a namespace")));
        } else if entry == "*" && entries.len() > 1 {
            wrong.push((index, "`*` is all namespaces; remove the other entries".to_owned()));
        } else if !seen.insert(entry) {
            wrong.push((index, format!("`{entry}` is given twice")));
        }
    }
    wrong
}

/// What is wrong with `text` as the name of an HTTP header, or of a part of the request line.
pub(super) fn header(text: &str) -> Option<String> {
    let name = text.strip_prefix(':').unwrap_or(text);
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let valid = !name.is_empty() && name.chars().all(token);
    (!valid).then(|| format!("`{text}` is not the name of a header"))
}

/// What is wrong with a label that workloads are selected by.
pub(super) fn label(key: &str, value: &str) -> Option<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let word = |text: &str| {
        (1..=63).contains(&text.len())
            && text.chars().all(inside)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let (prefix, name) =
        key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|prefix| host(prefix).is_some()) || !word(name) {
        return Some(format!("`{key}` is not the key of a label"));
    }
    (!value.is_empty() && !word(value)).then(|| format!("`{value}` is not the value of a label"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_begin_with_a_star() {
        for text in
            ["*", "*.example", "*a.example", "*-a.b", "a.example.", "Dock.Example", "10.1.2.3"]
        {
            assert_eq!(wildcard_host(text), None, "{text}");
        }
        for text in ["", "a.*.b", "http://a", "a:80", "a_b.c", "10.0.0.0/8", "*.", "**.a", "a..b"] {
            assert!(wildcard_host(text).is_some(), "{text}");
        }
    }

    #[test]
    fn subnets_are_addresses_or_ranges() {
        for (text, length) in [("10.1.2.3", 32), ("10.0.0.0/8", 8), ("::/0", 0), ("fd00::1", 128)] {
            assert_eq!(subnet(text).map(|(_, length)| length), Ok(length), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "a/8", "10.0.0/8", "::/129"] {
            assert!(subnet(text).is_err(), "{text}");
        }
    }

    #[test]
    fn gateways_have_at_most_one_slash() {
        for text in ["mesh", "edge/main", "a.b"] {
            assert_eq!(gateway(text), None, "{text}");
        }
        for text in ["", "*", "a/b/c", "/a", "a/"] {
            assert!(gateway(text).is_some(), "{text}");
        }
    }

    #[test]
    fn labels_are_keys_and_values_of_kubernetes() {
        for (key, value) in [("app", "cart"), ("a.b/c", ""), ("v", "1.2_3")] {
            assert_eq!(label(key, value), None, "{key}={value}");
        }
        for (key, value) in [("", "a"), ("a b", "c"), ("a/b/c", "d"), ("a", "b c"), ("a", "-b")] {
            assert!(label(key, value).is_some(), "{key}={value}");
        }
    }
}
