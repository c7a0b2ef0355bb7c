//! What a pod's volumes contain.
//!
//! Pure up to [`write`]: which files a volume has follows from the pod, other
//! objects and a source of tokens.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path},
    time::Duration,
};

use crate::{
    environment::{Fields, Objects, field, resource},
    root::permit,
    spec::{FileSource, ProjectedSource, TokenSource, Volume},
};

/// What files are made from.
pub(crate) struct Sources<'a> {
    pub(crate) fields: Fields<'a>,
    pub(crate) objects: &'a dyn Objects,
    pub(crate) tokens: &'a dyn Tokens,
}

/// Who signs tokens of the pod's service account.
pub(crate) trait Tokens {
    /// A token for an audience; for the API server when that is empty.
    fn token(&self, audience: &str, lifetime: Duration) -> Result<String, String>;
    /// The certificate by which the API server is known.
    fn api_certificate(&self) -> &str;
}

/// The files of one volume, by path.
pub(crate) type Files = BTreeMap<String, Content>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

/// The name of the volume that every pod gets, and where it is mounted.
pub(crate) const ACCOUNT_VOLUME: &str = "kube-api-access";
/// Where programs look for their service account.
pub(crate) const ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const DEFAULT_MODE: u32 = 0o644;
/// What a token lasts when the pod does not say.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The files of `volume`; none of an empty folder. An error is for the pod's
/// status, and may be mended by another object.
pub(crate) fn files(volume: &Volume, sources: &Sources<'_>) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let entries = sources.objects.config_map(source.object());
        add_entries(&mut files, ("configmap", source, source.default_mode), entries)?;
    } else if let Some(source) = &volume.secret {
        let entries = sources.objects.secret(source.object());
        add_entries(&mut files, ("secret", source, source.default_mode), entries)?;
    } else if let Some(source) = &volume.downward_api {
        add_fields(&mut files, source, source.default_mode, sources)?;
    } else if let Some(projected) = &volume.projected {
        for source in &projected.sources {
            add_projected(&mut files, source, projected.default_mode, sources)?;
        }
    }
    Ok(files)
}

/// The files by which a pod reaches the API server.
pub(crate) fn account_files(sources: &Sources<'_>) -> Result<Files, String> {
    let token = sources.tokens.token("", TOKEN_LIFETIME)?;
    let namespace = sources.fields.pod.metadata.namespace.clone();
    let content = |text: &str| Content { bytes: text.as_bytes().to_vec(), mode: DEFAULT_MODE };
    Ok(Files::from([
        ("token".into(), content(&token)),
        ("ca.crt".into(), content(sources.tokens.api_certificate())),
        ("namespace".into(), content(&namespace)),
    ]))
}

/// When the soonest token of these volumes has to be signed again: at four
/// fifths of its life.
pub(crate) fn renewal(volumes: &[Volume]) -> Duration {
    volumes
        .iter()
        .filter_map(|volume| volume.projected.as_ref())
        .flat_map(|projected| &projected.sources)
        .filter_map(|source| source.service_account_token.as_ref())
        .map(lifetime)
        .fold(TOKEN_LIFETIME, Duration::min)
        .mul_f64(0.8)
}

/// Makes the folder hold exactly `files`. Each file changes at once, so that a
/// reader never sees half of one.
pub(crate) fn write(folder: &Path, files: &Files) -> io::Result<()> {
    for (name, content) in files {
        let target = folder.join(name);
        if fs::read(&target).is_ok_and(|known| known == content.bytes) {
            continue;
        }
        let parent = target.parent().unwrap_or(folder);
        fs::create_dir_all(parent)?;
        let fresh = parent.join(".weft-new");
        fs::write(&fresh, &content.bytes)?;
        permit(&fresh, content.mode)?;
        fs::rename(&fresh, &target)?;
    }
    remove_others(folder, folder, files)
}

fn remove_others(root: &Path, folder: &Path, files: &Files) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A link to a folder is not followed: what it leads to is not the volume's.
        if entry.file_type()?.is_dir() {
            remove_others(root, &path, files)?;
            continue;
        }
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        if name.is_none_or(|name| !files.contains_key(name)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn add_projected(
    files: &mut Files,
    source: &ProjectedSource,
    mode: Option<u32>,
    sources: &Sources<'_>,
) -> Result<(), String> {
    if let Some(source) = &source.config_map {
        let entries = sources.objects.config_map(source.object());
        add_entries(files, ("configmap", source, mode), entries)?;
    }
    if let Some(source) = &source.secret {
        let entries = sources.objects.secret(source.object());
        add_entries(files, ("secret", source, mode), entries)?;
    }
    if let Some(source) = &source.downward_api {
        add_fields(files, source, mode, sources)?;
    }
    if let Some(source) = &source.service_account_token {
        let token = sources.tokens.token(&source.audience, lifetime(source))?;
        let content = Content { bytes: token.into_bytes(), mode: mode.unwrap_or(DEFAULT_MODE) };
        files.insert(inside(&source.path)?, content);
    }
    Ok(())
}

fn lifetime(source: &TokenSource) -> Duration {
    // Kubernetes signs nothing for less than ten minutes, or more than 2^32 seconds.
    let seconds = source.expiration_seconds.map(|seconds| seconds.clamp(600, 1 << 32));
    seconds.map_or(TOKEN_LIFETIME, Duration::from_secs)
}

fn add_entries(
    files: &mut Files,
    (kind, source, mode): (&str, &FileSource, Option<u32>),
    entries: Option<BTreeMap<String, Vec<u8>>>,
) -> Result<(), String> {
    let mode = mode.unwrap_or(DEFAULT_MODE);
    let Some(entries) = entries else {
        return match source.optional {
            true => Ok(()),
            false => Err(format!("{kind} {:?} not found", source.object())),
        };
    };
    if source.items.is_empty() {
        for (key, bytes) in entries {
            files.insert(inside(&key)?, Content { bytes, mode });
        }
        return Ok(());
    }
    for item in &source.items {
        match entries.get(&item.key) {
            Some(bytes) => {
                let content = Content { bytes: bytes.clone(), mode: item.mode.unwrap_or(mode) };
                files.insert(inside(&item.path)?, content);
            }
            None if source.optional => {}
            None => {
                let object = source.object();
                return Err(format!("{kind} {object:?} references non-existent key: {}", item.key));
            }
        }
    }
    Ok(())
}

fn add_fields(
    files: &mut Files,
    source: &FileSource,
    mode: Option<u32>,
    sources: &Sources<'_>,
) -> Result<(), String> {
    for item in &source.items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field(sources.fields, &reference.field_path),
            (None, Some(reference)) => resource(sources.fields, reference, None),
            (None, None) => None,
        };
        let text = text.ok_or_else(|| format!("downwardAPI {:?}: no such field", item.path))?;
        let mode = item.mode.or(mode).unwrap_or(DEFAULT_MODE);
        files.insert(inside(&item.path)?, Content { bytes: text.into_bytes(), mode });
    }
    Ok(())
}

/// Refuses a volume of a kind that is never served, however long is waited.
pub(crate) fn check_kind(volume: &Volume) -> Result<(), String> {
    let name = &volume.name;
    if volume.host_path.is_some() {
        return Err(format!(
            "volume {name:?}: hostPath is not served; use emptyDir, configMap or secret"
        ));
    }
    if volume.persistent_volume_claim.is_some() {
        return Err(format!("volume {name:?}: persistentVolumeClaim is not served; use emptyDir"));
    }
    let served = volume.empty_dir.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some();
    match served {
        true => Ok(()),
        false => Err(format!("volume {name:?}: its kind is not served; use emptyDir")),
    }
}

/// The objects that the files of these volumes are made from: plural and name.
pub(crate) fn objects(volumes: &[Volume]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut add = |plural, source: &Option<FileSource>| {
        if let Some(source) = source {
            found.push((plural, source.object().to_owned()));
        }
    };
    for volume in volumes {
        add("configmaps", &volume.config_map);
        add("secrets", &volume.secret);
        for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
            add("configmaps", &source.config_map);
            add("secrets", &source.secret);
        }
    }
    found
}

/// Whether a volume's name can be that of its folder.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !name.is_empty() && name.len() <= 63 && name.bytes().all(plain) {
        true => Ok(()),
        false => {
            Err(format!("volume {name:?}: a name has 1 to 63 lower case letters, digits and '-'"))
        }
    }
}

/// A path that does not leave its volume.
pub(crate) fn inside(path: &str) -> Result<String, String> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    match plain && !path.is_empty() {
        true => Ok(path.to_owned()),
        false => Err(format!("path {path:?} leaves its volume")),
    }
}

#[cfg(test)]
mod tests;
