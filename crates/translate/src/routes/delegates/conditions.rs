//! Conditions of a rule that delegates, joined with those of a rule of its delegate.

use weft_api::virtual_service::{HttpMatch, StringMatch};

use crate::{model::hosts, routes::virtual_services::MESH};

/// The alternatives of both, each with its place in the list of the delegate's; none where one of
/// the delegate's is no part of any of the root's. Each list comes with the namespace of its object.
pub(super) fn joined(
    (root, root_namespace): (&[HttpMatch], &str),
    (leaf, leaf_namespace): (&[HttpMatch], &str),
) -> Option<Vec<(HttpMatch, Option<usize>)>> {
    let full = |matches: &[HttpMatch], namespace| {
        let full = matches.iter().map(|one| with_full_names(one, namespace));
        full.collect::<Vec<_>>()
    };
    let (root, leaf) = (full(root, root_namespace), full(leaf, leaf_namespace));
    if leaf.is_empty() {
        return Some(root.into_iter().map(|one| (one, None)).collect());
    }
    let leaves = leaf.into_iter().enumerate();
    if root.is_empty() {
        return Some(leaves.map(|(nth, one)| (one, Some(nth))).collect());
    }
    let mut found = Vec::new();
    for (nth, leaf) in leaves {
        let before = found.len();
        let parts = root.iter().filter(|root| is_part(root, &leaf));
        found.extend(parts.map(|root| (both(root, leaf.clone()), Some(nth))));
        if found.len() == before {
            return None;
        }
    }
    Some(found)
}

/// The names of both, if any.
pub(super) fn joined_name(root: Option<&str>, leaf: Option<&str>) -> Option<String> {
    let given = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_owned);
    match (given(root), given(leaf)) {
        (Some(root), Some(leaf)) => Some(format!("{root}-{leaf}")),
        (root, leaf) => root.or(leaf),
    }
}

/// The condition with gateways that mean the same in every namespace.
fn with_full_names(one: &HttpMatch, namespace: &str) -> HttpMatch {
    let full = |name: &String| match name == MESH {
        true => name.clone(),
        false => {
            let (namespace, name) = hosts::gateway(name, namespace);
            format!("{namespace}/{name}")
        }
    };
    HttpMatch { gateways: one.gateways.iter().map(full).collect(), ..one.clone() }
}

/// What must hold for both; where `leaf` says something, it is a part of what `root` says.
fn both(root: &HttpMatch, leaf: HttpMatch) -> HttpMatch {
    HttpMatch {
        name: joined_name(root.name.as_deref(), leaf.name.as_deref()),
        uri: leaf.uri.or_else(|| root.uri.clone()),
        scheme: leaf.scheme.or_else(|| root.scheme.clone()),
        method: leaf.method.or_else(|| root.method.clone()),
        authority: leaf.authority.or_else(|| root.authority.clone()),
        headers: root.headers.clone().into_iter().chain(leaf.headers).collect(),
        without_headers: root
            .without_headers
            .clone()
            .into_iter()
            .chain(leaf.without_headers)
            .collect(),
        query_params: root.query_params.clone().into_iter().chain(leaf.query_params).collect(),
        port: leaf.port.or(root.port),
        source_labels: root.source_labels.clone().into_iter().chain(leaf.source_labels).collect(),
        source_namespace: given(leaf.source_namespace.as_ref())
            .or_else(|| given(root.source_namespace.as_ref()))
            .cloned(),
        gateways: match leaf.gateways.is_empty() {
            true => root.gateways.clone(),
            false => leaf.gateways,
        },
        ignore_uri_case: leaf.ignore_uri_case,
        stat_prefix: leaf.stat_prefix.or_else(|| root.stat_prefix.clone()),
    }
}

/// Whether `leaf` is a part of `root`, as Istio compares them.
fn is_part(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let maps = [
        (&root.headers, &leaf.headers),
        (&root.without_headers, &leaf.without_headers),
        (&root.query_params, &leaf.query_params),
    ];
    let of_maps = maps.into_iter().flat_map(|(root, leaf)| {
        leaf.iter().filter_map(move |(name, one)| Some((root.get(name)?, one)))
    });
    let texts = texts.into_iter().filter_map(|(root, leaf)| root.as_ref().zip(leaf.as_ref()));
    let has_labels = leaf
        .source_labels
        .iter()
        .all(|(name, value)| root.source_labels.get(name).is_none_or(|of_root| of_root == value));
    let namespace = given(root.source_namespace.as_ref());
    texts.chain(of_maps).all(|(root, leaf)| is_part_of_text(root, leaf))
        && root.ignore_uri_case == leaf.ignore_uri_case
        && root.port.zip(leaf.port).is_none_or(|(root, leaf)| root == leaf)
        && namespace.is_none_or(|root| leaf.source_namespace.as_ref() == Some(root))
        && has_labels
        && (root.gateways.is_empty()
            || leaf.gateways.iter().all(|name| root.gateways.contains(name)))
}

/// Whether what `leaf` matches is a part of what `root` does; what is not plain to see is not.
fn is_part_of_text(root: &StringMatch, leaf: &StringMatch) -> bool {
    let [root_exact, root_prefix, root_regex] =
        [&root.exact, &root.prefix, &root.regex].map(|text| given(text.as_ref()));
    let [exact, prefix, regex] =
        [&leaf.exact, &leaf.prefix, &leaf.regex].map(|text| given(text.as_ref()));
    match (root_exact, root_prefix) {
        _ if root_regex.is_some() || regex.is_some() => false,
        (Some(root), _) => prefix.is_none() && exact == Some(root),
        (None, Some(root)) => prefix.or(exact).is_some_and(|leaf| leaf.starts_with(root.as_str())),
        (None, None) => false,
    }
}

fn given(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}
