//! Why a request goes where it goes: the proof as data and as text.
//!
//! The same translation and the same decisions that proxies run, on objects from
//! files or from a running mesh. Nothing here knows sockets or clusters: the
//! caller reads the files, or lists the objects.

mod analysis;
mod document;
mod explanation;
mod files;
mod workloads;
mod sidecar_settings;
mod names;
mod proxy;
mod question;
mod text;
mod together;
mod translated;
mod walk;
mod world;

pub use analysis::{Analysis, Finding, Place};
pub use document::{Findings, check, sidecar_warnings};
pub use explanation::{
    Because, DecidedBy, Destination, DnsAnswer, Explanation, Hop, Ignored, Mirror, Outcome,
    Protocol, Request, Unresolved,
};
pub use files::Unlabelled;
pub use question::{BadQuestion, PodName, Question, Start, Url};
pub use together::{Circumstances, Problems, Workloads, problems};
pub use translated::translate_for;
pub use walk::{ExplainError, explain};
pub use world::World;
