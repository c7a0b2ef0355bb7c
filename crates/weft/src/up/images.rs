//! The images that the laptop can run: which command of this machine stands
//! for which image.

use weft_pods::{Image, Images, OwnCommand, PROGRAM};

/// One `--image NAME=COMMAND`.
pub fn parse(text: &str) -> Result<Image, String> {
    let (name, command) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=COMMAND, as in my/app=./target/debug/app"))?;
    let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    match name.is_empty() || command.is_empty() {
        true => Err(format!("{text:?} lacks a name or a command")),
        false => Ok(image(name, command, OwnCommand::ReplacesIfFound)),
    }
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
    fn the_users_images_come_before_the_built_in_ones() {
        let own = [parse("busybox=./mine").unwrap()];
        assert_eq!(all(&own).0[0], own[0]);
    }
}
