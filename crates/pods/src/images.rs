//! Which command stands for an image.
//!
//! There are no container images here: an image's name leads to a command line
//! of this machine. The settings of the node bring the table.

use serde::{Deserialize, Serialize};

use crate::spec::Container;

/// A command that stands for every image of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image's name without registry prefix `docker.io/` and without tag;
    /// a trailing `*` stands for any ending, and `*/` at the start for any path.
    pub pattern: String,
    /// The program, and arguments that always come first.
    pub command: Vec<String>,
    /// Arguments when the container gives none.
    pub arguments: Vec<String>,
    /// What becomes of the container's own `command`.
    pub own_command: OwnCommand,
}

/// What becomes of the container's own `command`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnCommand {
    /// It is run instead of the image's, as on a cluster.
    #[default]
    Replaces,
    /// It is run if this machine has its program; else it exists only in the real
    /// image, and is left out together with the container's arguments.
    ReplacesIfFound,
    /// It names a program that exists only in the real image, and is left out.
    Ignored,
}

/// All images that can be run; the first that fits a name is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images(pub Vec<Image>);

/// Why an image cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no command is known for image {image:?}: end `weft up` and run it with --image {name}=COMMAND"
)]
pub(crate) struct UnknownImage {
    image: String,
    name: String,
}

impl Images {
    /// Which of them stands for an image, as a container names it.
    pub fn find(&self, image: &str) -> Option<&Image> {
        let name = bare_name(image);
        self.0.iter().find(|one| matches(&one.pattern, name))
    }

    /// The command line that `container` runs, before variables are filled in.
    ///
    /// `is_here` says whether the container would find a program.
    pub(crate) fn command_line(
        &self,
        container: &Container,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, UnknownImage> {
        let Some(image) = self.find(&container.image) else {
            let name = bare_name(&container.image).to_owned();
            return Err(UnknownImage { image: container.image.clone(), name });
        };
        let is_missing = container.command.first().is_some_and(|program| !is_here(program));
        let own = match image.own_command {
            OwnCommand::ReplacesIfFound if is_missing => {
                return Ok(image.command.iter().chain(&image.arguments).cloned().collect());
            }
            OwnCommand::Replaces | OwnCommand::ReplacesIfFound => container.command.as_slice(),
            OwnCommand::Ignored => &[],
        };
        let arguments = match (own.is_empty(), container.args.is_empty()) {
            // A container's own command is never given the image's arguments.
            (true, true) => &image.arguments,
            _ => &container.args,
        };
        let program = if own.is_empty() { &image.command } else { own };
        Ok(program.iter().chain(arguments).cloned().collect())
    }
}

/// The image's name without digest, tag and the default registry.
fn bare_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        // A colon before a slash belongs to a registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

fn matches(pattern: &str, name: &str) -> bool {
    let pattern = bare_name(pattern);
    if let Some(ending) = pattern.strip_prefix("*/") {
        let mut starts = name.match_indices('/').map(|(slash, _)| &name[slash + 1..]);
        return matches_ending(ending, name) || starts.any(|rest| matches_ending(ending, rest));
    }
    matches_ending(pattern, name)
}

fn matches_ending(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let image = |pattern: &str, command: &str, arguments: &str, own_command| Image {
            pattern: pattern.into(),
            command: words(command),
            arguments: words(arguments),
            own_command,
        };
        Images(vec![
            image("shop/echo", "/bin/echo -n", "default", OwnCommand::Replaces),
            image("acme/api", "python3 -m http.server", "", OwnCommand::ReplacesIfFound),
            image("*/proxyv2", "/bin/weft", "", OwnCommand::Replaces),
            image("weft/*", "/bin/weft pilot", "", OwnCommand::Ignored),
        ])
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(image: &str, command: &str, arguments: &str, expected: &str) {
        let container = Container {
            image: image.into(),
            command: words(command),
            args: words(arguments),
            ..Container::default()
        };
        let found = match images().command_line(&container, |program| program != "/srv/api") {
            Ok(line) => line.join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn arguments_follow_the_images_command_and_a_command_replaces_it() {
        check("shop/echo", "", "", "/bin/echo -n default");
        check("shop/echo:1.2", "", "a b", "/bin/echo -n a b");
        check("docker.io/shop/echo@sha256:00", "sh -c", "x", "sh -c x");
        check("shop/echo", "sh", "", "sh");
    }

    #[test]
    fn a_command_of_the_real_image_gives_way_to_the_mapped_one() {
        check("acme/api:1.2", "/srv/api", "-port=8080", "python3 -m http.server");
        check("acme/api:1.2", "/bin/sh -c", "date", "/bin/sh -c date");
        check("acme/api:1.2", "", "80", "python3 -m http.server 80");
    }

    #[test]
    fn a_pattern_fits_any_path_or_any_ending() {
        check("gcr.io:443/istio/proxyv2:1.30", "", "proxy sidecar", "/bin/weft proxy sidecar");
        check("weft/anything", "/gone", "go", "/bin/weft pilot go");
    }

    #[test]
    fn an_unknown_image_says_how_to_name_its_command() {
        check(
            "me/app:3",
            "",
            "",
            "no command is known for image \"me/app:3\": end `weft up` and run it with --image \
             me/app=COMMAND",
        );
    }
}
