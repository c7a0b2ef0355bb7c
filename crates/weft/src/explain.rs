//! `weft explain`: why a request goes where it goes.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use weft_explain::{BadQuestion, Question, Start, Unlabelled, World};
use weft_translate::Installation;

use crate::{
    documents,
    installed::Installed,
    terminal::{note, print, print_data},
    verbs::{ChosenCluster, runtime},
};

const EXAMPLES: &str = "\
Examples:
  weft explain --from web http://cart/                  what a pod of Deployment web gets
  weft explain --from ingress http://localhost:8080/    what a client on this machine gets
  weft explain -f shop --from web PUT http://cart/1     from the files of a folder, without a mesh";

/// Explains what happens to a request, proxy by proxy and rule by rule, from files or
/// from the running mesh.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The method, GET when left out, and the URL; a leading `curl` is ignored
    #[arg(required = true, num_args = 1..=3, value_name = "[METHOD] URL")]
    request: Vec<String>,
    /// The method, as curl has it
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header of the request, as in `end-user: john`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address that the client dials [default: what the URL's host resolves to in the mesh]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    to: Option<SocketAddr>,
    /// The sender: a pod, a Deployment, or `ingress` for a client outside
    #[arg(long, value_name = "[KIND/]NAME[.NAMESPACE]|ingress", required_unless_present = "at")]
    from: Option<String>,
    /// Only what the sidecar of this pod does with it when it arrives
    #[arg(long, value_name = "POD[.NAMESPACE]", conflicts_with = "from")]
    at: Option<String>,
    /// The client speaks HTTP/2 without TLS, as gRPC does
    #[arg(long)]
    http2: bool,
    /// The client speaks TLS to the server of this name
    #[arg(long, value_name = "NAME")]
    tls_sni: Option<String>,
    /// Explain these files or folders instead of the running mesh
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// The namespace of pods and objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Pods of the files have sidecars only where a namespace asks for it
    #[arg(long, requires = "filename")]
    no_inject: bool,
    /// Follow that release where it differs from today's, as `weft up` does; for files
    #[arg(long, value_name = "RELEASE", requires = "filename", value_parser = ["istio-1.0"])]
    compatibility: Option<String>,
    #[command(flatten)]
    installed: Installed,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

/// How an explanation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// Text
    Text,
    /// JSON with documented fields
    Json,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    chosen.not_with_files(&arguments.filename)?;
    let question = question(arguments)?;
    let installation = arguments.installed.installation();
    let mut world = match arguments.filename.is_empty() {
        true => runtime()?.block_on(of_cluster(chosen, installation))?,
        false => {
            let unlabelled =
                if arguments.no_inject { Unlabelled::Skip } else { Unlabelled::Inject };
            let mut documents = documents::read(&arguments.filename)?;
            documents::into_namespace(&mut documents, &arguments.namespace);
            if let Some(release) = &arguments.compatibility {
                documents::with_compatibility(&mut documents, release, &installation.namespace);
            }
            World::of_files_in(documents, unlabelled, installation)
        }
    };
    let explanation = match weft_explain::explain(&mut world, &question) {
        Ok(explanation) => explanation,
        Err(error) => {
            // What is missing may be in a file that cannot be read.
            world.diagnostics().iter().for_each(note);
            return Err(error.into());
        }
    };
    match arguments.output {
        OutputFormat::Text => print(&explanation.to_string())?,
        OutputFormat::Json => {
            let text = serde_json::to_string_pretty(&explanation).context("writing JSON")?;
            print_data(&(text + "\n"))?;
        }
    }
    // Problems of objects that decide about the request stand in the explanation.
    let unreadable = world.unreadable();
    unreadable.iter().for_each(note);
    Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The world as the API server has it now.
pub async fn of_cluster(chosen: ChosenCluster<'_>, installation: Installation) -> Result<World> {
    let cluster = chosen.connect().await?;
    let resources = cluster.resources().await?;
    Ok(World::of_objects_in(cluster.deciding_objects(&resources).await?, installation))
}

/// Where a request begins; a pod that names no namespace is in `namespace`.
pub fn start(text: &str, namespace: &str) -> Result<Start, BadQuestion> {
    match text {
        "ingress" => text.parse(),
        pod => qualified(pod, namespace).parse(),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an IP address and a port, as in 10.96.0.5:80".to_owned())
}

fn qualified(pod: &str, namespace: &str) -> String {
    match pod.contains('.') {
        true => pod.to_owned(),
        false => format!("{pod}.{namespace}"),
    }
}

fn question(arguments: &Arguments) -> Result<Question> {
    let words: Vec<&str> = arguments.request.iter().map(String::as_str).collect();
    let words = match words.as_slice() {
        ["curl", words @ ..] => words,
        words => words,
    };
    let (method, url) = match (words, &arguments.method) {
        ([url], method) => (method.as_deref(), *url),
        ([method, url], None) => (Some(*method), *url),
        _ => bail!("give one URL, with a method before it if it is not GET"),
    };
    // Methods are told apart by case, and every known one is in upper case.
    if let Some(method) =
        method.filter(|method| method.bytes().any(|byte| byte.is_ascii_lowercase()))
    {
        bail!("`{method}` is not an HTTP method such as GET or POST");
    }
    let start = match (&arguments.from, &arguments.at) {
        (Some(from), _) => start(from, &arguments.namespace)?,
        (None, Some(pod)) => Start::At(qualified(pod, &arguments.namespace).parse()?),
        (None, None) => bail!("give the sender with --from POD or --from ingress"),
    };
    let mut question = Question::new(method, url, start)?;
    for header in &arguments.headers {
        question.add_header(header)?;
    }
    question.to = arguments.to;
    question.server_name.clone_from(&arguments.tls_sni);
    if arguments.http2 {
        question.speak_http2()?;
    }
    Ok(question)
}
