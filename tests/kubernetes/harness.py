"""A client of the API, the processes of a test, and a connection that can be cut."""

import copy, json, select, socket, ssl, subprocess, threading, time, urllib.error, urllib.request

NODE = "10.244.0.1"
API = f"https://{NODE}:6443"


def fail(text):
    raise SystemExit(f"with-kubernetes: {text}")


def step(text):
    print(f"with-kubernetes: {text}", flush=True)


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode:
        fail(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def until(seconds, what, look):
    """The first answer of `look` that is not nothing; `what` may be a function that says why not."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            fail(f"timed out after {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.05)
    return found


class Client:
    """Just enough of a client: as an administrator, without Weft's own code."""

    def __init__(self, state):
        self.tls = ssl.create_default_context(cafile=f"{state}/pki/apiserver.crt")
        self.resources = {}

    def call(self, method, path, body=None, media="application/json", timeout=20):
        request = urllib.request.Request(API + path, method=method, data=json.dumps(body).encode() if body is not None else None)
        request.add_header("Authorization", "Bearer admin-token")
        request.add_header("Content-Type", media)
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=timeout) as answer:
                return answer.status, answer.read(), answer.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            return error.code, error.read(), []

    def path(self, one, name=True):
        version = one["apiVersion"]
        if version not in self.resources:
            status, text, _ = self.call("GET", f"/api/{version}" if "/" not in version else f"/apis/{version}")
            if status != 200:
                fail(f"the API server does not serve {version}: {text.decode()}")
            self.resources[version] = {each["kind"]: each for each in json.loads(text)["resources"] if "/" not in each["name"]}
        resource = self.resources[version].get(one["kind"]) or fail(f"the API server does not serve {one['kind']} of {version}")
        place = f"/namespaces/{one['metadata']['namespace']}" if resource["namespaced"] else ""
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        return f"{base}{place}/{resource['name']}" + (f"/{one['metadata']['name']}" if name else "")

    def must(self, method, path, body=None, media="application/json"):
        status, text, warnings = self.call(method, path, body, media)
        if status >= 300:
            fail(f"{method} {path} is refused with {status}: {text.decode()}\n{json.dumps(body)}")
        return json.loads(text), warnings

    def create(self, one):
        made, warnings = self.must("POST", self.path(one, name=False), one)
        if one.get("status"):
            made, _ = self.must("PATCH", self.path(one) + "/status", {"status": one["status"]}, "application/merge-patch+json")
        return made, warnings

    def replace(self, one):
        old, _ = self.must("GET", self.path(one))
        new = copy.deepcopy(one)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if one["kind"] == "Pod":
            # Of a pod little may change: its labels do, by a patch.
            self.must("PATCH", self.path(one), {"metadata": {"labels": one["metadata"]["labels"]}}, "application/merge-patch+json")
        else:
            self.must("PUT", self.path(one), new)
        if one.get("status"):
            self.must("PATCH", self.path(one) + "/status", {"status": one["status"]}, "application/merge-patch+json")

    def delete(self, one):
        self.must("DELETE", self.path(one), {"gracePeriodSeconds": 0})

    def token(self, namespace, account, audience=None, pod=None):
        spec = {"expirationSeconds": 3600, **({"audiences": [audience]} if audience else {})}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made, _ = self.must("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", asked)
        return made["status"]["token"]


class Sandbox:
    """Processes, their logs, and the folder of all state."""

    def __init__(self, state):
        self.state, self.running = state, {}

    def start(self, name, *command, namespace=None, binds=(), environment=None):
        log = open(f"{self.state}/log/{name}", "ab")
        if binds:
            mounts = " && ".join(f"mount --bind {source} {target}" for source, target in binds)
            command = ["sh", "-c", f'{mounts} && exec "$@"', "sh", *command]
            command = command if namespace else ["unshare", "--mount", *command]
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        return self.running[name]

    def alive(self):
        for name, process in self.running.items():
            if process.poll() is not None:
                fail(f"{name} has ended with {process.returncode}:\n{self.tail(name)}")
        return True

    def tail(self, name, lines=15):
        with open(f"{self.state}/log/{name}", errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()


class Relay:
    """The way from the control plane to the API server; it can be cut."""

    def __init__(self):
        self.pairs, self.open = set(), True
        self.listener = socket.create_server((NODE, 443), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            inner, _ = self.listener.accept()
            try:
                outer = socket.create_connection((NODE, 6443)) if self.open else None
            except OSError:
                outer = None
            if not outer:
                inner.close()
                continue
            self.pairs.add((inner, outer))
            threading.Thread(target=self.carry, args=(inner, outer), daemon=True).start()

    def carry(self, inner, outer):
        try:
            while True:
                ready, _, _ = select.select([inner, outer], [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    (outer if one is inner else inner).sendall(data)
        except OSError:
            pass
        finally:
            self.pairs.discard((inner, outer))
            inner.close()
            outer.close()

    def cut(self):
        """Ends all connections and takes no more; how many there were."""
        self.open = False
        pairs = list(self.pairs)
        for pair in pairs:
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        return len(pairs)

    def mend(self):
        self.open = True
