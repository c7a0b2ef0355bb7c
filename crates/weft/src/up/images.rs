//! The images that the laptop can run: the command of this machine that stands for
//! each.

use std::collections::BTreeSet;

use serde_json::Value;
use weft_pods::{Image, Images, OwnCommand, PROGRAM};

/// One `--image NAME=COMMAND`.
pub fn parse(text: &str) -> Result<Image, String> {
    let (name, command) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=COMMAND, as in my/app=./target/debug/app"))?;
    let command = words(command).map_err(|why| format!("{text:?}: {why}"))?;
    match name.is_empty() || command.is_empty() {
        true => Err(format!("{text:?} lacks a name or a command")),
        false => Ok(image(name, command, OwnCommand::ReplacesIfFound)),
    }
}

/// The words of a command line: quotes and backslashes mean what they mean to a shell,
/// and nothing else does.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut quote) = (Vec::new(), None);
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            ('\\', None | Some('"')) => {
                word.push(letters.next().ok_or("a backslash has nothing to stand before")?);
            }
            (letter, _) => word.push(letter),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote is not closed") } else { Ok(words) }
}

/// The user's images first, then the built-in ones.
pub fn all(own: &[Image]) -> Images {
    let program = |arguments: &[&str]| -> Vec<String> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        std::iter::once(PROGRAM.to_owned()).chain(arguments).collect()
    };
    let built_in = [
        image("weft/*", program(&[]), OwnCommand::Ignored),
        image("istio/proxyv2", program(&[]), OwnCommand::Ignored),
        image("*/istio/proxyv2", program(&[]), OwnCommand::Ignored),
        image("wardviaene/http-echo", program(&["http-echo"]), OwnCommand::Ignored),
        image("curlimages/curl", program(&["curl"]), OwnCommand::Replaces),
        // As in the real image: `sh` is only what is run when nothing else is said.
        Image {
            arguments: vec!["sh".to_owned()],
            ..image("busybox", Vec::new(), OwnCommand::Replaces)
        },
    ];
    Images(own.iter().cloned().chain(built_in).collect())
}

/// The resources whose objects have containers.
pub const WORKLOADS: &str = "pods,deployments.apps,replicasets.apps,statefulsets.apps,\
                             daemonsets.apps,jobs.batch,cronjobs.batch";

/// Images that such a line names.
const NAMED: usize = 20;

/// A line for each image of the user that no container of `workloads` has.
pub fn unused<'v>(own: &[Image], workloads: impl IntoIterator<Item = &'v Value>) -> Vec<String> {
    let containers = workloads.into_iter().flat_map(containers);
    let named: BTreeSet<&str> = containers.filter_map(|one| one["image"].as_str()).collect();
    let all = Images(own.to_vec());
    let used: Vec<&Image> = named.iter().filter_map(|name| all.find(name)).collect();
    let unused = own.iter().filter(|image| !used.contains(image));
    let line = |image: &Image| {
        let alone = Images(vec![image.clone()]);
        let why = match named.iter().any(|name| alone.find(name).is_some()) {
            true => "another --image before it has all containers of that image".to_owned(),
            false => {
                let names: Vec<&str> = named.iter().copied().take(NAMED).collect();
                let more = if named.len() > NAMED { ", …" } else { "" };
                format!("no container has that image; images are {}{more}", names.join(", "))
            }
        };
        format!("warning: --image {} is not used: {why}", image.pattern)
    };
    unused.map(line).collect()
}

/// The containers of a pod or of a template of pods.
fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    let spec = &workload["spec"];
    let template = match spec["jobTemplate"].is_object() {
        true => &spec["jobTemplate"]["spec"]["template"],
        false => &spec["template"],
    };
    let spec = if template.is_object() { &template["spec"] } else { spec };
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().filter_map(|list| spec[list].as_array()).flatten()
}

fn image(pattern: &str, command: Vec<String>, own_command: OwnCommand) -> Image {
    Image { pattern: pattern.to_owned(), command, arguments: Vec::new(), own_command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_name_and_a_command() {
        let image = parse("my/app=sleep 10").unwrap();
        assert_eq!((image.pattern.as_str(), image.command.len()), ("my/app", 2));
        for wrong in ["my/app", "=sleep", "my/app="] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_is_split_as_a_shell_splits_it() {
        for (text, expected) in [
            ("sh -c 'echo one; exit 3'", Ok(vec!["sh", "-c", "echo one; exit 3"])),
            ("python3  -c \"print('a b')\"", Ok(vec!["python3", "-c", "print('a b')"])),
            (r"./my\ app $HOME", Ok(vec!["./my app", "$HOME"])),
            (r#"a"b c"d \"e"#, Ok(vec!["ab cd", "\"e"])),
            ("sh -c 'echo", Err("a quote is not closed")),
            ("true ''", Ok(vec!["true", ""])),
            (r"sh \", Err("a backslash has nothing to stand before")),
        ] {
            let expected =
                expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn an_image_that_no_container_has_is_named() {
        let own = ["my/app=./app", "my/ap=./app", "cron*=./job", "my/*=./other"];
        let own = own.map(|text| parse(text).unwrap());
        let containers = |image: &str| serde_json::json!([{"name": "a", "image": image}]);
        let workloads = [
            serde_json::json!({"spec": {"containers": containers("docker.io/my/app:1")}}),
            serde_json::json!({"spec": {"template": {"spec": {"initContainers": containers("b")}}}}),
            serde_json::json!({"spec": {"jobTemplate": {"spec": {"template": {
                "spec": {"containers": containers("cronies@sha256:00")}}}}}}),
        ];
        assert_eq!(
            unused(&own, &workloads),
            [
                "warning: --image my/ap is not used: no container has that image; images are b, \
                 cronies@sha256:00, docker.io/my/app:1",
                "warning: --image my/* is not used: another --image before it has all containers \
                 of that image",
            ]
        );
        assert!(unused(&own[..1], &workloads).is_empty());
    }

    #[test]
    fn the_users_images_come_before_the_built_in_ones() {
        let own = [parse("busybox=./mine").unwrap()];
        assert_eq!(all(&own).0[0], own[0]);
    }
}
