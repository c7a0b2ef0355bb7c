//! A value → YAML, as `get -o yaml` and `inject` print it.

use serde_json::Value;

/// `value` as one YAML document, keys in the order of the alphabet as kubectl prints them.
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        folded_wrap_chars: usize::MAX,
    };
    serde_saphyr::to_string_with_options(value, options)
        .expect("a JSON value has only texts as keys and only finite numbers")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value) {
        let yaml = to_yaml(&value);
        let documents = crate::read("f", &yaml);
        assert_eq!(documents.len(), 1, "{yaml}");
        assert_eq!(documents[0].value.as_ref(), Some(&value), "{yaml}");
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let texts = [
            "",
            " ",
            "a",
            "8080",
            "1.0",
            "0755",
            "1e3",
            "true",
            "yes",
            "off",
            "null",
            "~",
            "*",
            "&a",
            "!x",
            "@x",
            "%x",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "'",
            "\"",
            "\\",
            "---",
            "a\nb",
            "a\nb\n",
            "\n",
            "a\n\n\n",
            " lead\nb",
            "trail \nb",
            "\t",
            "a\tb",
            "[a]",
            "{a}",
            "2024-01-01",
            "0x1f",
            "1_000",
            ".nan",
            ".inf",
            "<<",
            "=",
            "?",
            "|",
            ">",
            "ü",
            "\u{1}",
            "\u{85}",
            "\r\n",
            "y",
            "n",
            "a:",
            ":a",
            "12:30:45",
            "+1",
            "-",
            "--- a",
            "...",
            "\u{feff}a",
        ];
        for text in texts {
            check(json!({"text": text, "list": [text, [text]], "nested": {"a": {"b": text}}}));
            check(json!({text: {text: 1}}));
        }
        check(json!({"long": "word ".repeat(100), "lines": "word ".repeat(40) + "\n" + "x"}));
    }

    #[test]
    fn empty_and_odd_values_are_read_back() {
        check(json!({"a": [], "b": {}, "c": [{}], "d": [[]], "e": null, "f": [null]}));
        check(json!({"a": [{"b": [{"c": 1}, {"d": [1, 2.5, -3]}]}, true, false]}));
    }
}
