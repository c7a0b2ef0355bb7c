//! The program: one file per subcommand, no logic.

mod analyze;
mod control;
mod curl;
mod documents;
mod down;
mod explain;
mod http_echo;
mod inject;
mod installation;
mod installed;
mod istio_iptables;
mod meshes;
mod pilot_agent;
mod proxy;
mod supervise;
mod terminal;
mod translate;
mod up;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::verbs::{ClusterArgs, apply, delete, describe, exec, get, kubectl, label, logs, scale};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FIRST_STEPS: &str = "\
First steps:
  weft up FOLDER                      run the manifests of a folder, in a terminal of its own
  weft get pods                       see that they are ready
  curl http://localhost:8080/         ask the ingress gateway; `weft up` prints its addresses
  weft explain --from ingress http://localhost:8080/    see which rule decided, and where it stands";

/// A service mesh: the Istio and Kubernetes objects you have, on a laptop or a cluster.
#[derive(Parser, Debug)]
#[command(name = "weft", version, propagate_version = true, after_help = FIRST_STEPS)]
struct Program {
    #[command(flatten)]
    target: ClusterArgs,
    #[command(subcommand)]
    command: Command,
}

// A command that takes a cluster. A doc comment would become its help text; the help
// comes from what is flattened last.
#[derive(clap::Args, Debug)]
struct On<A: clap::Args> {
    #[command(flatten)]
    target: ClusterArgs,
    #[command(flatten)]
    arguments: A,
}

#[derive(Subcommand, Debug)]
enum Command {
    Up(up::Arguments),
    Down(down::Arguments),
    Get(On<get::Arguments>),
    Describe(On<describe::Arguments>),
    Apply(On<apply::Arguments>),
    Delete(On<delete::Arguments>),
    Logs(On<logs::Arguments>),
    Exec(On<exec::Arguments>),
    Scale(On<scale::Arguments>),
    Label(On<label::Arguments>),
    #[command(disable_help_flag = true)]
    Kubectl(On<kubectl::Arguments>),
    Inject(On<inject::Arguments>),
    Explain(On<explain::Arguments>),
    Analyze(On<analyze::Arguments>),
    Translate(On<translate::Arguments>),
    Proxy(proxy::Arguments),
    Control(control::Arguments),
    #[command(hide = true, disable_help_flag = true)]
    Curl(curl::Arguments),
    #[command(hide = true)]
    HttpEcho,
    #[command(hide = true)]
    PilotAgent(pilot_agent::Arguments),
    #[command(name = supervise::COMMAND, hide = true)]
    Supervise,
    #[command(hide = true)]
    IstioIptables(istio_iptables::Arguments),
    #[command(hide = true)]
    Installation,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let outer = &program.target;
    let ended = match &program.command {
        Command::Up(arguments) => up::run(arguments, outer.or(outer)),
        Command::Down(arguments) => down::run(arguments, outer.or(outer)),
        Command::Get(on) => get::run(&on.arguments, on.target.or(outer)),
        Command::Describe(on) => describe::run(&on.arguments, on.target.or(outer)),
        Command::Apply(on) => apply::run(&on.arguments, on.target.or(outer)),
        Command::Delete(on) => delete::run(&on.arguments, on.target.or(outer)),
        Command::Logs(on) => logs::run(&on.arguments, on.target.or(outer)),
        Command::Exec(on) => exec::run(&on.arguments, on.target.or(outer)),
        Command::Scale(on) => scale::run(&on.arguments, on.target.or(outer)),
        Command::Label(on) => label::run(&on.arguments, on.target.or(outer)),
        Command::Kubectl(on) => kubectl::run(&on.arguments, on.target.or(outer)),
        Command::Inject(on) => inject::run(&on.arguments, on.target.or(outer)),
        Command::Explain(on) => explain::run(&on.arguments, on.target.or(outer)),
        Command::Analyze(on) => analyze::run(&on.arguments, on.target.or(outer)),
        Command::Translate(on) => translate::run(&on.arguments, on.target.or(outer)),
        Command::Proxy(arguments) => proxy::run(arguments),
        Command::Control(arguments) => control::run(arguments),
        Command::Curl(arguments) => curl::run(arguments),
        Command::HttpEcho => http_echo::run(),
        Command::PilotAgent(arguments) => pilot_agent::run(arguments),
        Command::Supervise => supervise::run(),
        Command::IstioIptables(arguments) => istio_iptables::run(arguments),
        Command::Installation => installation::run(),
    };
    ended.unwrap_or_else(|error| {
        terminal::note(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}
