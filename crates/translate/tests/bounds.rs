//! What interests in hosts that do not exist cost, in a process of its own: memory is counted
//! for the whole process.

use std::fs;

use serde_json::json;
use weft_api::Object;
use weft_config::{Entry, Interest};
use weft_translate::{Client, Translator};

/// Interests that one pod may have.
const INTERESTS: usize = 4_096;
/// Bytes that one may cost where the host does not exist.
const BYTES: usize = 6 << 10;

fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    kilobytes.and_then(|text| text.parse::<usize>().ok()).expect("a number") << 10
}

/// A name of 126 labels that ends as no other does.
fn name(number: usize) -> String {
    let own: Vec<String> = format!("{number:04}").chars().map(String::from).collect();
    format!("{}{}", "a.".repeat(122), own.join("."))
}

#[test]
fn an_interest_in_a_long_name_that_does_not_exist_costs_a_few_kilobytes() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app"}]},
    });
    let Some(Object::Pod(pod)) = weft_api::read(pod) else { panic!("a pod") };
    let client = Client::of_pod(&pod);
    let mut translator = Translator::new();
    let interests = |from: usize| -> Vec<Interest> {
        let all = (from..from + INTERESTS).map(|number| format!("{}:80", name(number)));
        all.map(|text| text.parse().expect("an interest")).collect()
    };
    let (first, second) = (interests(0), interests(INTERESTS));
    let before = memory();
    for interest in &first {
        assert_eq!(translator.resolve(&client, interest).answer.entry, Entry::Outside);
    }
    let each = (memory() - before) / INTERESTS;
    println!("{each} bytes for each interest");
    assert!(each < BYTES, "{each} bytes for each interest");
    // Those that are forgotten leave room for others.
    let before = memory();
    for (old, new) in first.iter().zip(&second) {
        let class = translator.class(&client, old);
        translator.forget(&class, old);
        translator.resolve(&client, new);
    }
    let more = memory().saturating_sub(before) / INTERESTS;
    assert!(more < BYTES / 4, "{more} bytes for each interest that took another's place");
}
