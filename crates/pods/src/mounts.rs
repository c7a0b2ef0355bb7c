//! The file system of one container, made by the thread that spawns it.
//!
//! Starts from the supervisor's root; nothing that is made here is on a disk of
//! the host, and nothing outlives the container.

mod beneath;

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::sethostname,
};

use crate::root::{
    PROGRAM, STATE, bind, by_descriptor, copy_entries, open_path, private_folders, tmpfs,
};

/// What a container sees that others do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerRoot {
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<Mount>,
    /// The program that is run; what is under the host's /tmp or /run is made
    /// visible with its folder.
    pub(crate) program: PathBuf,
    pub(crate) working_folder: PathBuf,
}

/// A file or folder of the supervisor's state, and where the container has it.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    /// What of a volume is mounted: a path in which links that lead out of the
    /// volume are not followed.
    pub(crate) sub_path: Option<String>,
    pub(crate) target: PathBuf,
    pub(crate) access: Access,
}

/// Whether a container may write to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    Read,
}

/// Gives the calling thread a file system, a host name and a process namespace
/// of its own; what it spawns next lives in them.
pub(crate) fn enter(root: &ContainerRoot) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID)?;
    sethostname(&root.hostname)?;
    private_folders(Path::new("/"))?;
    let mut rooms = Rooms::find()?;
    show_program(root, &mut rooms)?;
    for mount in &root.mounts {
        add(mount, &mut rooms).map_err(|error| {
            io::Error::new(error.kind(), format!("mounting {}: {error}", mount.target.display()))
        })?;
    }
    if !root.working_folder.exists() {
        rooms.folder(&root.working_folder)?;
    }
    // Its /proc is mounted by the first process inside.
    cover_state()
}

fn add(wanted: &Mount, rooms: &mut Rooms) -> io::Result<()> {
    let source = match &wanted.sub_path {
        Some(path) => beneath::open(&wanted.source, path)?,
        None => open_path(&wanted.source)?,
    };
    match source.metadata()?.is_dir() {
        true => rooms.folder(&wanted.target)?,
        false => rooms.file(&wanted.target)?,
    }
    bind(&by_descriptor(&source), &wanted.target)?;
    if wanted.access == Access::Read {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let nothing: Option<&str> = None;
        mount(nothing, &wanted.target, nothing, flags, nothing)?;
    }
    Ok(())
}

/// Hides other pods' volumes, and keeps the program.
fn cover_state() -> io::Result<()> {
    let program = open_path(Path::new(PROGRAM))?;
    tmpfs(Path::new(STATE), "mode=755")?;
    File::create(PROGRAM)?;
    bind(&by_descriptor(&program), Path::new(PROGRAM))
}

/// A program that was built under /tmp is still to be found there.
fn show_program(root: &ContainerRoot, rooms: &mut Rooms) -> io::Result<()> {
    for hidden in ["tmp", "run"] {
        let Ok(rest) = root.program.strip_prefix(Path::new("/").join(hidden)) else { continue };
        let Some(folder) = rest.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            continue;
        };
        let source = Path::new(STATE).join("host").join(hidden).join(folder);
        if source.is_dir() {
            let target = Path::new("/").join(hidden).join(folder);
            rooms.folder(&target)?;
            bind(&source, &target)?;
        }
    }
    Ok(())
}

/// Where files and folders can be made without touching a disk of the host.
struct Rooms {
    devices: HashSet<u64>,
}

impl Rooms {
    fn find() -> io::Result<Self> {
        let device = |path: &str| fs::metadata(path).map(|found| found.dev());
        Ok(Self { devices: HashSet::from([device("/")?, device("/run")?, device("/tmp")?]) })
    }

    fn folder(&mut self, path: &Path) -> io::Result<()> {
        if !path.is_dir() {
            self.make_room(path)?;
            fs::create_dir_all(path)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            self.make_room(path)?;
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(path)?;
        }
        Ok(())
    }

    /// Replaces the nearest folder that exists by a tmpfs with the same entries,
    /// unless it is one already.
    fn make_room(&mut self, path: &Path) -> io::Result<()> {
        let existing = path.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok());
        let Some(existing) = existing else { return Ok(()) };
        if self.devices.contains(&fs::metadata(&existing)?.dev()) {
            return Ok(());
        }
        let host = open_path(&existing)?;
        let mode = fs::metadata(&existing)?.mode() & 0o7777;
        tmpfs(&existing, &format!("mode={mode:o}"))?;
        copy_entries(&by_descriptor(&host), &existing, &[])?;
        self.devices.insert(fs::metadata(&existing)?.dev());
        Ok(())
    }
}
