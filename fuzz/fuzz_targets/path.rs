//! Paths: normal is normal for ever, and nothing climbs out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_decide::path::{normalise, without_query};

fuzz_target!(|target: &str| {
    weft_decide::of_authority(target);
    let Ok(normal) = normalise(target) else { return };
    assert_eq!(normalise(&normal).as_deref(), Ok(&*normal), "{target:?}");
    let whole = target.split('#').next().unwrap_or_default();
    let query = |text: &str| text.split_once('?').map(|(_, query)| query.to_owned());
    assert_eq!(query(&normal), query(whole), "{target:?}");
    let path = without_query(&normal);
    assert!(!path.contains('\\'), "{target:?} becomes {normal:?}");
    if target.starts_with('/') {
        let climbs = path.split('/').any(|part| matches!(part, "." | ".."));
        assert!(!climbs, "{target:?} becomes {normal:?}");
    }
});
