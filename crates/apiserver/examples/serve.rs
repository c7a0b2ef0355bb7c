//! A cluster without processes, to point a client at: prints its kubeconfig's
//! path (the first argument) and serves until it is interrupted.

#[path = "../tests/it/fake.rs"]
mod fake;

use std::{net::Ipv4Addr, sync::Arc};

use weft_apiserver::{Authority, Server, Store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path =
        std::env::args().nth(1).ok_or("name the kubeconfig to write as the first argument")?;
    let (store, authority) = (Store::new(), Arc::new(Authority::new()?));
    let node = Arc::new(fake::Fake);
    let server = Arc::new(Server::new(store.clone(), Arc::clone(&authority), node.clone(), node)?);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    std::fs::write(&path, authority.admin_kubeconfig(address, "fake"))?;
    println!("serving on https://{address}, kubeconfig in {path}");
    tokio::select! {
        () = Arc::clone(&server).serve(listener, std::future::pending()) => {}
        () = Arc::clone(&server).control(std::future::pending()) => {}
        () = fake::run(store) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
