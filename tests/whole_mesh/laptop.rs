//! What `weft up` promises about itself: it follows the files, stands beside
//! another, and leaves nothing behind however it ends.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    mesh::{Mesh, manifest},
    outside, root,
    waiting::eventually,
};

/// The course's example, in files of this test's own.
fn copies() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |name: &str| {
        let path = folder.path().join(name);
        // Not copied with its mode, which may forbid saving it.
        let text = fs::read(manifest(name)).expect("a manifest");
        fs::write(&path, text).expect("a manifest can be copied");
        path
    };
    let (services, gateway) = (copy("helloworld.yaml"), copy("helloworld-gw.yaml"));
    (folder, services, gateway)
}

/// A process and all that it started, by number.
fn family(root: u32) -> BTreeSet<u32> {
    let parent = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse::<u32>().ok()
    };
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            all.iter()
                .filter(|(_, up)| found.contains(up))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

/// Waits until none of the processes is left.
#[track_caller]
fn check_gone(processes: &BTreeSet<u32>) {
    let left = || -> Vec<_> {
        let alive = |pid: &&u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        processes.iter().filter(alive).collect()
    };
    let gone = eventually(Duration::from_secs(5), || left().is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", left());
}

/// Ends the load also when the test fails, which would wait for it otherwise.
struct Ending<'s>(&'s AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The manifest with `/bye` beside `/hello`, in its own indentation.
fn with_second_path(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.trim() == "- uri:").expect("a match of a path");
    let second = [lines[at].clone(), lines[at + 1].replace("/hello", "/bye")];
    assert!(second[1].contains("/bye"), "the manifest changed its shape");
    lines.splice(at..at, second);
    lines.join("\n") + "\n"
}

#[test]
fn the_sample_serves_as_the_readme_says() {
    let mesh = Mesh::start("laptop-sample", &[root::root().join("samples/helloworld")], &[]);
    let response = outside::get(mesh.gateway(), "/hello");
    assert_eq!((response.status, response.body.trim()), (200, "hello world !!!"));
}

#[test]
fn killing_it_leaves_no_process_behind() {
    let mut mesh = Mesh::start("laptop-kill", &[manifest("helloworld.yaml")], &[]);
    mesh.wait_for_deployments("default");
    let processes = family(mesh.process());
    assert!(processes.len() > 20, "nine pods and the mesh are more than {}", processes.len());
    mesh.kill();
    check_gone(&processes);
}

#[test]
fn ctrl_c_stops_everything_and_frees_the_port() {
    let (_folder, services, gateway) = copies();
    let mesh = Mesh::start("laptop-interrupt", &[services, gateway], &[]);
    let address = mesh.gateway();
    assert_eq!(outside::get(address, "/hello").status, 200);
    let processes = family(mesh.process());
    mesh.interrupt();
    check_gone(&processes);
    assert!(TcpStream::connect(address).is_err(), "{address} is still bound");
}

#[test]
fn two_meshes_stand_side_by_side_on_ports_of_their_own() {
    let files = [manifest("helloworld.yaml"), manifest("helloworld-gw.yaml")];
    let one = Mesh::start("laptop-one", &files, &[]);
    let two = Mesh::start("laptop-two", &files, &[]);
    assert_ne!(one.gateway(), two.gateway());
    for mesh in [&one, &two] {
        assert_eq!(outside::get(mesh.gateway(), "/hello").status, 200);
    }
}

#[test]
fn saving_a_file_changes_the_mesh_without_a_failed_request() {
    let (_folder, services, gateway) = copies();
    let mesh = Mesh::start("laptop-edit", &[services, gateway.clone()], &[]);
    let address = mesh.gateway();
    assert_eq!(outside::get(address, "/hello").status, 200);
    assert_eq!(outside::get(address, "/bye").status, 404);

    let text = fs::read_to_string(&gateway).expect("the copy");
    let changed = with_second_path(&text);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let ending = Ending(&stop);
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(outside::get(address, "/hello").status, 200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let saved = Instant::now();
        fs::write(&gateway, changed).expect("the copy can be saved");
        mesh.eventually("/bye is served", || {
            (outside::get(address, "/bye").status == 200).then_some(())
        });
        let took = saved.elapsed();
        drop(ending);
        load.join().expect("no request failed");
        assert!(took < Duration::from_secs(1), "it took {took:?}");
    });
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[test]
fn the_command_line_works_on_the_running_mesh() {
    let mesh = Mesh::start("laptop-verbs", &[manifest("helloworld.yaml")], &[]);
    mesh.wait_for_deployments("default");
    mesh.run(&["scale", "deployment", "hello", "--replicas", "1"]);
    mesh.eventually("one pod of hello", || {
        (mesh.pods("hello", "default").len() == 1).then_some(())
    });
    let described = mesh.run(&["describe", "service", "hello"]);
    assert!(described.contains("8080/TCP"), "{described}");
    let wide = mesh.run(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("NODE"), "{wide}");
    let everywhere = mesh.run(&["get", "pods", "-A"]);
    assert!(everywhere.contains("istio-ingressgateway"), "{everywhere}");
    mesh.run(&["delete", "-f", &manifest("helloworld.yaml").display().to_string()]);
    mesh.eventually("no pod is left", || mesh.list("pods", "default").is_empty().then_some(()));
}

/// The text of `weft explain` for a request to the gateway from outside.
fn explained(mesh: &Mesh, url: &str) -> String {
    mesh.run(&["explain", url, "--from", "ingress"])
}

#[test]
fn the_url_that_works_with_curl_is_explained() {
    let files = [manifest("helloworld.yaml"), manifest("helloworld-gw.yaml")];
    let mesh = Mesh::start("laptop-explain", &files, &[]);
    let address = mesh.gateway();
    assert_eq!(outside::get(address, "/hello").status, 200);
    for host in ["localhost", "127.0.0.1"] {
        let text = explained(&mesh, &format!("http://{host}:{}/hello", address.port()));
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("1. istio-ingressgateway-"), "{text}");
        assert!(first.ends_with(".istio-system: forwarded"), "{text}");
        assert!(text.contains("\n2. hello-"), "{text}");
        let known = format!("localhost:{} on this machine is its port 80", address.port());
        assert!(text.contains(&known), "{text}");
    }
    let nobody = explained(&mesh, "http://localhost:1/hello");
    assert!(nobody.contains(&format!("localhost:{} (port 80", address.port())), "{nobody}");

    // A Service made anew is shown where it is reached as well.
    let service = mesh.list("service/istio-ingressgateway", "istio-system").remove(0);
    mesh.run(&["delete", "service", "istio-ingressgateway", "-n", "istio-system"]);
    let mut again = service;
    for field in ["uid", "resourceVersion", "creationTimestamp", "annotations", "managedFields"] {
        again["metadata"].as_object_mut().expect("an object").remove(field);
    }
    mesh.pipe(&["apply", "-f", "-"], &again.to_string());
    mesh.eventually("the Service shows its ports again", || {
        let service = mesh.list("service/istio-ingressgateway", "istio-system").remove(0);
        service["metadata"]["annotations"]["weft.internal/host-ports"].is_string().then_some(())
    });
}

#[test]
fn a_name_that_does_not_resolve_is_explained_as_the_application_meets_it() {
    let mesh = Mesh::start("laptop-names", &[manifest("helloworld.yaml")], &[]);
    mesh.wait_for_deployments("default");
    let text = mesh.run(&["explain", "http://wurld:8080/", "--from", "hello"]);
    assert!(text.starts_with("`wurld` does not resolve: namespace default has no"), "{text}");
    assert!(!text.contains("192.0.2.1"), "{text}");
    let pod = mesh.pods("hello", "default")[0].clone();
    let (code, said) = mesh.curl_in(&pod, "hello", &["http://wurld:8080/"]);
    assert_eq!(code, 6, "curl could not resolve the host: {said}");
}

#[test]
fn a_definition_and_its_objects_may_come_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "apiVersion: example.org/v1\nkind: Teapot\nmetadata: {name: brown}\nspec: {cups: 2}\n---\n\
                apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: \
                teapots.example.org}\nspec:\n  group: example.org\n  scope: Namespaced\n  names: {kind: Teapot, \
                plural: teapots}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: \
                {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n";
    fs::write(folder.path().join("all.yaml"), text).expect("a file");
    let mesh = Mesh::start("laptop-definition", &[folder.path().to_owned()], &[]);
    assert_eq!(mesh.run(&["get", "teapots", "-o", "name"]).trim(), "teapot.example.org/brown");
}

/// Pods, the name server, the control plane and the sidecars all know the domain.
#[test]
fn a_mesh_may_have_another_domain() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: world}\nspec:\n  \
                hosts: [world.default.svc.east.example]\n  http:\n  - match: [{uri: {prefix: /teapot}}]\n    route: \
                [{destination: {host: hello}}]\n  - route: [{destination: {host: world}}]\n";
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.yaml");
    fs::write(&rules, text).expect("a file");
    let files = [manifest("helloworld.yaml"), rules];
    let mesh = Mesh::start("laptop-domain", &files, &["--domain", "east.example"]);
    mesh.wait_for_deployments("default");
    assert!(!mesh.said().contains("warning"), "{}", mesh.said());
    let hello = mesh.pods("hello", "default")[0].clone();
    let search = mesh.run(&["exec", &hello, "-c", "hello", "--", "cat", "/etc/resolv.conf"]);
    assert!(search.contains("default.svc.east.example svc.east.example east.example"), "{search}");
    for host in ["world", "world.default", "world.default.svc.east.example"] {
        let url = format!("http://{host}:8080/");
        let said = mesh.curl_in(&hello, "hello", &["-w", " %{http_code}", &url]);
        assert!(said.0 == 0 && said.1.ends_with(" 200"), "{host}: {said:?}");
    }
    let log = mesh.eventually("the requests are logged", || {
        let log = mesh.logs(&hello, "istio-proxy", "default");
        (log.matches("world.default.svc.east.example;").count() >= 3
            || log.matches("||world.default.svc.east.example").count() >= 3)
            .then_some(log)
    });
    assert!(!log.contains("cluster.local"), "{log}");
    let (code, _) =
        mesh.curl_in(&hello, "hello", &["http://world.default.svc.cluster.local:8080/"]);
    assert_eq!(code, 6, "that name does not exist");
}
