//! The supervisor of the tests: an API server without listeners, its
//! controllers, and the node; then the scene that was asked for.

use std::{ffi::OsString, process::ExitCode, sync::Arc};

use futures::FutureExt;
use serde_json::json;
use weft_apiserver::{Authority, Server, Store};
use weft_pods::{
    Image, Images, OwnCommand, PROGRAM, Settings, Tool,
    supervisor::{EnterOutcome, enter, prepare},
};

use crate::scenes;

/// Whether namespaces can be made here; says why not.
pub fn may_enter(arguments: &[OsString]) -> ExitCode {
    match enter(arguments) {
        Ok(EnterOutcome::Left(code)) => ExitCode::from(code),
        Ok(EnterOutcome::Inside(_)) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(77)
        }
    }
}

pub fn main(arguments: &[OsString]) -> ExitCode {
    let entered = match enter(arguments) {
        Ok(EnterOutcome::Left(code)) => return ExitCode::from(code),
        Ok(EnterOutcome::Inside(entered)) => entered,
        Err(error) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error));
            return ExitCode::from(77);
        }
    };
    // What the parts complain of is shown with the test's own output.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let prepared = prepare(entered).await.unwrap();
        let scene = prepared.settings()["scene"].as_str().unwrap_or_default().to_owned();
        let store = Store::new();
        let authority = Arc::new(Authority::new().unwrap());
        let settings = Settings {
            images: images(),
            tools: vec![Tool {
                name: "asker".into(),
                command: vec![PROGRAM.into(), "ask".into()],
                first_in: Vec::new(),
            }],
            domain: "cluster.local".into(),
            path: "/usr/local/bin:/usr/bin:/bin".into(),
            authority: Arc::clone(&authority),
            acknowledged: Arc::new(|_, _| async {}.boxed()),
        };
        let dial = prepared.dial(&store);
        let running = prepared.start(store.clone(), settings).await.unwrap();
        let node = Arc::new(running.node());
        let server = Arc::new(Server::new(store.clone(), authority, node.clone(), dial).unwrap());
        tokio::spawn(server.control(std::future::pending()));
        let scene = scenes::play(scene, store, node, running.link().clone());
        let link = running.link().clone();
        let playing = tokio::spawn(async move {
            let told = scene.await;
            link.ready(json!(told)).await;
        });
        running.until_stopped().await;
        playing.abort();
    });
    ExitCode::SUCCESS
}

fn images() -> Images {
    let image = |pattern: &str, command: &[&str]| Image {
        pattern: pattern.into(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        arguments: Vec::new(),
        own_command: OwnCommand::Replaces,
    };
    Images(vec![image("test/shell", &["/bin/sh", "-c"]), image("test/self", &[PROGRAM])])
}
