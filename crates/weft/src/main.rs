//! The program: one file per subcommand, no logic.

mod checks;
mod control;
mod curl;
mod documents;
mod down;
mod explain;
mod http_echo;
mod inject;
mod istio_iptables;
mod meshes;
mod proxy;
mod supervise;
mod translate;
mod up;
mod verbs;
mod withdrawn;
mod world;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::verbs::{Whose, apply, delete, describe, exec, get, kubectl, label, logs, scale};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A service mesh: the Istio and Kubernetes objects you have, on a laptop or a cluster.
#[derive(Parser, Debug)]
#[command(name = "weft", version, propagate_version = true)]
struct Program {
    /// The mesh that the command is for [default: the only one that runs]
    #[arg(long, global = true, value_name = "NAME")]
    mesh: Option<String>,
    /// Any cluster, instead of a mesh on this machine
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "mesh")]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Up(up::Arguments),
    Down(down::Arguments),
    Get(get::Arguments),
    Describe(describe::Arguments),
    Apply(apply::Arguments),
    Delete(delete::Arguments),
    Logs(logs::Arguments),
    Exec(exec::Arguments),
    Scale(scale::Arguments),
    Label(label::Arguments),
    #[command(disable_help_flag = true)]
    Kubectl(kubectl::Arguments),
    Inject(inject::Arguments),
    Explain(explain::Arguments),
    Translate(translate::Arguments),
    Proxy(proxy::Arguments),
    Control(control::Arguments),
    #[command(hide = true, disable_help_flag = true)]
    Curl(curl::Arguments),
    #[command(hide = true)]
    HttpEcho,
    #[command(name = supervise::COMMAND, hide = true)]
    Supervise,
    #[command(hide = true)]
    IstioIptables(istio_iptables::Arguments),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let mesh = program.mesh.as_deref();
    let whose = Whose { mesh, kubeconfig: program.kubeconfig.as_deref() };
    let ended = match &program.command {
        Command::Up(arguments) => up::run(arguments),
        Command::Down(arguments) => down::run(arguments, mesh),
        Command::Get(arguments) => get::run(arguments, whose),
        Command::Describe(arguments) => describe::run(arguments, whose),
        Command::Apply(arguments) => apply::run(arguments, whose),
        Command::Delete(arguments) => delete::run(arguments, whose),
        Command::Logs(arguments) => logs::run(arguments, whose),
        Command::Exec(arguments) => exec::run(arguments, whose),
        Command::Scale(arguments) => scale::run(arguments, whose),
        Command::Label(arguments) => label::run(arguments, whose),
        Command::Kubectl(arguments) => kubectl::run(arguments, whose),
        Command::Inject(arguments) => inject::run(arguments),
        Command::Explain(arguments) => explain::run(arguments, whose),
        Command::Translate(arguments) => translate::run(arguments, whose),
        Command::Proxy(arguments) => proxy::run(arguments),
        Command::Control(arguments) => control::run(arguments),
        Command::Curl(arguments) => curl::run(arguments),
        Command::HttpEcho => http_echo::run(),
        Command::Supervise => supervise::run(),
        Command::IstioIptables(arguments) => istio_iptables::run(arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
