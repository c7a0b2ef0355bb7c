//! Which texts can be names, labels, keys; what Kubernetes says of those that cannot.
//!
//! Each rule returns nothing for a text that fits.

/// A rule about a text: nothing, or what is wrong with it.
pub type Rule = fn(&str) -> Option<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn is_part(text: &str, inside: impl Fn(u8) -> bool, end: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| inside(*byte))
        && bytes.first().is_some_and(|byte| end(*byte))
        && bytes.last().is_some_and(|byte| end(*byte))
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} bytes"))
}

/// A DNS label, RFC 1123.
pub fn dns_label(text: &str) -> Option<String> {
    let fits = is_part(text, |byte| lower(byte) || byte == b'-', lower);
    too_long(text, 63).or_else(|| {
        (!fits).then(|| {
            format!(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
                 '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
                 '123-abc', regex used for validation is '{LABEL}')"
            )
        })
    })
}

/// A DNS label that begins with a letter, RFC 1035.
pub fn dns_1035_label(text: &str) -> Option<String> {
    let fits = is_part(text, |byte| lower(byte) || byte == b'-', lower)
        && text.starts_with(|first: char| first.is_ascii_lowercase());
    too_long(text, 63).or_else(|| {
        (!fits).then(|| {
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character (e.g. \
             'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned()
        })
    })
}

/// A DNS name, RFC 1123.
pub fn dns_subdomain(text: &str) -> Option<String> {
    let part = |part: &str| is_part(part, |byte| lower(byte) || byte == b'-', lower);
    too_long(text, 253).or_else(|| {
        (!text.split('.').all(part)).then(|| {
            format!(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                 characters, '-' or '.', and must start and end with an alphanumeric character \
                 (e.g. 'example.com', regex used for validation is '{LABEL}(\\.{LABEL})*')"
            )
        })
    })
}

/// A segment of a path, as the names of roles are.
pub fn path_segment(text: &str) -> Option<String> {
    match text {
        "." | ".." => Some(format!("may not be '{text}'")),
        text => {
            let odd = text.chars().find(|one| matches!(one, '/' | '%'));
            odd.map(|odd| format!("may not contain '{odd}'"))
        }
    }
}

const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
                         must start and end with an alphanumeric character (e.g. 'MyName',  or \
                         'my.name',  or '123-abc', regex used for validation is \
                         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// A key of labels and annotations: a name, perhaps behind a DNS name and a slash.
pub fn qualified(text: &str) -> Option<String> {
    let mut parts = text.split('/');
    let (prefix, name) = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) => (None, name),
        (Some(prefix), Some(name), None) => (Some(prefix), name),
        _ => {
            let rule = "a qualified name must consist of alphanumeric characters, '-', '_' or \
                        '.', and must start and end with an alphanumeric character (e.g. \
                        'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain \
                        prefix and '/' (e.g. 'example.com/MyName')";
            return Some(rule.to_owned());
        }
    };
    match prefix {
        Some("") => return Some("prefix part must be non-empty".into()),
        Some(prefix) => {
            if let Some(wrong) = dns_subdomain(prefix) {
                return Some(format!("prefix part {wrong}"));
            }
        }
        None => {}
    }
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match name {
        "" => Some("name part must be non-empty".into()),
        name if name.len() > 63 => Some("name part must be no more than 63 bytes".into()),
        name => {
            let fits = is_part(name, inside, |byte| byte.is_ascii_alphanumeric());
            (!fits).then(|| QUALIFIED.to_owned())
        }
    }
}

/// A value of a label.
pub fn label_value(text: &str) -> Option<String> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = text.is_empty() || is_part(text, inside, |byte| byte.is_ascii_alphanumeric());
    too_long(text, 63).or_else(|| {
        (!fits).then(|| {
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
             or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned()
        })
    })
}

/// The name of a port of a container.
pub fn port_name(text: &str) -> Option<String> {
    let fits = text.bytes().all(|byte| lower(byte) || byte == b'-');
    if text.len() > 15 {
        Some("must be no more than 15 characters".into())
    } else if !fits {
        Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into())
    } else if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Some("must contain at least one letter (a-z)".into())
    } else if text.contains("--") {
        Some("must not contain consecutive hyphens".into())
    } else {
        (text.starts_with('-') || text.ends_with('-'))
            .then(|| "must not begin or end with a hyphen".to_owned())
    }
}

/// A key of a ConfigMap or a Secret.
pub fn config_key(text: &str) -> Option<String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match text {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        text if text.starts_with("..") => Some("must not start with '..'".into()),
        text => too_long(text, 253).or_else(|| {
            (!fits || text.is_empty()).then(|| {
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
                 '[-._a-zA-Z0-9]+')"
                    .to_owned()
            })
        }),
    }
}

/// The name of an environment variable.
pub fn variable(text: &str) -> Option<String> {
    let fits =
        !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    (!fits).then(|| {
        "a valid environment variable name must consist only of printable ASCII characters other \
         than '='"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: Rule, fine: &[&str], wrong: &[&str]) {
        for text in fine {
            assert_eq!(rule(text), None, "{text:?}");
        }
        for text in wrong {
            assert!(rule(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn rules_are_those_of_kubernetes() {
        let long = "x".repeat(64);
        check(dns_label, &["a", "1-a"], &["", "A", "-a", "a-", "a.b", "a_b", &long]);
        check(dns_1035_label, &["a", "a-1"], &["", "1-a", "A", "a-", &long]);
        check(dns_subdomain, &["a.b-c.1", &long], &["", ".a", "a..b", "A", &"x".repeat(254)]);
        check(path_segment, &["system:x", "A b"], &[".", "..", "a/b", "a%b"]);
        let keys = ["app", "App_1.x", "app.kubernetes.io/name", "a"];
        let bad = ["", "bad label", "-a", "a-", "/a", "a/", "a/b/c", "a=b", "A/b", &long];
        check(qualified, &keys, &bad);
        check(label_value, &["", "a", "A_1.x"], &["-a", "a b", "a/b", &long]);
        check(
            port_name,
            &["http", "a-1"],
            &["", "80", "HTTP", "a--b", "-a", "http_x", "abcdefghijklmnop"],
        );
        check(config_key, &["a.b", "_A"], &["", ".", "..", "..a", "a/b", "a b"]);
        check(variable, &["A", "my.var", "a b"], &["", "a=b", "\u{e9}"]);
    }
}
