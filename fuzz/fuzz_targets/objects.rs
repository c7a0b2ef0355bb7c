//! Objects of every kind with every known field, all the way to what proxies would run.

#![no_main]

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};

fuzz_target!(|data: &[u8]| {
    let mut choices = Unstructured::new(data);
    let Ok(objects) = weft_fuzz::objects(&mut choices) else { return };
    let texts: Vec<String> = objects.iter().map(weft_manifest::to_yaml).collect();
    let documents = weft_manifest::read("fuzz.yaml", &texts.join("\n---\n"));
    assert!(documents.iter().all(|document| document.problems.is_empty()));
    weft_fuzz::world::try_out(documents);
});
