//! Texts in, objects, problems and places out.

use super::*;

/// What a text is read as: documents as JSON with their first lines, and problems.
fn say(text: &str) -> String {
    let mut lines = Vec::new();
    for document in read("f", text) {
        if let Some(value) = &document.value {
            lines.push(format!("{} {value}", document.first_line));
        }
        lines.extend(document.problems.iter().map(ToString::to_string));
    }
    lines.join("\n")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(say(text), expected);
}

#[track_caller]
fn check_place(text: &str, field: &str, expected: &str) {
    let documents = read("f", text);
    let place = documents.last().and_then(|document| document.locate(field));
    assert_eq!(place.map(|place| place.to_string()).unwrap_or_default(), expected, "{field}");
}

#[test]
fn documents_are_split_at_lines_of_dashes() {
    check("a: 1\n---\nb: 2\n--- # more\nc: 3\n", "1 {\"a\":1}\n3 {\"b\":2}\n5 {\"c\":3}");
    check("---\na: |\n  ---\n  x: --- y\n", "2 {\"a\":\"---\\nx: --- y\\n\"}");
    check("--- {a: 1}\n", "1 {\"a\":1}");
}

#[test]
fn empty_documents_are_left_out() {
    check("", "");
    check("---\n# nothing\n---\n\n", "");
    check("a: 1\n---\n", "1 {\"a\":1}");
    check("\u{feff}%YAML 1.2\n---\na: 1\n...\n", "3 {\"a\":1}");
}

#[test]
fn a_broken_document_does_not_swallow_the_others() {
    check(
        "a: 1\n---\nb: [1\n---\nc: 3\n",
        "1 {\"a\":1}\nf:3:4: error: not valid YAML: unclosed bracket '['\n5 {\"c\":3}",
    );
    check(
        "a:\n  b: 1\n c: 2\n---\nd: 3\n",
        "f:3:2: error: not valid YAML: while parsing a block mapping, did not find expected key; look \
         at the indentation\n5 {\"d\":3}",
    );
}

#[test]
fn keys_given_twice_are_all_told() {
    check(
        "a: 1\nb: {c: 1, c: 2}\na: 2\n",
        "f:2:11: error: `c` is given twice, first in line 2; keep one of them\n\
         f:3:1: error: `a` is given twice, first in line 1; keep one of them",
    );
}

#[test]
fn scalars_are_what_kubectl_takes_them_for() {
    for (yaml, json) in [
        ("8080", "8080"),
        ("\"8080\"", "\"8080\""),
        ("0755", "493"),
        ("1e3", "1000"),
        ("1.5", "1.5"),
        ("1.0", "1"),
        ("~", "null"),
        ("", "null"),
        ("yes", "true"),
        ("off", "false"),
        ("\"on\"", "\"on\""),
        ("v1", "\"v1\""),
        ("2024-01-01", "\"2024-01-01\""),
        ("! hello.example", "\"hello.example\""),
        ("! 5", "\"5\""),
        ("!!str 5", "\"5\""),
        ("world:8080", "\"world:8080\""),
        ("'!!!'", "\"!!!\""),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        check(&format!("a: {yaml}\n"), &format!("1 {{\"a\":{json}}}"));
    }
}

#[test]
fn keys_are_texts_whatever_they_look_like() {
    check("8080: a\ntrue: b\non: c\n", "1 {\"8080\":\"a\",\"on\":\"c\",\"true\":\"b\"}");
}

#[test]
fn anchors_and_merge_keys_are_followed() {
    check(
        "a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  k: 3\n",
        "1 {\"a\":{\"k\":1,\"l\":2},\"b\":{\"k\":1,\"l\":2},\"c\":{\"k\":3,\"l\":2}}",
    );
}

#[test]
fn items_of_lists_stand_for_themselves() {
    let list = "kind: List\nitems:\n- kind: A\n- kind: BList\n  items:\n  - kind: B\n";
    check(list, "3 {\"kind\":\"A\"}\n6 {\"kind\":\"B\"}");
}

#[test]
fn other_things_than_objects_are_problems() {
    let hint = "error: not an object; an object begins with `apiVersion:` and `kind:`";
    check("- a\n", &format!("f:1:1: {hint}"));
    check("a: 1\n---\njust text\n", &format!("1 {{\"a\":1}}\nf:3:1: {hint}"));
}

/// `levels` of nesting, written in each way that there is.
fn nested(levels: usize) -> [String; 5] {
    let block = |step: &str| {
        let lines = (0..levels).map(|level| format!("{}{step}\n", " ".repeat(level)));
        lines.collect::<String>()
    };
    let flow = |open: &str, close: &str| {
        format!("a: {}1{}\n", open.repeat(levels - 1), close.repeat(levels - 1))
    };
    let compact = format!("{}1\n", "- ".repeat(levels));
    [block("a:"), block("-"), compact, flow("[", "]"), flow("{a: ", "}")]
}

#[test]
fn deep_nesting_is_refused_with_its_place() {
    for levels in [65, 190, 10_000] {
        for text in nested(levels) {
            let said = say(&text);
            let start: String = text.chars().take(20).collect();
            assert!(said.starts_with("f:"), "{levels} of {start}: {said:.200}");
            assert!(said.contains("nested"), "{levels} of {start}: {said:.200}");
        }
    }
    for text in nested(60) {
        assert!(!say(&text).contains("nested"), "{text}");
    }
}

#[test]
fn alias_bombs_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", ")));
    }
    assert!(say(&bomb).starts_with("f:"), "an alias bomb was read");
}

#[test]
fn fields_have_places() {
    let text = "# first\na: 1\n---\nspec:\n  hosts: [x, y]\n  http:\n  - match:\n    - uri:\n        \
                prefix: /\n    fault: {}\n    per_try: 1\nmetadata:\n  labels:\n    a.b/c: d\n    a: e\n";
    for (field, place) in [
        ("", "f:4:1"),
        ("spec", "f:4:1"),
        ("spec.hosts[1]", "f:5:14"),
        ("spec.http[0]", "f:7:5"),
        ("spec.http[0].match[0].uri.prefix", "f:9:9"),
        ("spec.http[0].fault", "f:10:5"),
        ("spec.http[0].perTry", "f:11:5"),
        ("spec.http[0].route[3].destination", "f:7:5"),
        ("spec.http[7]", "f:6:3"),
        ("metadata.labels[\"a.b/c\"]", "f:14:5"),
        ("metadata.labels.a", "f:15:5"),
        ("nowhere", "f:4:1"),
    ] {
        check_place(text, field, place);
    }
}

#[test]
fn columns_count_characters() {
    check_place("kind: A\nü: {x: 1}\n", "ü.x", "f:2:5");
}
