//! A proxy and its control plane in memory, with a clock that tests advance.

use serde_json::{Value, json};
use weft_decide::{Arrival, Arrived, Connection, Direction, NextHop, Scheme, Step};
use weft_delta::{Event, ResourceSet, Server, Splitting};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    client: ConfigClient,
    server: Server,
    tables: watch::Receiver<Arc<Table>>,
}

impl World {
    /// A proxy whose control plane knows any host and its address, and has answered.
    fn new() -> Self {
        let (sender, tables) = watch::channel(Arc::new(Table::new()));
        let publish = Publish { tables: sender, interests: watch::channel(0).0 };
        let options = options::Stream {
            address: "control:1".to_owned(),
            name: None,
            ca_pem: None,
            token: None,
            node: "test".to_owned(),
            state: None,
        };
        let client = ConfigClient::new(options, publish, Dialer::default());
        let mut world = Self { client, server: Server::new(Splitting::default()), tables };
        for request in world.client.subscriptions.connected() {
            world.hear(request);
        }
        world.exchange();
        world
    }

    fn hear(&mut self, request: Request) {
        for event in self.server.request(request).unwrap() {
            if let Event::Wanted(name) = event {
                self.server.offer([(name.clone(), answer(&name))], 1);
            }
        }
    }

    /// Both sides say all that they have to say.
    fn exchange(&mut self) {
        loop {
            if let Some(request) = self.client.subscriptions.request() {
                self.hear(request);
            } else if let Some(response) = self.server.response() {
                let update = self.client.subscriptions.received(response).unwrap();
                if let Some(request) = self.client.apply(update) {
                    self.hear(request);
                }
            } else {
                return;
            }
        }
    }

    /// The backend for a request to `host`; what that needs to know is asked for.
    fn ask(&mut self, host: &str) -> String {
        for _ in 0..2 {
            match self.decide(host) {
                Ok(backend) => return backend,
                Err(interest) => {
                    let (answered, mut answer) = oneshot::channel();
                    self.client.ask(interest, answered);
                    self.exchange();
                    assert_eq!(answer.try_recv(), Ok(()), "a request for {host} fails");
                }
            }
        }
        panic!("{host} is asked for again and again")
    }

    fn decide(&self, host: &str) -> Result<String, Interest> {
        let table = self.tables.borrow();
        let (mut rng, destination) = (weft_balance::Rng::new(1), ([10, 0, 0, 1], 80).into());
        let connection = table.connection("out", destination, &Default::default(), &mut ());
        let Step::Done(Connection::Http(scope)) = connection else { panic!("{connection:?}") };
        let request = http::Request::get("/").header("host", host).body(()).unwrap();
        let arrival = Arrival {
            client: None,
            destination,
            direction: Direction::Outbound,
            next: NextHop::Elsewhere,
            scheme: Scheme::Http,
        };
        let arrived = Arrived::read(request.into_parts().0, arrival);
        let answers = Default::default();
        match table.decide(&scope, &arrived, &answers, (&mut rng, &mut ())) {
            Step::Done(routed) => Ok(routed.backend().name.to_string()),
            Step::Ask(weft_decide::Question::Interest(interest)) => Err(interest),
            other => panic!("{other:?}"),
        }
    }

    /// A minute passes.
    async fn minute(&mut self) {
        tokio::time::advance(MINUTE).await;
        assert!(self.client.unused.due() <= Instant::now());
        self.client.give_up_unused();
        self.exchange();
    }

    /// Names of what is held beside what every proxy has.
    fn held(&self) -> Vec<&str> {
        let names = self.client.resources.keys().map(|name| &**name);
        let mut held: Vec<_> = names.filter(|name| name.contains("shop")).collect();
        held.sort_unstable();
        held
    }
}

fn resource(resource: Value) -> weft_delta::Resource {
    let resource: Resource = serde_json::from_value(resource).unwrap();
    let body = weft_config::encode(&resource).body.into();
    weft_delta::Resource { name: resource.name().into(), version: 1, body }
}

fn answer(name: &str) -> ResourceSet {
    let origin = json!({ "object": "Service/default/x" });
    let (entry, pieces) = match name {
        "self" => {
            let listener = json!({ "listener": { "name": "out", "bind": "127.0.0.1:1",
                "destination": "socket", "scope": "directory" } });
            (json!("own"), vec![listener])
        }
        "directory/shared" => {
            let hosts = ["used.shop:80", "other.shop:80"];
            let of =
                |name: &str| weft_config::Fingerprint::of_host(name.split_once(':').unwrap().0, 80);
            let chunk = weft_config::DirectoryChunk {
                name: "shared/0".to_owned(),
                hosts: hosts.into_iter().map(of).collect(),
                http_ports: [80].into(),
                ..Default::default()
            };
            (json!("directory"), vec![json!({ "directory": chunk })])
        }
        "directory/own" => (json!("directory"), Vec::new()),
        host => {
            let backend = json!({ "backend": { "name": host, "service": host,
                "serviceName": ["shop", "default"], "port": 80,
                "discovery": { "fixed": "10.0.0.9:80" }, "upstream": "sameAsClient",
                "loadBalancer": "roundRobin", "connectTimeout": "5s", "origin": origin } });
            let rule = json!({ "action": { "forward": [{ "backend": host, "weight": 1 }] },
                "origin": origin });
            let (name, _) = host.split_once(':').unwrap();
            let route = json!({ "route": { "name": host, "hosts": [name], "rules": [rule],
                "origin": origin } });
            (json!({ "route": host }), vec![backend, route])
        }
    };
    let needs: Vec<String> =
        pieces.iter().map(|piece| resource(piece.clone()).name.to_string()).collect();
    ResourceSet {
        resource: resource(json!({ "answer": { "interest": name, "entry": entry,
            "needs": needs } })),
        pieces: pieces.into_iter().map(resource).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_for_an_hour_is_given_up_and_comes_back_when_it_is() {
    let mut world = World::new();
    for host in ["used.shop", "other.shop"] {
        assert_eq!(world.ask(host), format!("{host}:80"));
    }
    let of = |host: &str| [format!("backend/{host}"), format!("route/{host}"), host.to_owned()];
    let (used, other) = (of("used.shop:80"), of("other.shop:80"));
    let mut both = [used.clone(), other.clone()].concat();
    both.sort_unstable();
    assert_eq!(world.held(), both);
    for minute in 0..60 {
        world.minute().await;
        assert_eq!(world.held(), both, "after {minute} minutes");
        world.ask("used.shop");
    }
    world.minute().await;
    assert_eq!(world.held(), used, "the other one was not used since the first look");
    assert_eq!(world.client.subscriptions.interests().len(), 4);
    assert_eq!(world.ask("other.shop"), "other.shop:80");
    assert_eq!(world.held(), both);
}

#[tokio::test(start_paused = true)]
async fn what_is_used_while_there_is_no_stream_is_used() {
    let mut world = World::new();
    world.ask("used.shop");
    world.ask("other.shop");
    world.minute().await;
    world.client.subscriptions.disconnected();
    world.ask("used.shop");
    tokio::time::advance(600 * MINUTE).await;
    world.server = Server::new(Splitting::default());
    for request in world.client.subscriptions.connected() {
        world.hear(request);
    }
    world.exchange();
    world.minute().await;
    assert_eq!(world.held(), ["backend/used.shop:80", "route/used.shop:80", "used.shop:80"]);
}
