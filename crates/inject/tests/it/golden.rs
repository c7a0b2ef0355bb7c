//! Every `cases/NAME.yaml` becomes `cases/NAME.injected.yaml`.

use std::{env, fs, path::PathBuf};

use weft_inject::{Settings, Texts, document};

/// A text with sidecars, as `weft inject -f` prints it.
pub fn inject(text: &str) -> String {
    let documents = weft_manifest::read("case.yaml", text);
    let objects = documents.iter().map(|document| document.value.as_ref().unwrap());
    let mesh = include_str!("../cases/mesh.config");
    let (read, warnings) = Settings::read(Texts { mesh: Some(mesh), ..Texts::default() });
    assert_eq!(warnings, []);
    let settings = Settings { image: "weft/proxyv2:test".to_owned(), ..read };
    let texts = objects.map(|object| weft_manifest::to_yaml(&document(object, &settings).unwrap()));
    texts.collect::<Vec<_>>().join("---\n")
}

#[track_caller]
fn check(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let input = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let injected = inject(&input);
    let accepted = folder.join(format!("{name}.injected.yaml"));
    if env::var_os("UPDATE").is_some() {
        fs::write(&accepted, &injected).unwrap();
    }
    let expected = fs::read_to_string(&accepted).unwrap_or_default();
    assert!(injected == expected, "{name}: run with UPDATE=1 and look at the difference");
    assert_eq!(inject(&injected), injected, "injecting twice is injecting once");
}

#[test]
fn old_deployments_get_selector_version_and_sidecar_and_services_stay() {
    check("legacy");
}

#[test]
fn annotations_choose_images_ports_and_resources() {
    check("annotations");
}

#[test]
fn an_empty_annotation_captures_nothing() {
    check("captures-nothing");
}

#[test]
fn probes_are_led_through_the_sidecar() {
    check("probes");
}

#[test]
fn every_kind_of_workload_in_a_list_is_injected() {
    check("workloads");
}

#[test]
fn the_older_shape_has_the_sidecar_among_the_containers() {
    check("containers");
}

#[test]
fn the_meshs_and_the_pods_own_proxy_settings_are_merged() {
    check("proxy-config");
}

#[test]
fn a_container_of_the_sidecars_name_is_merged_over_it() {
    check("image-auto");
}

#[test]
fn who_refuses_is_left_alone() {
    check("refusals");
}
