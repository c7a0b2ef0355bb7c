//! A page for each kind that configures the mesh: each field, whether it is honoured, its default,
//! and how that differs from Istio.
//!
//! Made of the table that checks and translation read; defaults and differences are notes beside
//! it. `docs/reference/` has to agree with both.

mod notes;

use std::fmt::Write;

use crate::{
    Kind,
    schema::{Field, Holds, Instead, settings::MESH_CONFIG},
};
use notes::Note;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name, which is that of the kind, in lower case.
    pub name: String,
    /// The text, in Markdown.
    pub text: String,
}

/// Every page, and first the one that lists them.
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = kinds().map(of_kind).collect();
    pages.push(of_mesh_config());
    let list: String = pages
        .iter()
        .map(|page| {
            let title = page.text.lines().next().unwrap_or_default().trim_start_matches("# ");
            format!("- [{title}]({}.md)\n", page.name)
        })
        .collect();
    let text = format!(
        "# Reference\n\nWhat Weft does with each field of the objects that configure it. These pages are made of the \
         table that the\nprogram itself reads (`crates/api/src/schema`): do not edit them.\n\n{list}"
    );
    pages.insert(0, Page { name: "README".to_owned(), text });
    pages
}

/// The kinds of Istio and of gateways whose objects do something.
fn kinds() -> impl Iterator<Item = Kind> {
    let has_page = |kind: &Kind| kind.group().starts_with("networking.") && kind.fields().is_some();
    Kind::all().filter(has_page)
}

fn of_kind(kind: Kind) -> Page {
    let versions = kind.versions().join("`, `");
    let intro = format!("`{}`, versions `{versions}`.", kind.group());
    let fields = kind.fields().unwrap_or_default();
    let own = fields.iter().filter(|field| field.name == "spec");
    page(kind.name(), &intro, own, notes::of(kind.name()))
}

fn of_mesh_config() -> Page {
    let intro = "The text under key `mesh` of ConfigMap `istio` in the control plane's namespace.";
    page("MeshConfig", intro, MESH_CONFIG.iter(), notes::of("MeshConfig"))
}

fn page<'f>(
    title: &str,
    intro: &str,
    fields: impl Iterator<Item = &'f Field>,
    notes: &[Note],
) -> Page {
    let mut all = Rows::default();
    fields.for_each(|field| all.add(field.name, field));
    let mut text = format!(
        "# {title}\n\n{intro}\n\n| field | holds | default | honoured | differs from Istio |\n\
         |---|---|---|---|---|\n"
    );
    for row in all.rows {
        let note = notes.iter().find(|note| note.field == row.path);
        let (default, differs) = note.map_or(("", ""), |note| (note.default, note.differs));
        let honoured = match (notes::judged(title, &row.path), row.instead) {
            (Some(words), _) => words.to_owned(),
            (None, Some(instead)) => format!("not yet: {}", instead.text()),
            (None, None) if row.is_repeated => "see there".to_owned(),
            (None, None) => "yes".to_owned(),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            row.path,
            cell(&row.holds),
            cell(default),
            cell(&honoured),
            cell(differs)
        );
    }
    Page { name: title.to_lowercase(), text }
}

#[derive(Clone, PartialEq)]
struct Row {
    path: String,
    holds: String,
    instead: Option<Instead>,
    is_repeated: bool,
}

/// The rows of a page, and the objects whose fields stand there.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    objects: Vec<(String, Vec<Row>)>,
}

/// Fields that are said once, where several objects have the same.
const REPEATED: usize = 4;

impl Rows {
    /// Adds `field`, which is at `path`, and what is in it; where that stands already, its place.
    fn add(&mut self, path: &str, field: &Field) {
        let (path, holds) = items(path, &field.holds);
        let (Some(fields), None) = (inner(holds), field.instead) else {
            let holds = described(holds);
            return self.rows.push(Row { path, holds, instead: field.instead, is_repeated: false });
        };
        let own: Vec<Row> = fields.iter().flat_map(|field| all("", field)).collect();
        let same = self.objects.iter().find(|(_, other)| own.len() >= REPEATED && *other == own);
        if let Some((same, _)) = same {
            let holds = format!("the same as `{same}`");
            return self.rows.push(Row { path, holds, instead: None, is_repeated: true });
        }
        self.objects.push((path.clone(), own));
        for field in fields {
            self.add(&format!("{path}.{}", field.name), field);
        }
    }
}

/// `field`, which is at `path`, and all that is in it.
fn all(path: &str, field: &Field) -> Vec<Row> {
    let (path, holds) = items(&format!("{path}.{}", field.name), &field.holds);
    match (inner(holds), field.instead) {
        (Some(fields), None) => fields.iter().flat_map(|field| all(&path, field)).collect(),
        (_, instead) => vec![Row { path, holds: described(holds), instead, is_repeated: false }],
    }
}

/// What lists and maps hold, and where.
fn items<'f>(path: &str, mut holds: &'f Holds) -> (String, &'f Holds) {
    let mut path = path.to_owned();
    loop {
        match holds {
            Holds::List(each) => {
                path.push_str("[]");
                holds = each;
            }
            Holds::Map(each) if !matches!(each, Holds::Text) => {
                path.push_str(".NAME");
                holds = each;
            }
            _ => return (path, holds),
        }
    }
}

/// The fields of an object.
fn inner(holds: &Holds) -> Option<&'static [Field]> {
    match holds {
        Holds::Object(fields) | Holds::Closing(fields, _) | Holds::Partly(fields) => Some(fields),
        _ => None,
    }
}

/// What a field holds, in words.
fn described(holds: &Holds) -> String {
    match holds {
        Holds::Text => "text".to_owned(),
        Holds::Whole(_, to) if *to >= i64::from(i32::MAX) => "whole number".to_owned(),
        Holds::Whole(from, to) => format!("whole number, {from} to {to}"),
        Holds::Number => "number".to_owned(),
        Holds::Flag => "`true` or `false`".to_owned(),
        Holds::Span => "time span of at least 1 ms".to_owned(),
        Holds::ShortSpan => "time span".to_owned(),
        Holds::Word(words) => {
            let named = words.iter().filter(|word| !word.is_empty());
            named.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Holds::WholeOrText(..) => "number or name".to_owned(),
        Holds::Quantity => "amount".to_owned(),
        Holds::Map(_) => "map of texts".to_owned(),
        Holds::List(_) | Holds::Object(_) | Holds::Closing(..) | Holds::Partly(_) => {
            "object".to_owned()
        }
        Holds::Anything => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    #[test]
    fn the_pages_are_these() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
        for Page { name, text } in pages() {
            let path = folder.join(format!("{name}.md"));
            if env::var_os("UPDATE").is_some() {
                fs::create_dir_all(&folder).expect("a folder");
                fs::write(&path, &text).expect("a page");
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(found == text, "docs/reference/{name}.md is old: run this test with UPDATE=1");
        }
    }

    #[test]
    fn every_note_is_about_a_field() {
        let pages = pages();
        for title in notes::KINDS {
            let name = title.to_lowercase();
            let page = pages.iter().find(|page| page.name == name).expect("a page");
            for note in notes::of(title) {
                let row = format!("| `{}` |", note.field);
                assert!(page.text.contains(&row), "{title} has no field {}", note.field);
            }
        }
    }
}
