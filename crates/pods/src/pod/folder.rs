//! The files of a pod on the node: folders of its volumes, and those by which names
//! are found.

use std::{fs, io, net::Ipv4Addr, path::Path};

use crate::{network::DNS, root::permit, spec::Pod, volumes::ACCOUNT_VOLUME};

/// Makes the folders of all volumes, and the files by which names are found; `domain` is
/// the cluster's.
pub(super) fn write(
    folder: &Path,
    (pod, address): (&Pod, Ipv4Addr),
    domain: &str,
) -> io::Result<()> {
    fs::create_dir_all(folder.join("run"))?;
    let names = pod.spec.volumes.iter().map(|volume| volume.name.as_str());
    for name in names.chain([ACCOUNT_VOLUME]) {
        let volume = folder.join("volumes").join(name);
        fs::create_dir_all(&volume)?;
        // A container of any user may write to an empty folder.
        permit(&volume, 0o777)?;
    }
    let name = pod.spec.hostname.as_ref().unwrap_or(&pod.metadata.name);
    fs::write(folder.join("resolv.conf"), resolver(&pod.metadata.namespace, domain))?;
    fs::write(folder.join("hosts"), hosts((pod, address), name, domain))?;
    fs::write(folder.join("hostname"), format!("{name}\n"))
}

fn resolver(namespace: &str, domain: &str) -> String {
    format!(
        "nameserver {DNS}\nsearch {namespace}.svc.{domain} svc.{domain} {domain}\noptions ndots:5\n"
    )
}

fn hosts((pod, address): (&Pod, Ipv4Addr), name: &str, domain: &str) -> String {
    let namespace = &pod.metadata.namespace;
    let full = match &pod.spec.subdomain {
        Some(subdomain) => format!("{name}.{subdomain}.{namespace}.svc.{domain}\t{name}"),
        None => name.to_owned(),
    };
    let mut hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{address}\t{full}\n");
    for alias in &pod.spec.host_aliases {
        hosts.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_found_in_the_domain_of_the_cluster() {
        let search = "search shop.svc.east.example svc.east.example east.example\n";
        assert!(resolver("shop", "east.example").contains(search));
        let pod = json!({
            "metadata": {"name": "db-0", "namespace": "shop"},
            "spec": {"subdomain": "db", "containers": []},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let hosts = hosts((&pod, Ipv4Addr::new(10, 244, 0, 2)), "db-0", "east.example");
        assert!(hosts.ends_with("10.244.0.2\tdb-0.db.shop.svc.east.example\tdb-0\n"), "{hosts}");
    }
}
