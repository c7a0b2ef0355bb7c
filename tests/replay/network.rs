//! A network of its own: every address that a world names is this machine, and nothing leaves it.

use std::{net::Ipv4Addr, os::unix::process::ExitStatusExt, process::Command};

use rtnetlink::{LinkUnspec, new_connection, packet_route::link::LinkFlags};

/// The loopback interface has this number in every namespace.
const LOOPBACK: u32 = 1;

/// Addresses with their prefixes, which are local as a whole: private ones, and those of examples (RFC 5737).
const LOCAL: &[([u8; 4], u8)] =
    &[([10, 0, 0, 1], 8), ([192, 0, 2, 1], 24), ([198, 51, 100, 1], 24), ([203, 0, 113, 1], 24)];

/// Runs an ignored test in a process with a network namespace of its own.
pub fn alone(test: &str) {
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.arg(std::env::current_exe().expect("a test has a program"));
    unshare.args(["--exact", test, "--ignored", "--nocapture"]);
    let ran = unshare.output().expect("`unshare` runs; it is a program of util-linux");
    let text = [ran.stdout, ran.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let hint = match text.contains("unshare: ") {
        true => "network namespaces are not allowed here: run as root, or allow user namespaces\n",
        false => "",
    };
    assert!(ran.status.success(), "{hint}{text}{:?}", ran.status.signal());
    assert!(text.contains("1 passed"), "{test} did not run: {text}");
}

/// Makes the addresses local, in the namespace of this process.
pub fn prepare() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (connection, netlink, _) = new_connection().expect("netlink");
        tokio::spawn(connection);
        let mut links = std::pin::pin!(netlink.link().get().match_index(LOOPBACK).execute());
        let first = futures::TryStreamExt::try_next(&mut links).await.expect("links are listed");
        let loopback = first.expect("there is a loopback interface");
        let is_up = loopback.header.flags.contains(LinkFlags::Up);
        assert!(!is_up, "this network is in use: run the test of this name without `_alone`");
        for (address, prefix) in LOCAL {
            let address = Ipv4Addr::from(*address).into();
            let adding = netlink.address().add(LOOPBACK, address, *prefix);
            adding.execute().await.expect("an address is added");
        }
        let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
        netlink.link().set(up).execute().await.expect("the loopback interface goes up");
    });
}
