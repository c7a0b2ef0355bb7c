//! What travels and what is kept in a file.

use serde::{Deserialize, Serialize};

use crate::{
    Answer, Backend, ChunkList, DirectoryChunk, Endpoints, Listener, Route, RuleList, Settings,
};

/// One piece of configuration; the body of a resource on the stream is its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Resource {
    /// A place where connections arrive.
    Listener(Listener),
    /// Rules for some hosts.
    Route(Route),
    /// Rules that several routes have.
    RuleList(RuleList),
    /// Where requests can be sent.
    Backend(Backend),
    /// A part of what is behind a service's port.
    Endpoints(Endpoints),
    /// Which parts there are.
    ChunkList(ChunkList),
    /// A part of what exists.
    Directory(DirectoryChunk),
    /// What holds for the whole proxy.
    Settings(Settings),
    /// What an interest leads to.
    Answer(Answer),
}

impl Resource {
    /// The name on the stream: the kind, a slash, and the resource's own name
    /// (`route/…`, `backend/…`); an answer's is its interest.
    pub fn name(&self) -> String {
        match self {
            Self::Listener(listener) => format!("listener/{}", listener.name),
            Self::Route(route) => format!("route/{}", route.name),
            Self::RuleList(list) => format!("rules/{}", list.name),
            Self::Backend(backend) => format!("backend/{}", backend.name),
            Self::Endpoints(endpoints) => format!("endpoints/{}", endpoints.name),
            Self::ChunkList(list) => format!("chunks/{}", list.name),
            Self::Directory(chunk) => format!("directory/{}", chunk.name),
            Self::Settings(_) => "settings".to_owned(),
            Self::Answer(answer) => answer.interest.to_string(),
        }
    }

    /// The place of the resource called `name` where many come one after the other:
    /// what a resource refers to has a lower place than it, so that each is of use as
    /// soon as it is there.
    pub fn place(name: &str) -> u8 {
        match name.split_once('/').map(|(kind, _)| kind) {
            Some("endpoints") => 0,
            Some("chunks") => 1,
            Some("backend") => 2,
            Some("rules") => 3,
            Some("route") => 4,
            None if name == "settings" => 5,
            Some("listener" | "directory") => 6,
            // An answer.
            _ => 7,
        }
    }
}

/// A proxy's whole configuration in a file, for `weft proxy --config`.
///
/// Interests that no answer of the file names lead outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// All resources.
    pub resources: Vec<Resource>,
}
