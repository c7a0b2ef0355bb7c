//! What every container is started with: programs, users, tokens, the machine.

use std::{ffi::OsString, path::Path, sync::Arc};

use weft_apiserver::Authority;

use crate::{
    enter::Users,
    environment::Capacity,
    images::Images,
    node::{Settings, Tool},
    reaper::Reaper,
    spec::Container,
};

/// How containers are run on this machine.
pub(crate) struct Runtime {
    /// Which commands stand for which images.
    pub(crate) images: Images,
    /// Where containers look for programs.
    pub(crate) path: String,
    /// The domain of the cluster's names.
    pub(crate) domain: String,
    /// Who signs service accounts' tokens.
    pub(crate) authority: Arc<Authority>,
    /// Which users processes may run as.
    pub(crate) users: Users,
    /// Arguments that make this program the first process of a container.
    pub(crate) launcher: Vec<OsString>,
    pub(crate) reaper: Reaper,
    /// What this machine has.
    pub(crate) capacity: Capacity,
    tools: Vec<Tool>,
}

impl Runtime {
    pub(crate) fn new(
        settings: Settings,
        users: Users,
        launcher: Vec<OsString>,
        reaper: Reaper,
    ) -> Self {
        let Settings { images, tools, path, domain, authority, acknowledged: _ } = settings;
        Self {
            images,
            path,
            domain,
            authority,
            users,
            launcher,
            reaper,
            capacity: capacity(),
            tools,
        }
    }

    /// A command of a container, with a built-in tool in the place of a program that
    /// the host lacks or that is always built in there.
    pub(crate) fn with_tools(&self, container: &str, command: Vec<String>) -> Vec<String> {
        let Some(name) = command.first() else { return command };
        let Some(tool) = self.tools.iter().find(|tool| &tool.name == name) else {
            return command;
        };
        let own = tool.first_in.iter().any(|first| first == container);
        match own || !self.is_on_path(name) {
            true => tool.command.iter().chain(&command[1..]).cloned().collect(),
            false => command,
        }
    }

    /// Whether a container finds a program: on the host, or in one of its volumes.
    pub(crate) fn finds(&self, container: &Container, program: &str) -> bool {
        match program.contains('/') {
            // From a working folder of its own: it is tried.
            true if !program.starts_with('/') => true,
            true => {
                let program = Path::new(program);
                let mut mounts = container.volume_mounts.iter();
                program.exists() || mounts.any(|mount| program.starts_with(&mount.mount_path))
            }
            false => self.is_on_path(program),
        }
    }

    fn is_on_path(&self, name: &str) -> bool {
        let mut folders = self.path.split(':');
        folders.any(|folder| Path::new(folder).join(name).is_file())
    }
}

/// What this machine has.
fn capacity() -> Capacity {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kibibytes = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    Capacity { cpus, memory: kibibytes.unwrap_or(1 << 20) * 1024 }
}
