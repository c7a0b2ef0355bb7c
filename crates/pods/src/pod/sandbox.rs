//! What a pod's containers share: network, volumes, and who they are.

use std::{
    fs::{self, File},
    future::Future,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{net::UnixListener, sync::watch};
use weft_apiserver::{PodRef, Tone};
use weft_process::sockets;

use super::folder;
use crate::{
    begin::{Task, TaskRole},
    enter::Users,
    environment::{Fields, command_line, variables},
    host_ports::answer_requests,
    launch::{Streams, beside},
    mounts::{Access, ContainerRoot, Mount},
    network::{PodNetwork, ranges},
    node::PodServices,
    objects::PodObjects,
    reaper::signal_group,
    root::{STATE, permit},
    spec::{Container, Pod, VolumeMount},
    state::{Instances, State},
    volumes::{self, ACCOUNT_PATH, ACCOUNT_VOLUME, Sources},
};

/// Addresses beyond the mesh that a pod answers for.
const OUTSIDE_ADDRESSES: &str = "weft.internal/outside-addresses";
/// Names beyond the mesh that lead to it.
const OUTSIDE_NAMES: &str = "weft.internal/outside-names";
/// The folder of [`sockets::PATH`].
const SOCKETS_FOLDER: &str = "/run/weft";
/// How often the wall clock is looked at, which tokens follow: a laptop that was
/// asleep has not counted the time.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// A pod's network, volumes and containers.
pub(crate) struct Sandbox {
    pub(crate) services: PodServices,
    pub(crate) pod: Arc<Pod>,
    pub(crate) address: Ipv4Addr,
    /// The pod's network namespace.
    pub(crate) network: File,
    pub(crate) instances: Instances,
    link: PodNetwork,
    folder: PathBuf,
}

impl Sandbox {
    /// Makes the network and the folder of a pod.
    pub(super) async fn create(services: &PodServices, pod: &Arc<Pod>) -> Result<Self, String> {
        if pod.spec.host_network {
            return Err("hostNetwork is not served: every pod has a network of its own".into());
        }
        for volume in &pod.spec.volumes {
            volumes::check_name(&volume.name)?;
            volumes::check_kind(volume)?;
        }
        let outside = pod.metadata.annotations.get(OUTSIDE_ADDRESSES);
        let outside = ranges(outside.map_or("", String::as_str))
            .map_err(|item| format!("{OUTSIDE_ADDRESSES}: {item:?} is not an IPv4 range"))?;
        let networks = &services.networks;
        let link =
            networks.connect().await.map_err(|error| format!("making its network: {error}"))?;
        let uid = &pod.metadata.uid;
        let prepared = async {
            let names = pod.metadata.annotations.get(OUTSIDE_NAMES).map_or("", String::as_str);
            networks.play_outside(&link, uid, (&outside, names)).await?;
            let folder = Path::new(STATE).join("pods").join(&pod.metadata.uid);
            folder::write(&folder, (pod, link.address), &services.runtime.domain)?;
            Ok::<_, io::Error>((link.namespace.try_clone()?, folder))
        };
        let (network, folder) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                networks.disconnect(&link, uid).await;
                return Err(format!("preparing the pod: {error}"));
            }
        };
        let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
        Ok(Self {
            services: services.clone(),
            pod: Arc::clone(pod),
            address: link.address,
            network,
            instances: Instances::new(containers.map(|container| &container.name)),
            link,
            folder,
        })
    }

    /// What a container runs, or why it cannot yet be known.
    pub(crate) fn task(
        &self,
        container: &Container,
        line: Vec<String>,
    ) -> Result<(Task, ContainerRoot), String> {
        let objects = self.objects();
        let mut known = variables(self.fields(), container, &objects)?;
        let command_line = command_line(&line, &known)?;
        let hostname = self.hostname();
        let path = self.services.runtime.path.as_str();
        let defaults = [("PATH", path), ("HOSTNAME", &hostname), ("HOME", "/tmp")];
        for (name, text) in defaults {
            if known.value(name).is_none() {
                known.set(name.into(), text.to_owned())?;
            }
        }
        let working_folder = container.working_dir.clone().unwrap_or_else(|| "/tmp".into());
        let root = ContainerRoot {
            hostname,
            mounts: self.mounts(container)?,
            program: command_line.first().map(PathBuf::from).unwrap_or_default(),
            working_folder: PathBuf::from(&working_folder),
        };
        let task = Task {
            command_line,
            variables: known.into_list(),
            owner: self.owner(container),
            working_folder: Some(working_folder),
            place: TaskRole::First,
        };
        Ok((task, root))
    }

    /// A task beside a running container, with its variables and its user.
    pub(crate) fn task_beside(
        &self,
        container: &Container,
        command_line: Vec<String>,
    ) -> Result<Task, String> {
        let (task, _) = self.task(container, Vec::new())?;
        Ok(Task { command_line, ..task })
    }

    /// Runs a command in a container and keeps only its exit code.
    pub(crate) fn quiet_exec(
        &self,
        container: &Container,
        pid: Pid,
        command_line: Vec<String>,
    ) -> impl Future<Output = io::Result<i32>> + Send + 'static {
        let line = self.services.runtime.with_tools(&container.name, command_line);
        let task = self.task_beside(container, line).map_err(io::Error::other);
        let reaper = self.services.runtime.reaper.clone();
        async move {
            let streams =
                Streams { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
            let process = beside(&reaper, pid, task?, streams).await?;
            let unfinished = Unfinished(process.pid);
            let ended = process.ended.await;
            std::mem::forget(unfinished);
            ended.map(|ending| ending.code).map_err(io::Error::other)
        }
    }

    /// Fills the volumes, waiting for objects that do not exist yet, and keeps them
    /// as their objects are. `filled` becomes true when the containers may start.
    pub(super) async fn keep_volumes(self: Arc<Self>, filled: watch::Sender<bool>) {
        let mut objects = self.services.objects.clone();
        // Looked at before the files are written: what changes meanwhile is seen again.
        let mut written = self.objects().versions();
        while let Err(message) = self.write_volumes() {
            self.record_event(
                Tone::Warning,
                "FailedMount",
                &format!("MountVolume.SetUp failed: {message}"),
            );
            self.wait("ContainerCreating", &message);
            if objects.changed().await.is_err() {
                return;
            }
            written = self.objects().versions();
        }
        self.wait("PodInitializing", "");
        filled.send_replace(true);
        let renewal = volumes::renewal(&self.pod.spec.volumes);
        let mut renew_at = SystemTime::now() + renewal;
        loop {
            let left = renew_at.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::select! {
                changed = objects.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Most changes are about objects of other pods.
                    let found = self.objects().versions();
                    if found == written {
                        continue;
                    }
                    written = found;
                }
                () = tokio::time::sleep(left.min(LONGEST_NAP)) => {
                    if SystemTime::now() < renew_at { continue }
                }
            }
            renew_at = SystemTime::now() + renewal;
            if let Err(error) = self.write_volumes() {
                let pod = &self.pod.metadata.name;
                tracing::debug!(pod, error, "volumes stay as they are");
            }
        }
    }

    /// Answers the pod's processes that ask for listening sockets.
    pub(super) async fn lend_sockets(self: Arc<Self>) {
        let path = self.folder.join("run").join("sockets");
        let listener = match UnixListener::bind(&path) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "no listening sockets can be lent to a pod");
                return;
            }
        };
        // Proxies run as users of their own.
        let _ = permit(&path, 0o666);
        let host_ports = self.services.host_ports.clone();
        let pod = Arc::clone(&self.pod);
        let lend = move |request| {
            host_ports.lend(&pod, request);
            std::future::ready(())
        };
        answer_requests(listener, lend).await;
    }

    /// Who the pod is.
    pub(crate) fn reference(&self) -> PodRef {
        let metadata = &self.pod.metadata;
        PodRef {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
        }
    }

    /// Removes the pod's network, its files and its object: its processes have ended.
    pub(super) async fn remove(&self) {
        // What is still mounted in a dying container goes with it.
        let _ = fs::remove_dir_all(&self.folder);
        self.services.networks.disconnect(&self.link, &self.pod.metadata.uid).await;
        self.services.store.remove(&self.pod.metadata);
    }

    /// All containers wait for this; none has been started.
    fn wait(&self, reason: &'static str, message: &str) {
        for container in self.pod.spec.init_containers.iter().chain(&self.pod.spec.containers) {
            let message = message.to_owned();
            self.instances.update(&container.name, |instance| {
                instance.state = State::Waiting { reason, message };
            });
        }
    }

    fn write_volumes(&self) -> Result<(), String> {
        let objects = self.objects();
        let sources = Sources { fields: self.fields(), objects: &objects, tokens: &objects };
        let write = |name: &str, files: &volumes::Files| {
            volumes::write(&self.volume(name), files).map_err(|error| error.to_string())
        };
        for volume in &self.pod.spec.volumes {
            let files = volumes::files(volume, &sources)?;
            if volume.empty_dir.is_none() {
                write(&volume.name, &files)?;
            }
        }
        match self.pod.spec.automount_service_account_token {
            Some(false) => Ok(()),
            _ => write(ACCOUNT_VOLUME, &volumes::account_files(&sources)?),
        }
    }

    fn mounts(&self, container: &Container) -> Result<Vec<Mount>, String> {
        let file = |name: &str, target: &str| Mount {
            source: self.folder.join(name),
            sub_path: None,
            target: target.into(),
            access: Access::Write,
        };
        let mut mounts = vec![
            file("resolv.conf", "/etc/resolv.conf"),
            file("hosts", "/etc/hosts"),
            file("hostname", "/etc/hostname"),
            file("run", SOCKETS_FOLDER),
        ];
        for wanted in &container.volume_mounts {
            mounts.push(self.mount(wanted)?);
        }
        let own = container.volume_mounts.iter().any(|one| one.mount_path == ACCOUNT_PATH);
        if !own && self.pod.spec.automount_service_account_token != Some(false) {
            mounts.push(Mount {
                source: self.volume(ACCOUNT_VOLUME),
                sub_path: None,
                target: ACCOUNT_PATH.into(),
                access: Access::Read,
            });
        }
        Ok(mounts)
    }

    fn mount(&self, wanted: &VolumeMount) -> Result<Mount, String> {
        let name = &wanted.name;
        let Some(kind) = self.pod.spec.volumes.iter().find(|volume| volume.name == *name) else {
            return Err(format!("volumeMount {name:?}: the pod has no such volume"));
        };
        let sub_path = match wanted.sub_path.as_deref() {
            Some(path) if !path.is_empty() => Some(volumes::inside(path)?),
            _ => None,
        };
        // Only the supervisor may write there: it would follow the links of others.
        let access = match wanted.read_only || kind.empty_dir.is_none() {
            true => Access::Read,
            false => Access::Write,
        };
        let (source, target) = (self.volume(name), PathBuf::from(&wanted.mount_path));
        Ok(Mount { source, sub_path, target, access })
    }

    fn owner(&self, container: &Container) -> Option<(u32, u32)> {
        if self.services.runtime.users == Users::One {
            return None;
        }
        let (own, pods) = (&container.security_context, &self.pod.spec.security_context);
        let user = own.run_as_user.or(pods.run_as_user)?;
        Some((user, own.run_as_group.or(pods.run_as_group).unwrap_or(user)))
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.folder.join("volumes").join(name)
    }

    fn hostname(&self) -> String {
        let name = self.pod.spec.hostname.as_ref().unwrap_or(&self.pod.metadata.name);
        name.chars().take(63).collect()
    }

    fn fields(&self) -> Fields<'_> {
        Fields { pod: &self.pod, address: self.address, capacity: self.services.runtime.capacity }
    }

    fn objects(&self) -> PodObjects<'_> {
        let authority = &self.services.runtime.authority;
        PodObjects::new(&self.services.store, authority, &self.pod)
    }
}

/// A command that is killed with all that it began, unless it ends before.
struct Unfinished(Pid);

impl Drop for Unfinished {
    fn drop(&mut self) {
        signal_group(self.0, Signal::SIGKILL);
    }
}

const _: () = assert!(sockets::PATH.len() == SOCKETS_FOLDER.len() + "/sockets".len());
