//! A control plane on loopback, objects for it, and proxies that do what they
//! are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use weft_api::{Key, Object};
use weft_control::{
    Authenticate, Authenticating, Caller, Change, Handle, Options, Refused, Root, tls,
};
use weft_delta::{Client, Refusal, Request, Response, Update};
use weft_process::shutdown::{self, Stop};
use weft_wire::{
    DeltaRequest, DeltaResponse, TYPE_URL, Target,
    client::{self, Requests, Responses, StreamError},
    message::{self, RpcStatus},
};

const SERVER: &str = "istiod.istio-system.svc";

/// Tokens are `NAMESPACE/POD/UID`; `NAMESPACE//` is bound to no pod.
struct Tokens;

impl Authenticate for Tokens {
    fn who(&self, token: String) -> Authenticating<'_> {
        let fields: Vec<&str> = token.split('/').collect();
        let who = match fields[..] {
            [namespace, pod, uid] => Ok(Caller {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                pod_uid: uid.to_owned(),
                account: "default".to_owned(),
            }),
            _ => Err(Refused::Invalid("not one of ours".to_owned())),
        };
        Box::pin(async { who })
    }
}

/// A running control plane.
pub(crate) struct Mesh {
    pub(crate) handle: Handle,
    pub(crate) monitoring: SocketAddr,
    pub(crate) target: Target,
    changes: mpsc::Sender<Change>,
    version: u64,
    stop: Stop,
    running: JoinHandle<()>,
}

impl Mesh {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut Options)) -> Self {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (xds, monitoring) = (listen().await, listen().await);
        let root = Root::generate("cluster.local", SystemTime::now()).unwrap();
        let served = root.serving(&[SERVER], SystemTime::now()).unwrap();
        let serving = tls::Serving::new(&served.chain_pem, &served.key_pem).unwrap();
        let target = Target {
            address: xds.local_addr().unwrap().to_string(),
            name: SERVER.to_owned(),
            tls: Some(tls::trusting(root.certificate_pem()).unwrap()),
        };
        let address = monitoring.local_addr().unwrap();
        let server = tls::serving(Arc::new(serving)).unwrap();
        let mut options = Options::new(xds, server, monitoring, Arc::new(Tokens));
        adjust(&mut options);
        let (changes, receiver) = mpsc::channel(16);
        let (stop, stopping) = shutdown::channel();
        let (handle, running) = weft_control::run(options, receiver, stopping);
        Self {
            handle,
            monitoring: address,
            target,
            changes,
            version: 0,
            stop,
            running: tokio::spawn(running),
        }
    }

    /// A mesh in which these objects exist from the start.
    pub(crate) async fn with(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut mesh = Self::start().await;
        for object in objects {
            mesh.apply(object).await;
        }
        mesh.synced().await;
        mesh
    }

    /// Applies an object; its version.
    pub(crate) async fn apply(&mut self, object: Value) -> String {
        self.version += 1;
        let object = object_of(&object);
        let change = Change::Apply(Box::new(object), self.version.to_string());
        self.changes.send(change).await.unwrap();
        self.version.to_string()
    }

    pub(crate) async fn delete(&mut self, key: &str) -> String {
        self.version += 1;
        let key: Key = key.parse().unwrap();
        self.changes.send(Change::Delete(key, self.version.to_string())).await.unwrap();
        self.version.to_string()
    }

    pub(crate) async fn synced(&mut self) {
        self.changes.send(Change::Synced).await.unwrap();
    }

    pub(crate) async fn proxy(&self, token: &str) -> Proxy {
        let mut proxy = Proxy { client: Client::new(), running: BTreeMap::new(), link: None };
        proxy.connect(&self.target, token).await.unwrap();
        proxy
    }

    pub(crate) async fn end(self) {
        self.stop.stop();
        self.running.await.unwrap();
    }
}

/// A proxy that says nothing on its own.
pub(crate) struct Proxy {
    client: Client,
    pub(crate) running: BTreeMap<String, Value>,
    link: Option<(Requests, Responses)>,
}

impl Proxy {
    pub(crate) async fn connect(
        &mut self,
        target: &Target,
        token: &str,
    ) -> Result<(), StreamError> {
        self.client.disconnected();
        self.link = Some(client::connect(target, Some(token)).await?);
        for request in self.client.connected() {
            self.say(Some(request)).await;
        }
        Ok(())
    }

    pub(crate) async fn want(&mut self, interests: &[&str]) {
        for interest in interests {
            self.client.want(interest);
        }
        let request = self.client.request();
        self.say(request).await;
    }

    pub(crate) async fn drop_interest(&mut self, interest: &str) {
        self.client.drop_interest(interest);
        let request = self.client.request();
        self.say(request).await;
    }

    /// The next response, not yet acknowledged.
    pub(crate) async fn receive(&mut self) -> Result<Update, StreamError> {
        let (_, responses) = self.link.as_mut().unwrap();
        let update = self.client.received(response(responses.next().await?)).unwrap();
        for resource in &update.changed {
            let body = serde_json::from_slice(&resource.body).unwrap();
            self.running.insert(resource.name.to_string(), body);
        }
        for name in &update.removed {
            self.running.remove(&**name);
        }
        Ok(update)
    }

    pub(crate) async fn accept(&mut self, update: &Update) {
        let request = self.client.accepted(&update.nonce);
        self.say(request).await;
    }

    pub(crate) async fn refuse(&mut self, update: &Update, name: &str) {
        let refusal = Refusal { name: name.into(), why: "cannot be compiled".to_owned() };
        let request = self.client.refused(&update.nonce, vec![refusal]);
        self.say(request).await;
    }

    /// Refuses an update without saying what of it cannot be used.
    pub(crate) async fn refuse_whole(&mut self, update: &Update) {
        let request = self.client.accepted(&update.nonce).unwrap();
        let error = RpcStatus { code: 3, message: "no".to_owned(), details: Vec::new() };
        let message = DeltaRequest { error: Some(error), ..message_of(request) };
        self.link.as_ref().unwrap().0.send(message).await.unwrap();
    }

    /// The names in the next response, which is accepted; removed ones with a `-`.
    pub(crate) async fn next(&mut self) -> BTreeSet<String> {
        let update = self.receive().await.unwrap();
        self.accept(&update).await;
        names(&update)
    }

    /// What this proxy answers to an interest, and whether it has all it needs.
    pub(crate) fn entry(&self, interest: &str) -> &Value {
        let answer = &self.running[interest]["answer"];
        for need in answer["needs"].as_array().into_iter().flatten() {
            assert!(self.running.contains_key(need.as_str().unwrap()), "{interest} needs {need}");
        }
        &answer["entry"]
    }

    async fn say(&mut self, request: Option<Request>) {
        let (requests, _) = self.link.as_ref().unwrap();
        if let Some(request) = request {
            // The server may have ended the stream; the next response says why.
            let _ = requests.send(message_of(request)).await;
        }
    }
}

/// The names in an update; removed ones with a `-`.
pub(crate) fn names(update: &Update) -> BTreeSet<String> {
    let changed = update.changed.iter().map(|resource| resource.name.to_string());
    changed.chain(update.removed.iter().map(|name| format!("-{name}"))).collect()
}

pub(crate) fn message_of(request: Request) -> DeltaRequest {
    let texts = |names: Vec<Arc<str>>| names.iter().map(ToString::to_string).collect();
    let held = request.held.iter();
    let refusals: Vec<message::Refusal> = request
        .refused
        .iter()
        .map(|one| message::Refusal { name: one.name.to_string(), why: one.why.clone() })
        .collect();
    DeltaRequest {
        node: None,
        type_url: TYPE_URL.to_owned(),
        subscribe: texts(request.subscribe),
        unsubscribe: texts(request.unsubscribe),
        held: held
            .map(|(name, version)| (name.to_string(), message::version_text(*version)))
            .collect(),
        more: request.more,
        nonce: request.nonce,
        error: (!refusals.is_empty()).then(|| RpcStatus::refusing(&refusals)),
    }
}

fn response(message: DeltaResponse) -> Response {
    let resources = message.resources.iter().map(|resource| weft_delta::Resource {
        name: resource.name.as_str().into(),
        version: message::version(&resource.version).unwrap(),
        body: resource.body(),
    });
    Response {
        nonce: message.nonce.clone(),
        resources: resources.collect(),
        removed: message.removed.iter().map(|name| name.as_str().into()).collect(),
    }
}

pub(crate) fn object_of(value: &Value) -> Object {
    weft_api::check(value).object.unwrap()
}

pub(crate) fn pod(namespace: &str, name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "labels": {"app": name},
            "annotations": {"sidecar.istio.io/status": "{}"},
        },
        "spec": {"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": address},
    })
}

pub(crate) fn service(namespace: &str, name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": address, "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    })
}

pub(crate) fn slice(namespace: &str, service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080}],
    })
}

/// Sends `host` a timeout that can be told apart.
pub(crate) fn virtual_service(namespace: &str, host: &str, seconds: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": host, "namespace": namespace},
        "spec": {
            "hosts": [host],
            "http": [{
                "timeout": format!("{seconds}s"),
                "route": [{"destination": {"host": host}}],
            }],
        },
    })
}

/// Two services with endpoints, and a pod `client` in namespace `a`.
pub(crate) fn shop() -> Vec<Value> {
    vec![
        pod("a", "client", "10.1.0.1"),
        pod("a", "other", "10.1.0.2"),
        service("a", "cart", "10.96.0.5"),
        slice("a", "cart", &["10.1.0.5"]),
        service("a", "till", "10.96.0.6"),
        slice("a", "till", &["10.1.0.6"]),
    ]
}

/// Long enough for anything here, and never waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
