//! The file system that all pods start from.
//!
//! The host's folders, each mounted where it was, under a root of our own: so
//! folders can be made for mounts without touching the host's disk, and /etc,
//! /run and /tmp are ours. It knows no pods.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::pivot_root,
};

/// Ours alone: pods' volumes and the program itself. Covered inside containers,
/// except for the program.
pub(crate) const STATE: &str = "/.weft";
/// This very program, wherever it was started from and whatever became of that
/// file since.
pub const PROGRAM: &str = "/.weft/weft";

/// Where the root is put together: any folder that every system has.
const STAGE: &str = "/tmp";
/// Folders of the host that are hidden by our own, and where they stay visible
/// to the supervisor.
const HIDDEN: [(&str, &str); 2] = [("/tmp", ".weft/host/tmp"), ("/run", ".weft/host/run")];
/// Files in /etc that decide how names are looked up.
const LOOKUP_FILES: [(&str, &str); 4] = [
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n",
    ),
    ("resolv.conf", ""),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("hostname", "weft\n"),
];

/// Makes the root and enters it. Needs mount and process namespaces of its own.
pub(crate) fn enter() -> io::Result<()> {
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let stage = Path::new(STAGE);
    let mut hidden = Vec::new();
    for (path, place) in HIDDEN {
        if let Ok(folder) = open_path(Path::new(path)) {
            hidden.push((folder, stage.join(place)));
        }
    }
    let program = open_program()?;
    tmpfs(stage, "mode=755")?;
    for name in ["proc", "run", "tmp", "etc", ".weft/host", ".weft/pods", ".weft/old"] {
        fs::create_dir_all(stage.join(name))?;
    }
    for (folder, place) in &hidden {
        fs::create_dir_all(place)?;
        bind(&by_descriptor(folder), place)?;
    }
    let place = stage.join(".weft/weft");
    match program {
        Some(program) => {
            File::create(&place)?;
            bind(&by_descriptor(&program), &place)?;
        }
        None => {
            fs::copy("/proc/self/exe", &place)?;
        }
    }
    copy_entries(Path::new("/"), stage, &["proc", "run", "tmp", "etc", ".weft"])?;
    let lookup: Vec<&str> = LOOKUP_FILES.iter().map(|(name, _)| *name).collect();
    copy_entries(Path::new("/etc"), &stage.join("etc"), &lookup)?;
    for (name, text) in LOOKUP_FILES {
        fs::write(stage.join("etc").join(name), text)?;
    }
    mount(Some("proc"), &stage.join("proc"), Some("proc"), MsFlags::empty(), nothing)?;
    private_folders(stage)?;
    drop(hidden);
    pivot_root(stage, &stage.join(".weft/old"))?;
    std::env::set_current_dir("/")?;
    umount2("/.weft/old", MntFlags::MNT_DETACH)?;
    fs::remove_dir("/.weft/old")
}

/// This program's file, found by its name: what the kernel remembers of it is in
/// the mounts of the namespace that was left. `None` when the name leads
/// elsewhere, as after a rebuild.
fn open_program() -> io::Result<Option<File>> {
    let Ok(found) = fs::read_link("/proc/self/exe").and_then(|path| open_path(&path)) else {
        return Ok(None);
    };
    let (running, named) = (fs::metadata("/proc/self/exe")?, found.metadata()?);
    let same = running.dev() == named.dev() && running.ino() == named.ino();
    Ok(same.then_some(found))
}

/// Fresh /run and /tmp below `root`.
pub(crate) fn private_folders(root: &Path) -> io::Result<()> {
    tmpfs(&root.join("run"), "mode=755")?;
    tmpfs(&root.join("tmp"), "mode=1777")
}

/// Mounts an empty tmpfs.
pub(crate) fn tmpfs(at: &Path, options: &str) -> io::Result<()> {
    Ok(mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options))?)
}

/// Mounts `source`, and what is mounted below it, at `target`.
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let nothing: Option<&str> = None;
    Ok(mount(Some(source), target, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)?)
}

/// A name for a file that stays valid when something is mounted over it.
pub(crate) fn by_descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens a place in the file system, for use by [`by_descriptor`].
pub(crate) fn open_path(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(path)
}

/// Makes every entry of `from`, except `without`, appear in the folder `to`.
pub(crate) fn copy_entries(from: &Path, to: &Path, without: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if without.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&target)?;
        } else {
            File::create(&target)?;
        }
        if let Err(error) = bind(&source, &target) {
            // One unreadable entry of a strange system is no reason to stop; it
            // is empty for the pods.
            tracing::debug!(path = %source.display(), %error, "not visible in pods");
        }
    }
    Ok(())
}

/// Gives `path` these permissions.
pub(crate) fn permit(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
