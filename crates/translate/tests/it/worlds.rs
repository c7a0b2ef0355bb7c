//! Worlds from YAML, and clients in them.

use weft_api::{Key, Kind, Object};
pub use weft_testkit::objects::objects;
use weft_translate::{Client, Translator};

/// A translator that has taken in `objects`.
pub fn translator(objects: impl IntoIterator<Item = Object>) -> Translator {
    let mut translator = Translator::new();
    translator.change(objects.into_iter().map(|object| (object.key(), Some(object))));
    translator
}

/// The proxy of a pod, given as `namespace/name`.
pub fn client(translator: &Translator, pod: &str) -> Client {
    let (namespace, name) = pod.split_once('/').expect("a pod is namespace/name");
    let key = Key::new(Kind::Pod, namespace, name);
    match translator.object(&key).map(|object| &**object) {
        Some(Object::Pod(pod)) => Client::of_pod(pod),
        _ => panic!("there is no {key}"),
    }
}
