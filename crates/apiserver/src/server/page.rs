//! Lists in pieces: `limit`, and the `continue` of the piece before.
//!
//! All pieces name the version of the first, so that a client that watches from
//! there hears what has changed between them.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_controllers::object;

use crate::{query::Query, resource::Resource, status::Status, store::Store};

/// The page of a list that a client asks for.
#[derive(Debug, Default)]
pub struct Page {
    /// The largest number of objects; without it, all.
    limit: Option<usize>,
    from: Option<Token>,
}

/// Where the next piece begins, and what the first was a list of.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    version: u64,
    /// Namespace and name of the last object that was sent.
    after: (String, String),
}

/// A piece of a list.
#[derive(Debug)]
pub struct Piece {
    /// Its objects.
    pub items: Vec<Arc<Value>>,
    /// The version that the whole list is of.
    pub version: u64,
    /// The token of the next piece, and how many objects are left, if there are.
    rest: Option<(String, usize)>,
}

impl Page {
    /// Reads what `query` asks for.
    pub fn of(query: &Query) -> Result<Self, Status> {
        let limit = query.number("limit")?.filter(|limit| *limit > 0);
        let from = query.text("continue").map(parse).transpose()?;
        Ok(Self { limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)), from })
    }

    /// The piece of `items`, which are all that the selectors select, as of `version`.
    pub fn cut(
        self,
        (store, resource): (&Store, &Resource),
        mut items: Vec<Arc<Value>>,
        version: u64,
    ) -> Result<Piece, Status> {
        let version = match self.from {
            None => version,
            Some(Token { version, after }) => {
                // What has changed since then must still be known to who watches.
                store.watch(resource, version).try_next()?;
                items.retain(|object| place(object) > after);
                version
            }
        };
        let left = items.len().saturating_sub(self.limit.unwrap_or(usize::MAX));
        items.truncate(items.len() - left);
        let rest = match items.last() {
            Some(last) if left > 0 => Some((Token { version, after: place(last) }.text(), left)),
            _ => None,
        };
        Ok(Piece { items, version, rest })
    }
}

impl Piece {
    /// Writes into the list's metadata how it goes on; `counted` when the count of
    /// what is left is wanted.
    pub fn note_rest(&self, list: &mut Value, counted: bool) {
        if let Some((token, left)) = &self.rest {
            list["metadata"]["continue"] = token.as_str().into();
            if counted {
                list["metadata"]["remainingItemCount"] = (*left).into();
            }
        }
    }
}

impl Token {
    fn text(&self) -> String {
        // A number and two texts are always JSON.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

fn parse(text: &str) -> Result<Token, Status> {
    let invalid = || Status::bad_request(format!("continue key is not valid: {text:?}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    serde_json::from_slice(&bytes).map_err(|_| invalid())
}

/// Where an object stands in lists.
fn place(object: &Value) -> (String, String) {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_together_are_the_list_and_say_its_first_version() {
        let store = Store::new();
        let namespaces = store.resource("", "namespaces").unwrap();
        let create = |name: &str| {
            store.create(&namespaces, json!({"metadata": {"name": name}})).unwrap();
        };
        ["a", "b", "c", "d", "e"].into_iter().for_each(create);
        let first_version = store.version();
        let (mut names, mut token, mut sizes) = (Vec::new(), String::new(), Vec::new());
        loop {
            let query = Query::parse(&format!("limit=2&continue={token}"));
            let list = store.list(&namespaces, None);
            let page = Page::of(&query).unwrap();
            let piece = page.cut((&store, &namespaces), list.items, list.version).unwrap();
            assert_eq!(piece.version, first_version);
            let mut told = json!({"metadata": {}});
            piece.note_rest(&mut told, true);
            sizes.push((piece.items.len(), told["metadata"]["remainingItemCount"].as_u64()));
            names.extend(piece.items.iter().map(|object| object::name(object).to_owned()));
            match told["metadata"]["continue"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
            // Another client writes in the meantime.
            create(&format!("f{}", names.len()));
        }
        assert_eq!(names[..5], ["a", "b", "c", "d", "e"]);
        assert_eq!(sizes[0], (2, Some(3)));
        assert_eq!(sizes[1], (2, Some(2)));
        assert_eq!(Page::of(&Query::parse("continue=nonsense!")).unwrap_err().code, 400);
    }
}
