//! Which meshes run on this machine.
//!
//! A mesh is its kubeconfig, `weft-NAME.yaml`, plus the lock that its process
//! holds on `weft-NAME.lock`. A kubeconfig whose lock is not held is stale: it
//! is ignored, and removed by the next command that finds it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// A running mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningMesh {
    /// Its name.
    pub name: String,
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
    /// The process that the user started.
    pub process: i32,
}

/// The right to run a mesh of a name, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    /// Where the mesh's kubeconfig is to be.
    pub kubeconfig: PathBuf,
    lock: PathBuf,
    _held: File,
}

/// How often a lock is tried that another command may hold while it looks at it.
const LOOKS: u32 = 20;
/// The pause between two tries.
const LOOK: Duration = Duration::from_millis(5);

/// Where kubeconfigs are kept.
pub fn folder() -> Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    Ok(home.context("no home folder to keep the kubeconfig in: set HOME")?.join(".kube"))
}

/// The longest name of a mesh.
const LONGEST_NAME: usize = 63;

/// A name that a user gives to a mesh; part of the names of its files.
pub fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let whole = text.chars().all(fits) && ends(text.chars().next()) && ends(text.chars().last());
    match whole && text.len() <= LONGEST_NAME {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a mesh's name has up to {LONGEST_NAME} letters (a-z, A-Z), digits, `-`, `_` and `.`, and \
             begins and ends with a letter or digit"
        )),
    }
}

/// A name for the mesh of these files: the folder that the first one is in.
pub fn name_for(path: Option<&Path>) -> String {
    let folder = path.filter(|path| *path != Path::new("-")).and_then(|path| {
        let path = path.canonicalize().ok()?;
        match path.is_dir() {
            true => Some(path),
            false => path.parent().map(Path::to_owned),
        }
    });
    let name = folder.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let name: String = name
        .unwrap_or("mesh")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .skip_while(|c| *c == '-')
        .take(LONGEST_NAME)
        .collect();
    match name.trim_matches('-') {
        "" => "mesh".to_owned(),
        name => name.to_owned(),
    }
}

/// Claims `name` for this process.
pub fn claim(folder: &Path, name: &str) -> Result<Claim> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let lock = folder.join(format!("weft-{name}.lock"));
    let mut tries = 0;
    let mut held = loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .with_context(|| format!("opening {}", lock.display()))?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &lock) => break file,
            // A command that removes stale files has just removed it.
            Ok(()) => {}
            // Or is about to.
            Err(TryLockError::WouldBlock) if tries < LOOKS => {
                tries += 1;
                std::thread::sleep(LOOK);
            }
            Err(TryLockError::WouldBlock) => bail!(
                "a mesh called {name} is running already; choose another name with --name, or end \
                 it with `weft --mesh {name} down`"
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", lock.display()));
            }
        }
    };
    // What a killed process left is not the new mesh's.
    let kubeconfig = folder.join(format!("weft-{name}.yaml"));
    let _ = fs::remove_file(&kubeconfig);
    held.set_len(0)
        .and_then(|()| write!(held, "{}", std::process::id()))
        .with_context(|| format!("writing {}", lock.display()))?;
    Ok(Claim { kubeconfig, lock, _held: held })
}

impl Claim {
    /// Writes the kubeconfig, which its owner alone can read at any time: it holds a key.
    pub fn write(&self, text: &str) -> Result<()> {
        let path = &self.kubeconfig;
        let write = || -> std::io::Result<()> {
            // A file that is there already may be open elsewhere, or lead somewhere else.
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file =
                OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be removed is stale, and the next command removes it.
        let _ = fs::remove_file(&self.kubeconfig);
        let _ = fs::remove_file(&self.lock);
    }
}

/// The meshes that run now, by name; removes what is stale.
pub fn running(folder: &Path) -> Vec<RunningMesh> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut meshes: Vec<RunningMesh> = entries
        .filter_map(|entry| {
            let file = entry.ok()?.file_name().into_string().ok()?;
            let name = file.strip_prefix("weft-")?.strip_suffix(".lock")?;
            look(folder, name)
        })
        .collect();
    meshes.sort_by(|one, other| one.name.cmp(&other.name));
    meshes
}

fn look(folder: &Path, name: &str) -> Option<RunningMesh> {
    let lock = folder.join(format!("weft-{name}.lock"));
    let kubeconfig = folder.join(format!("weft-{name}.yaml"));
    let mut file = File::open(&lock).ok()?;
    if file.try_lock().is_ok() {
        // Only who has the lock of a file removes it, so it is this one that goes.
        if is_at(&file, &lock) {
            let _ = fs::remove_file(&kubeconfig);
            let _ = fs::remove_file(&lock);
        }
        return None;
    }
    let mut process = String::new();
    file.read_to_string(&mut process).ok()?;
    let process = process.trim().parse().ok()?;
    kubeconfig.exists().then(|| RunningMesh { name: name.to_owned(), kubeconfig, process })
}

/// Whether `file` is the one that is found at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// The mesh that a command is for: the one asked for, or the only one.
pub fn choose(folder: &Path, asked: Option<&str>) -> Result<RunningMesh> {
    let mut meshes = running(folder);
    let names = || {
        let names: Vec<&str> = meshes.iter().map(|mesh| mesh.name.as_str()).collect();
        names.join(", ")
    };
    if let Some(asked) = asked {
        let Some(at) = meshes.iter().position(|mesh| mesh.name == asked) else {
            match meshes.is_empty() {
                true => bail!(
                    "no mesh called {asked} is running; start it with `weft up --name {asked} PATH`"
                ),
                false => bail!("no mesh called {asked} is running; these are: {}", names()),
            }
        };
        return Ok(meshes.swap_remove(at));
    }
    match meshes.len() {
        0 => bail!("no mesh is running; start one with `weft up PATH`"),
        1 => Ok(meshes.swap_remove(0)),
        _ => bail!("several meshes are running: {}; say which with --mesh NAME", names()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_mesh_runs_while_its_lock_is_held_and_its_kubeconfig_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let claim = claim(folder.path(), "one").unwrap();
        assert_eq!(running(folder.path()), [], "it is not ready yet");
        claim.write("kind: Config\n").unwrap();
        let mesh = choose(folder.path(), None).unwrap();
        assert_eq!(mesh.name, "one");
        assert_eq!(mesh.process, i32::try_from(std::process::id()).unwrap());
        let mode = fs::metadata(&mesh.kubeconfig).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(claim);
        assert!(choose(folder.path(), None).unwrap_err().to_string().contains("weft up"));
    }

    #[test]
    fn a_kubeconfig_is_never_written_into_a_file_that_others_may_have_open() {
        let folder = tempfile::tempdir().unwrap();
        let claim = claim(folder.path(), "one").unwrap();
        let path = folder.path().join("weft-one.yaml");
        fs::write(&path, "").unwrap();
        let mut other = File::open(&path).unwrap();
        claim.write("a key").unwrap();
        let mut seen = String::new();
        other.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a key");
    }

    #[test]
    fn a_name_is_claimed_once() {
        let folder = tempfile::tempdir().unwrap();
        let _claim = claim(folder.path(), "one").unwrap();
        let error = claim(folder.path(), "one").unwrap_err().to_string();
        assert!(error.contains("--name"), "{error}");
    }

    #[test]
    fn what_a_killed_mesh_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("weft-old.lock"), "12345").unwrap();
        fs::write(file("weft-old.yaml"), "kind: Config\n").unwrap();
        assert_eq!(running(folder.path()), []);
        assert!(!file("weft-old.lock").exists() && !file("weft-old.yaml").exists());
    }

    #[test]
    fn a_mesh_that_starts_does_not_show_what_a_killed_one_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("weft-old.lock"), "12345").unwrap();
        fs::write(folder.path().join("weft-old.yaml"), "kind: Config\n").unwrap();
        let _claim = claim(folder.path(), "old").unwrap();
        assert_eq!(running(folder.path()), []);
    }

    #[test]
    fn commands_that_look_while_a_mesh_starts_do_not_hide_it() {
        let folder = tempfile::tempdir().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        running(folder.path());
                    }
                });
            }
            for turn in 0..300 {
                let claim = claim(folder.path(), "one");
                let seen = claim.as_ref().is_ok_and(|claim| {
                    claim.write("kind: Config\n").unwrap();
                    running(folder.path()).len() == 1
                });
                over.store(!seen || turn == 299, Ordering::Relaxed);
                assert!(seen, "turn {turn}: {claim:?}");
            }
        });
    }

    #[test]
    fn one_of_several_has_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let claims: Vec<Claim> =
            ["a", "b"].map(|name| claim(folder.path(), name).unwrap()).into_iter().collect();
        claims.iter().for_each(|claim| claim.write("").unwrap());
        let error = choose(folder.path(), None).unwrap_err().to_string();
        assert_eq!(error, "several meshes are running: a, b; say which with --mesh NAME");
        assert_eq!(choose(folder.path(), Some("b")).unwrap().name, "b");
        assert!(
            choose(folder.path(), Some("c")).unwrap_err().to_string().contains("these are: a, b")
        );
    }

    #[test]
    fn a_mesh_is_named_after_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("My Shop");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("all.yaml"), "").unwrap();
        assert_eq!(name_for(Some(&inside)), "my-shop");
        assert_eq!(name_for(Some(&inside.join("all.yaml"))), "my-shop");
        assert_eq!(name_for(Some(Path::new("-"))), "mesh");
        assert_eq!(name_for(None), "mesh");
    }

    #[test]
    fn a_folder_of_any_name_gives_a_name_that_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        for odd in ["...", "--x--", "日本", "a b/c d", ".hidden", &"long-".repeat(40)] {
            let inside = folder.path().join(odd);
            fs::create_dir_all(&inside).unwrap();
            let given = name_for(Some(&inside));
            assert_eq!(name(&given), Ok(given.clone()), "for {odd}");
        }
    }

    #[test]
    fn a_name_that_makes_odd_files_is_refused_with_what_is_allowed() {
        for fine in ["a", "one-2", "My_shop.v1", &"x".repeat(63)] {
            assert_eq!(name(fine).as_deref(), Ok(fine));
        }
        for odd in ["", "a/b", "../a", ".a", "a.", "-a", "a b", "a\n", "ü", &"x".repeat(64)] {
            let refused = name(odd).unwrap_err();
            assert!(refused.contains("up to 63 letters"), "{odd}: {refused}");
        }
    }
}
