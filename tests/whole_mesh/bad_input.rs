//! Bad input gives a message that names object and place, and everything else
//! keeps running.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    mesh::{Mesh, WEFT, manifest},
    outside,
};

/// A folder with one file of this text.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file");
    (folder, path)
}

/// Applies `text` to a mesh that serves the course's example: what the program
/// says, and the example still answers.
#[track_caller]
fn check(mesh: &Mesh, text: &str, expected: &[&str]) {
    let (_folder, path) = file("bad.yaml", text);
    let output = mesh.try_run(&["apply", "-f", &path.display().to_string()]);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert_eq!(outside::get(mesh.gateway(), "/hello").status, 200, "after:\n{text}");
}

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: survivor\n";

#[test]
fn what_is_wrong_is_named_and_the_rest_goes_on() {
    let files = [manifest("helloworld.yaml"), manifest("helloworld-gw.yaml")];
    let mesh = Mesh::start("bad-input", &files, &[]);
    mesh.wait_for_deployments("default");

    check(
        &mesh,
        &format!("kind: [broken\n---\n{CONFIG_MAP}"),
        &["bad.yaml:1", "configmap/survivor created"],
    );
    let service = |field: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: odd\nspec:\n  \
             hosts: [odd.example]\n  gateways: [helloworld-gateway]\n  http:\n  - route:\n    - {field}\n"
        )
    };
    check(
        &mesh,
        &service("destination: {hots: hello}"),
        &["bad.yaml:10:", "VirtualService/default/odd", "hots", "host"],
    );
    check(
        &mesh,
        &service("destination: {host: nowhere}"),
        &["bad.yaml:10:", "VirtualService/default/odd", "nowhere"],
    );
    check(
        &mesh,
        &service("destination: {host: hello, subset: v9}"),
        &["bad.yaml:10:", "VirtualService/default/odd", "v9"],
    );
    check(
        &mesh,
        "apiVersion: example.org/v1\nkind: Teapot\nmetadata:\n  name: brown\n",
        &["Teapot", "example.org/v1"],
    );
    check(
        &mesh,
        "kind: Service\nmetadata:\n  name: versionless\n",
        &["bad.yaml:1:1: error: Service/versionless", "no apiVersion"],
    );
    let logs = mesh.try_run(&["logs", "hello"]);
    let said = String::from_utf8_lossy(&logs.stderr).into_owned();
    assert!(said.contains("deployment/hello stands for the first pod"), "{said}");
}

#[test]
fn an_image_that_nobody_mapped_is_named_with_what_to_do() {
    let (_folder, path) = file(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: lost\nspec:\n  containers:\n  - name: app\n    image: \
         example.org/lost:1\n",
    );
    let mesh = Mesh::start("bad-image", &[], &["--no-inject"]);
    mesh.apply(&path);
    let message = mesh.eventually("the pod says why", || {
        let pod = &mesh.list("pods/lost", "default")[0];
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        (waiting["reason"] == "ErrImagePull").then(|| waiting["message"].to_string())
    });
    assert!(message.contains("example.org/lost:1"), "{message}");
    assert!(message.contains("--image"), "{message}");
    assert!(mesh.run(&["get", "pods"]).contains("ErrImagePull"));
}

#[test]
fn an_application_that_does_not_listen_gives_503_with_its_flag() {
    let deaf = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: deaf\nspec:\n  selector: {matchLabels: \
                {app: deaf}}\n  template:\n    metadata: {labels: {app: deaf}}\n    spec:\n      containers:\n      - \
                name: app\n        image: deaf\n---\napiVersion: v1\nkind: Service\nmetadata:\n  name: deaf\nspec:\n  \
                selector: {app: deaf}\n  ports:\n  - {name: http, port: 8080}\n---\napiVersion: v1\nkind: \
                Service\nmetadata:\n  name: empty\nspec:\n  selector: {app: nobody}\n  ports:\n  - {name: http, port: \
                8080}\n";
    let (_folder, path) = file("deaf.yaml", deaf);
    let files = [path, manifest("helloworld.yaml")];
    let mesh = Mesh::start("bad-deaf", &files, &["--image", "deaf=sleep 1000"]);
    mesh.wait_for_deployments("default");
    let hello = mesh.pods("hello", "default")[0].clone();
    let deaf = mesh.pods("deaf", "default")[0].clone();
    for (host, body, reporter, flag) in [
        ("deaf", "upstream connect error or disconnect/reset before headers", &deaf, " 503 UF"),
        ("empty", "no healthy upstream", &hello, " 503 UH "),
    ] {
        let url = format!("http://{host}:8080/");
        let (code, said) = mesh.curl_in(&hello, "hello", &["-w", "%{http_code}", "-m", "10", &url]);
        assert_eq!(code, 0, "{host}: {said}");
        assert!(said.starts_with(body) && said.ends_with("503"), "{host}: {said}");
        let authority = format!("\"{host}:8080\"");
        mesh.eventually("the request is logged with its flag", || {
            let log = mesh.logs(reporter, "istio-proxy", "default");
            log.lines().any(|line| line.contains(&authority) && line.contains(flag)).then_some(())
        });
    }
}

#[test]
fn a_file_that_is_not_there_is_said_at_once() {
    let output = Command::new(WEFT).args(["up", "no/such/file.yaml"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("no/such/file.yaml"), "{said}");
}

/// What a command that fails says on standard error.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(WEFT);
    let output = command.args(arguments).env("HOME", home.path()).output().expect("it starts");
    assert!(!output.status.success(), "{arguments:?} is refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_name_that_makes_odd_files_is_refused() {
    for name in ["", "a/b", "../up", ".hidden", "a b", &"x".repeat(64)] {
        let said = refused(&["up", "--name", name]);
        assert!(said.contains("up to 63 letters"), "{name}: {said}");
    }
}

#[test]
fn options_that_mean_nothing_are_not_taken() {
    assert!(refused(&["up", "--host-ip", "203.0.113.9"]).contains("--host-ip 203.0.113.9"));
    assert!(refused(&["up", "--mesh", "a"]).contains("--mesh"));
    assert!(refused(&["--mesh", "a", "up"]).contains("--name NAME"));
    assert!(refused(&["--kubeconfig", "a", "down"]).contains("--mesh NAME"));
    for command in [&["explain", "http://a/", "--from", "a"][..], &["translate", "--for", "a"]] {
        let both = [command, &["-f", "a.yaml", "--mesh", "a"]].concat();
        assert!(refused(&both).contains("-f looks at files"), "{command:?}");
    }
}

#[test]
fn a_pod_that_is_in_no_file_is_not_all_that_is_said() {
    let (_folder, path) = file("broken.yaml", "kind: Deployment\nmetadata: [\n");
    let said =
        refused(&["explain", "http://a/", "--from", "web", "-f", path.to_str().expect("text")]);
    assert!(said.contains("broken.yaml:2:"), "its place is said: {said}");
    assert!(said.contains("no pod or Deployment web.default; nor any other"), "{said}");
    let said = refused(&["explain", "http://a/", "--from", "web", "--to", "10.96.0.5"]);
    assert!(said.contains("as in 10.96.0.5:80"), "{said}");
}

#[test]
fn help_shows_the_cluster_options_where_they_work() {
    let help = |arguments: &[&str]| {
        let output = Command::new(WEFT).args(arguments).arg("--help").output().expect("it starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for command in
        ["get", "describe", "apply", "delete", "logs", "exec", "scale", "inject", "explain"]
    {
        let said = help(&[command]);
        assert!(said.contains("--mesh") && said.contains("--kubeconfig"), "{command}:\n{said}");
        assert!(!said.starts_with("Which cluster"), "{command}:\n{said}");
    }
    for command in ["up", "proxy", "control"] {
        let said = help(&[command]);
        assert!(!said.contains("--mesh <") && !said.contains("--kubeconfig"), "{command}:\n{said}");
    }
    let down = help(&["down"]);
    assert!(down.contains("--mesh") && !down.contains("--kubeconfig"), "{down}");
}

/// A Deployment called `name` of an image of the same name.
fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  selector: {{matchLabels: \
         {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
         containers:\n      - name: app\n        image: {name}\n"
    )
}

#[test]
fn what_crashes_or_is_not_mapped_is_told_with_the_next_step_and_not_waited_for() {
    let script = "        args: ['echo starting; echo no config >&2; exit 3']\n";
    let text = format!("{}{script}---\n{}", deployment("crashing"), deployment("lost"));
    let (_folder, path) = file("bad.yaml", &text);
    let arguments = ["--image", "crashing=sh -c", "--timeout", "600"];
    let mesh = Mesh::start("bad-crash", &[path], &arguments);
    let said = mesh.said();
    let pod = mesh.pods("crashing", "default")[0].clone();
    for part in [
        format!("pod {pod}, container app: exited with code 3"),
        format!("see weft logs {pod} -c app -p"),
        "| no config".to_owned(),
        "ErrImagePull: no command is known for image \"lost\"".to_owned(),
        "--image lost=COMMAND".to_owned(),
        "not everything is up: crashing-".to_owned(),
    ] {
        assert!(said.contains(&part), "{part:?} is not in:\n{said}");
    }
    assert_eq!(mesh.run(&["logs", &pod, "-c", "app", "-p"]), "starting\nno config\n");
}

/// `weft up` prints that it is ready as the last of all lines.
#[test]
fn a_start_with_errors_does_not_say_that_all_is_well() {
    let text = format!(
        "{CONFIG_MAP}---\napiVersion: v1\nkind: Servcie\nmetadata: {{name: web}}\n---\nkind: [broken\n"
    );
    let (_folder, path) = file("bad.yaml", &text);
    let mesh = Mesh::start("bad-start", &[path], &[]);
    assert_eq!(mesh.ready()["refused"], 2);
    let said = mesh.said();
    let typo = "Servcie/web is not applied: the server has no Servcie of v1; did you mean Service?";
    assert!(said.contains(typo) && said.contains("configmap/survivor created"), "{said}");
}

/// Exit code and output of `weft analyze` without a mesh.
fn analyze(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(WEFT).arg("analyze").args(arguments).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn everything_wrong_is_told_of_files_and_of_the_running_mesh() {
    let service = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: odd\nspec:\n  \
                   hosts: [odd.example]\n  http:\n  - route:\n    - destination: {host: nowhere}\n";
    let (_folder, path) = file("odd.yaml", service);
    let odd = path.display().to_string();
    let (code, said) = analyze(&[&odd]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("odd.yaml:9:") && said.contains("1 error"), "{said}");
    let (_folder, path) = file(
        "warned.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n",
    );
    let warned = path.display().to_string();
    assert_eq!(analyze(&[&warned]).0, Some(0));
    assert_eq!(analyze(&["--fail-on", "warning", &warned]).0, Some(1));
    assert_eq!(analyze(&["no-such-folder"]).0, Some(2));

    let mesh = Mesh::empty("analyze");
    let refused = mesh.try_run(&["apply", "-f", &odd]);
    assert!(!refused.status.success(), "an error is reported at once");
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nobody}\nspec: {}\n";
    let (_folder, path) = file("policy.yaml", policy);
    mesh.apply(&path);
    let output = mesh.try_run(&["analyze"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: VirtualService/default/odd spec.http[0]"), "{said}");
    assert!(said.contains("warning: AuthorizationPolicy/default/nobody: not honoured"), "{said}");
}
