//! `weft inject`: manifests with sidecars in them, to standard output.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use weft_inject::{Settings, Texts, Warning};
use weft_manifest::{Document, to_yaml};

use crate::{
    documents, meshes,
    terminal::{note, print_data},
    verbs::{ChosenCluster, runtime},
};

/// The namespace of the mesh's own objects.
const ROOT_NAMESPACE: &str = "istio-system";

/// Prints manifests with sidecars added to their pods. The mesh's settings come
/// from the files given, else from the running mesh, else they are the defaults.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders with manifests, `-` for standard input
    #[arg(short, long, required = true, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// The namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// MeshConfig, as key `mesh` of ConfigMap `istio` has it
    #[arg(long, alias = "meshConfigFile", value_name = "FILE")]
    mesh_config_file: Option<PathBuf>,
    /// Helm's values, as key `values` of ConfigMap `istio-sidecar-injector` has them
    #[arg(long, alias = "valuesFile", value_name = "FILE")]
    values_file: Option<PathBuf>,
    /// The injector's configuration, as key `config` of that ConfigMap has it
    #[arg(long, alias = "injectConfigFile", value_name = "FILE")]
    inject_config_file: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let (settings, warnings) = settings(arguments, chosen)?;
    for Warning { field, message } in warnings {
        note(format_args!("warning: {field}: {message}"));
    }
    let mut documents = documents::read(&arguments.filename)?;
    if arguments.namespace != "default" {
        documents::into_namespace(&mut documents, &arguments.namespace);
    }
    let mut problems: Vec<String> =
        documents.iter().flat_map(|one| &one.problems).map(ToString::to_string).collect();
    let mut texts = Vec::new();
    for document in &documents {
        let Some(value) = &document.value else { continue };
        warn(document);
        match weft_inject::document(value, &settings) {
            Ok(injected) => texts.push(to_yaml(&injected)),
            Err(refused) => problems.push(format!("{}: error: {refused}", document.place())),
        }
    }
    if !problems.is_empty() {
        bail!(
            "nothing is printed, because some documents cannot be injected:\n{}",
            problems.join("\n")
        );
    }
    print_data(&texts.join("---\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Reports settings of the document's pod that have no effect.
fn warn(document: &Document) {
    weft_explain::sidecar_warnings(document).iter().for_each(note);
}

fn settings(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<(Settings, Vec<Warning>)> {
    let Arguments { mesh_config_file, values_file, inject_config_file, .. } = arguments;
    let files = [mesh_config_file, values_file, inject_config_file];
    if files.iter().all(|file| file.is_none()) {
        return of_mesh(chosen);
    }
    let read = |file: &Option<PathBuf>| file.as_deref().map(read).transpose();
    let [mesh, values, config] = files.map(read);
    let (mesh, values, config) = (mesh?, values?, config?);
    Ok(Settings::read(Texts {
        mesh: mesh.as_deref(),
        values: values.as_deref(),
        config: config.as_deref(),
    }))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// The settings of the mesh that other commands would speak to, if there is one.
fn of_mesh(chosen: ChosenCluster<'_>) -> Result<(Settings, Vec<Warning>)> {
    let named = chosen.mesh.is_some() || chosen.kubeconfig.is_some();
    let runs = meshes::folder().is_ok_and(|folder| !meshes::running(&folder).is_empty());
    if !named && !runs {
        return Ok((Settings::default(), Vec::new()));
    }
    runtime()?.block_on(async {
        let cluster = chosen.connect().await?;
        Ok(cluster.injection_settings(ROOT_NAMESPACE).await?)
    })
}
