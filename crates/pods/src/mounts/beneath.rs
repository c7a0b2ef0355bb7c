//! Opening a path inside a volume, whatever links its pods have put there.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2},
    io::Errno,
};

use crate::root::open_path;

/// Opens `path` in the folder `volume`; folders that are missing are made, as on a
/// cluster. Refuses a path that leaves the volume, by a link as well.
pub(super) fn open(volume: &Path, path: &str) -> io::Result<File> {
    let root = open_path(volume)?;
    let mut reached = PathBuf::new();
    let mut opened = look(&root, Path::new("."))?;
    for part in Path::new(path).components() {
        reached.push(part);
        opened = match look(&root, &reached) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&opened, part.as_os_str(), Mode::from_raw_mode(0o777)) {
                    // A process of the pod may be faster.
                    Ok(()) | Err(Errno::EXIST) => look(&root, &reached)?,
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        };
    }
    Ok(opened)
}

fn look(root: &File, path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(opened) => Ok(File::from(opened)),
        Err(Errno::XDEV) => {
            let message = format!("subPath {:?} leaves its volume", path.display().to_string());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_path_stays_in_its_volume_whatever_links_say() {
        let folder = tempfile::tempdir().unwrap();
        let (volume, other) = (folder.path().join("volume"), folder.path().join("other"));
        fs::create_dir_all(volume.join("inner")).unwrap();
        fs::create_dir_all(&other).unwrap();
        symlink("inner", volume.join("near")).unwrap();
        symlink("../other", volume.join("far")).unwrap();
        symlink(&other, volume.join("absolute")).unwrap();
        let same = |path: &str| {
            use std::os::unix::fs::MetadataExt as _;
            open(&volume, path).map(|found| found.metadata().unwrap().ino())
        };
        let inner = same("inner").unwrap();
        assert_eq!(same("near").unwrap(), inner);
        for leaving in ["far", "absolute", "far/deeper", "inner/../../other"] {
            assert!(same(leaving).is_err(), "{leaving}");
        }
        assert!(!other.join("deeper").exists());
        same("new/folder").unwrap();
        assert!(volume.join("new/folder").is_dir());
    }
}
