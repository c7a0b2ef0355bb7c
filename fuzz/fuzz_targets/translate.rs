//! Texts of users, all the way: what proxies would be given, and whether they could run it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    weft_fuzz::world::try_out(weft_manifest::read("fuzz.yaml", text));
});
