//! Files are saved and time passes; what is to be done comes out.

use super::*;

/// A folder of files on a clock that only moves when told.
struct Bench {
    files: Files,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { files: Files::new("default"), now: Instant::now() }
    }

    /// Saves a file of objects written `NAME=VALUE NAME=VALUE`; the text as it is otherwise.
    #[track_caller]
    fn save(&mut self, path: &str, content: &str, expected: &str) {
        let objects = content.split_whitespace().filter_map(|object| object.split_once('='));
        let documents: Vec<_> = objects
            .map(|(name, value)| {
                format!(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{v: {value}}}\n"
                )
            })
            .collect();
        let text = match documents.is_empty() {
            true => content.to_owned(),
            false => documents.join("---\n"),
        };
        let source = Source { argument: 0, path: path.to_owned() };
        let changes = self.files.saw(&source, Some(&text), self.now);
        assert_eq!(say(&changes), expected);
    }

    #[track_caller]
    fn remove(&mut self, path: &str, expected: &str) {
        let source = Source { argument: 0, path: path.to_owned() };
        let changes = self.files.saw(&source, None, self.now);
        assert_eq!(say(&changes), expected);
    }

    #[track_caller]
    fn wait(&mut self, milliseconds: u64, expected: &str) {
        self.now += Duration::from_millis(milliseconds);
        let changes = self.files.wait(self.now);
        assert_eq!(say(&changes), expected);
    }
}

fn say(changes: &Changes) -> String {
    let value = |document: &Document| document.value.as_ref().unwrap()["data"]["v"].clone();
    let mut words = Vec::new();
    for (name, document) in &changes.apply {
        words.push(format!("+{}={}", name.name, value(document).as_str().unwrap()));
    }
    words.extend(changes.prune.iter().map(|name| format!("-{}", name.name)));
    words.extend(changes.problems.iter().map(|problem| format!("!{}", problem.place)));
    words.extend(changes.conflicts.iter().map(|conflict| {
        format!("{}: {} not {}", conflict.object.name, conflict.used, conflict.ignored)
    }));
    words.join(" ")
}

#[test]
fn only_what_changed_is_applied_and_what_vanished_is_pruned() {
    let mut bench = Bench::new();
    bench.save("a.yaml", "cart=one shop=one", "+cart=one +shop=one");
    bench.save("a.yaml", "cart=one shop=two bill=one", "+shop=two +bill=one");
    bench.save("a.yaml", "cart=one", "-bill -shop");
    bench.save("a.yaml", "cart=one", "");
}

#[test]
fn a_broken_file_keeps_its_objects() {
    let mut bench = Bench::new();
    bench.save("a.yaml", "cart=one", "+cart=one");
    bench.save("a.yaml", "data: [", "!a.yaml:1:7");
    bench.wait(5000, "");
    bench.save("a.yaml", "kind: ConfigMap", "!a.yaml:1:1");
    bench.save("a.yaml", "cart=two", "+cart=two");
}

#[test]
fn the_other_documents_of_a_broken_file_are_applied() {
    let mut bench = Bench::new();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cart}\ndata: {v: one}\n";
    bench.save("a.yaml", &format!("a: [\n---\n{map}"), "+cart=one !a.yaml:1:4");
    bench.save("a.yaml", "shop=one", "+shop=one -cart");
}

#[test]
fn an_empty_file_loses_its_objects_only_after_a_second() {
    let mut bench = Bench::new();
    bench.save("a.yaml", "cart=one", "+cart=one");
    bench.save("a.yaml", "", "");
    bench.wait(900, "");
    bench.save("a.yaml", "cart=one", "");
    bench.wait(900, "");
    bench.remove("a.yaml", "");
    assert_eq!(bench.files.due(), Some(bench.now + PATIENCE));
    bench.wait(1000, "-cart");
    assert_eq!(bench.files.due(), None);
}

#[test]
fn the_last_file_wins_and_both_places_are_told_once() {
    let mut bench = Bench::new();
    bench.save("b.yaml", "cart=b", "+cart=b");
    bench.save("a.yaml", "cart=a shop=a", "+shop=a cart: b.yaml:1:1 not a.yaml:1:1");
    bench.save("a.yaml", "cart=a shop=b", "+shop=b");
    bench.save("b.yaml", "bill=b", "+cart=a +bill=b");
}

#[test]
fn deleted_objects_return_when_their_file_is_saved() {
    let mut bench = Bench::new();
    bench.save("a.yaml", "cart=one", "+cart=one");
    bench.save("b.yaml", "shop=one", "+shop=one");
    let cart = bench.files.applied.keys().next().unwrap().clone();
    bench.files.deleted(&cart);
    bench.save("b.yaml", "shop=two", "+shop=two");
    bench.save("a.yaml", "cart=one", "+cart=one");
    bench.files.deleted(&cart);
    bench.save("a.yaml", "bill=one", "+bill=one");
}

#[test]
fn a_problem_is_told_once_for_every_save() {
    let mut bench = Bench::new();
    bench.save("a.yaml", "data: [", "!a.yaml:1:7");
    bench.save("a.yaml", "data: [", "");
    bench.save("a.yaml", "# again\ndata: [", "!a.yaml:2:7");
    bench.save("a.yaml", "one=two", "+one=two");
    bench.save("a.yaml", "data: [", "!a.yaml:1:7");
}

#[test]
fn a_problem_is_told_again_when_its_file_had_gone() {
    let mut bench = Bench::new();
    bench.save("a.yaml", "data: [", "!a.yaml:1:7");
    bench.remove("a.yaml", "");
    bench.save("a.yaml", "data: [", "");
    bench.remove("a.yaml", "");
    bench.wait(1000, "");
    bench.save("a.yaml", "data: [", "!a.yaml:1:7");
}
