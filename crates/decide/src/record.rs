//! The seam through which a decision tells what it looked at.
//!
//! The engine passes `()` and pays nothing; `weft explain` passes a list.

use weft_config::Origin;

/// Where a decision writes what it looked at.
pub trait Record {
    /// Whether anybody listens; words are made only then.
    const LISTENS: bool;

    /// Takes one finding.
    fn note(&mut self, note: Note);
}

/// One thing that a decision looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What was looked at.
    pub origin: Origin,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, in a few words.
    pub why: String,
}

/// What came of looking at something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It holds, and is used.
    Matched,
    /// It does not hold.
    NotMatched,
    /// It would hold, but something before it was used.
    Overridden,
    /// Something before it was used, and it would not have held either.
    NotReached,
    /// It is closed or missing, and so the request is refused.
    Refused,
}

impl Verdict {
    /// The verdict in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::NotMatched => "not matched",
            Self::Overridden => "overridden",
            Self::NotReached => "not reached",
            Self::Refused => "refused",
        }
    }
}

impl Record for () {
    const LISTENS: bool = false;

    fn note(&mut self, _: Note) {}
}

impl Record for Vec<Note> {
    const LISTENS: bool = true;

    fn note(&mut self, note: Note) {
        self.push(note);
    }
}

/// Tells `record` something, making the words only if it listens.
pub(crate) fn tell<R: Record>(
    record: &mut R,
    origin: &Origin,
    verdict: Verdict,
    why: impl FnOnce() -> String,
) {
    if R::LISTENS {
        record.note(Note { origin: origin.clone(), verdict, why: why() });
    }
}
