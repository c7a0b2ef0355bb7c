"""The objects of the test: as users have them, and as files say them."""

import base64, copy, json

from harness import NODE, run

WEB, GATEWAY = "10.244.0.11", "10.244.0.12"
MESH = "istio-system"


def thing(api, kind, namespace, name, spec=None, **rest):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata.update(rest.pop("metadata", {}))
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **({"spec": spec} if spec is not None else {}), **rest}


def istio(kind, namespace, name, spec):
    return thing("networking.istio.io/v1", kind, namespace, name, spec)


def running(address):
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": NODE,
            "conditions": [{"type": "Ready", "status": "True"}]}


def service(namespace, name, address, ports, selector=None):
    spec = {"clusterIP": address, "ports": ports, **({"selector": selector} if selector else {})}
    return thing("v1", "Service", namespace, name, spec)


def slice_of(namespace, name, addresses, ports, pods=()):
    """A slice; the first addresses are those of `pods`."""
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    for endpoint, pod_name in zip(endpoints, pods):
        endpoint["targetRef"] = {"kind": "Pod", "namespace": namespace, "name": pod_name}
    return thing("discovery.k8s.io/v1", "EndpointSlice", namespace, f"{name}-1", addressType="IPv4", endpoints=endpoints, ports=ports,
                 metadata={"labels": {"kubernetes.io/service-name": name}})


def pod(namespace, name, address, labels, account="default"):
    spec = {"serviceAccountName": account, "containers": [{"name": "app", "image": "example/app:1"}]}
    return thing("v1", "Pod", namespace, name, spec, metadata={"labels": labels}, status=running(address))


def world():
    """What the users have: more than a hundred objects of every watched kind."""
    http = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    tcp = {"name": "tcp-db", "port": 5432, "targetPort": 5432, "protocol": "TCP"}
    on_http, on_tcp = {"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "tcp-db", "port": 5432, "protocol": "TCP"}
    objects = [thing("v1", "Namespace", None, "shop", metadata={"labels": {"istio-injection": "enabled"}}),
               thing("v1", "Namespace", None, "plain"), thing("v1", "Namespace", None, "other")]
    objects += [thing("v1", "ConfigMap", MESH, f"unrelated-{n}", data={"a": str(n)}) for n in range(5)]
    objects += [service("shop", "web", "10.96.1.1", [http], {"app": "web"}), slice_of("shop", "web", [WEB], [on_http])]
    objects += [service("shop", "headless", "None", [tcp]), slice_of("shop", "headless", [f"10.244.9.{n}" for n in range(1, 6)], [on_tcp])]
    objects += [service("plain", "db", "10.96.1.2", [tcp]), slice_of("plain", "db", ["10.244.8.1"], [on_tcp])]
    for n in range(12):
        # The first has so many endpoints that they travel in several pieces.
        addresses = [f"10.244.{16 + n}.{i}" for i in range(1, 150 if n == 0 else 4)]
        objects += [service("shop", f"api-{n}", f"10.96.2.{n + 1}", [http], {"app": f"api-{n}"}), slice_of("shop", f"api-{n}", addresses, [on_http], pods=[f"api-{n}-{i}" for i in (1, 2)])]
        objects += [pod("shop", f"api-{n}-{i}", f"10.244.{16 + n}.{i}", {"app": f"api-{n}", "version": f"v{i}"}) for i in (1, 2)]
        subsets = [{"name": f"v{i}", "labels": {"version": f"v{i}"}} for i in (1, 2)]
        objects.append(istio("DestinationRule", "shop", f"api-{n}", {"host": f"api-{n}", "subsets": subsets,
                             "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN" if n % 2 else "LEAST_REQUEST"}}}))
        to = [{"destination": {"host": f"api-{n}", "subset": f"v{i}"}, "weight": weight} for i, weight in ((1, 90), (2, 10))]
        objects.append(istio("VirtualService", "shop", f"api-{n}", {"hosts": [f"api-{n}"], "http": [
            {"match": [{"uri": {"prefix": "/old"}, "headers": {"x-user": {"exact": "me"}}}], "route": [{"destination": {"host": "web"}}]},
            {"route": to, "timeout": "3s", "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx"}}]}))
    for n in range(6):
        objects += [service("other", f"far-{n}", f"10.96.3.{n + 1}", [http, tcp]), slice_of("other", f"far-{n}", [f"10.244.40.{n + 1}"], [on_http, on_tcp])]
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*.example.com"]}]
    objects.append(istio("Gateway", "shop", "edge", {"selector": {"istio": "ingressgateway"}, "servers": servers}))
    servers = [{"port": {"number": 9000, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    objects.append(istio("Gateway", "plain", "raw", {"selector": {"istio": "ingressgateway"}, "servers": servers}))
    objects.append(istio("VirtualService", "shop", "web", {"hosts": ["web.example.com"], "gateways": ["edge"],
                         "http": [{"route": [{"destination": {"host": "web"}}]}]}))
    objects.append(istio("VirtualService", "plain", "raw", {"hosts": ["*"], "gateways": ["raw"],
                         "http": [{"route": [{"destination": {"host": "far-0.other.svc.cluster.local", "port": {"number": 80}}}]}]}))
    return objects


def written(made):
    """An object of the API as a user's file would have it."""
    kept = {name: made["metadata"][name] for name in ("name", "namespace", "labels", "annotations") if name in made["metadata"]}
    return {**{part: made[part] for part in ("apiVersion", "kind", "spec", "status") if part in made}, "metadata": kept}


def key(one):
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


class Model:
    """The objects as a user's files would have them."""

    def __init__(self):
        self.objects = {}

    def add(self, one):
        # A file has no Deployment here: its pods are written out, as nobody makes them.
        if one["kind"] in ("Namespace", "ConfigMap", "Service", "EndpointSlice", "Pod", "Gateway", "VirtualService", "DestinationRule"):
            self.objects[key(one)] = copy.deepcopy(one)

    def translate(self, weft, state, whom):
        """The resources of a proxy, by name, and what it could ask for."""
        path = f"{state}/objects.yaml"
        with open(path, "w") as file:
            file.write("---\n".join(json.dumps(one) + "\n" for one in self.objects.values()))
        return by_name(json.loads(run(weft, "translate", "-f", path, "--for", whom, "-o", "json")))


def by_name(file):
    """Resources by name. A proxy shows of its directory only how much is in it, so that is what is compared."""
    named, chunks = {}, []
    for resource in file["resources"]:
        (sort, body), = resource.items()
        name = body.get("name") or body.get("interest") or ""
        if sort == "directory" and name:
            chunks.append(body)
        elif f"{sort}/{name}" not in ASKED_FOR_BY_ALL:
            named[f"{sort}/{name}"] = body
    if "directory/" not in named:
        named["directory/"] = {"hosts": count(chunks, "hosts"), "addresses": count(chunks, "addresses"),
                               "httpPorts": sorted({port for chunk in chunks for port in chunk.get("httpPorts", [])})}
    return named


# What they lead to is in files, without the answers.
ASKED_FOR_BY_ALL = {"answer/self", "answer/directory/own", "answer/directory/shared"}


def count(chunks, of):
    """How many upper halves of fingerprints there are, as a proxy counts them."""
    texts = [base64.b64decode(chunk.get(of, "")) for chunk in chunks]
    return len({text[at + 4:at + 8] for text in texts for at in range(0, len(text), 8)})
