//! The table that `weft up` prints when the start has ended.

use anyhow::Result;
use weft_cluster::client::{Cluster, NamespaceScope, Query, TableOptions};
use weft_pods::host::HostPort;

use super::{
    End,
    report::{LINES_OF_SERVICE, Report},
};

/// Namespaces of the mesh and the cluster themselves, which the table leaves out.
const OWN: &str = "metadata.namespace!=istio-system,metadata.namespace!=kube-system";

/// Pods, services, addresses on the host, and the kubeconfig.
pub async fn render(cluster: &Cluster, ports: &[HostPort], end: &End<'_>) -> Result<String> {
    let resources = cluster.resources().await?;
    let mut parts = Vec::new();
    for word in ["pods", "services"] {
        let query = Query {
            words: vec![word.to_owned()],
            scope: NamespaceScope::All,
            labels: None,
            fields: Some(OWN.to_owned()),
        };
        let options = TableOptions { namespaces: true, ..TableOptions::default() };
        let text = cluster.tables(&query.targets(&resources)?, &query, options).await?;
        // Without files there are no pods.
        parts.extend((!text.is_empty()).then_some(text));
    }
    let mut last = format!("{}\n", end.line());
    for (index, HostPort { namespace, service, port, addresses, .. }) in ports.iter().enumerate() {
        let before = ports
            .iter()
            .take(index)
            .filter(|one| (&one.namespace, &one.service) == (namespace, service));
        if before.take(LINES_OF_SERVICE).count() == LINES_OF_SERVICE {
            continue;
        }
        if let Some(address) = addresses.first() {
            let address = Report::spelled(*address);
            last += &format!("{service}.{namespace} port {port}: http://{address}\n");
        }
    }
    last += &format!("kubeconfig: {}\n", end.kubeconfig.display());
    last += "Ctrl-C stops the mesh.";
    parts.push(last);
    Ok(parts.join("\n"))
}
