//! A Service told as kubectl tells it: ports and the endpoints behind them.

use serde_json::Value;

use super::super::{table::labels, text};

/// What a Service is about, line by line.
pub(super) fn render(service: &Value, slices: &[Value]) -> String {
    let spec = &service["spec"];
    let mut out = String::new();
    let mut line = |title: &str, value: &str| {
        let value = if value.is_empty() { "<none>" } else { value };
        out += &format!("{title:<26}{value}\n");
    };
    let list = |field: &str| {
        let items = spec[field].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    };
    line("Selector:", &labels(&spec["selector"]));
    line("Type:", text(spec, "/type"));
    line("IP Family Policy:", text(spec, "/ipFamilyPolicy"));
    line("IP Families:", &list("ipFamilies"));
    line("IP:", text(spec, "/clusterIP"));
    line("IPs:", &list("clusterIPs"));
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    for address in ingress.into_iter().flatten() {
        let known = [text(address, "/ip"), text(address, "/hostname")];
        line("LoadBalancer Ingress:", known.iter().find(|text| !text.is_empty()).unwrap_or(&""));
    }
    for port in spec["ports"].as_array().into_iter().flatten() {
        let protocol = match text(port, "/protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        let name = match text(port, "/name") {
            "" => "<unset>",
            name => name,
        };
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => port["port"].to_string(),
            other => other.to_string(),
        };
        line("Port:", &format!("{name}  {}/{protocol}", port["port"]));
        line("TargetPort:", &format!("{}/{protocol}", plain(&port["targetPort"])));
        line("Endpoints:", &endpoints(text(port, "/name"), slices));
    }
    line("Session Affinity:", text(spec, "/sessionAffinity"));
    out
}

/// The ready endpoints of one port, as `ADDRESS:PORT` with commas between.
fn endpoints(port: &str, slices: &[Value]) -> String {
    let mut all = Vec::new();
    for slice in slices {
        let ports = slice["ports"].as_array().into_iter().flatten();
        let Some(number) =
            ports.filter(|one| text(one, "/name") == port).find_map(|one| one["port"].as_u64())
        else {
            continue;
        };
        let ready = slice["endpoints"].as_array().into_iter().flatten();
        for endpoint in ready.filter(|one| one["conditions"]["ready"] != false) {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(Value::as_str);
            all.extend(addresses.map(|address| format!("{address}:{number}")));
        }
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_told_with_the_endpoints_behind_them() {
        let service = json!({"spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7"],
            "selector": {"app": "hello"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
        }});
        let slices = [json!({
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.244.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.244.0.3"], "conditions": {"ready": false}},
            ],
        })];
        let told = render(&service, &slices);
        for expected in [
            "Selector:                 app=hello\n",
            "IP:                       10.96.0.7\n",
            "Port:                     http  80/TCP\n",
            "TargetPort:               web/TCP\n",
            "Endpoints:                10.244.0.2:8080\n",
            "Session Affinity:         <none>\n",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        }
    }
}
