//! Pieces of configuration: decoded, taken into a table, written and read again.

#![no_main]

use std::{net::SocketAddr, sync::Arc};

use libfuzzer_sys::fuzz_target;
use weft_config::{File, Host, Interest, Resource};
use weft_decide::{
    Answers, Arrival, Arrived, Connection, Direction, NextHop, Note, Rng, Scheme, Step, Table,
    Unanswered,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(interest) = text.parse::<Interest>() {
            assert_eq!(interest.to_string().parse(), Ok(interest));
        }
        if let Ok(host) = Host::parse(text) {
            assert_eq!(Host::parse(host.as_str()), Ok(host));
        }
    }
    let resources = match serde_json::from_slice::<File>(data) {
        Ok(file) => file.resources,
        Err(_) => match serde_json::from_slice::<Resource>(data) {
            Ok(resource) => vec![resource],
            Err(_) => return,
        },
    };
    for resource in &resources {
        let written = serde_json::to_vec(resource).expect("a resource is JSON");
        let read: Resource = serde_json::from_slice(&written).expect("what was written is read");
        assert_eq!(read, *resource);
    }
    ask(&resources);
});

/// Asks a table of these resources for whatever its listeners serve.
fn ask(resources: &[Resource]) {
    let named = resources.iter().map(|one| (one.name(), Some(Arc::new(one.clone()))));
    let (table, _) = Table::new().when_unanswered(Unanswered::Outside).with(named);
    let mut notes: Vec<Note> = Vec::new();
    let (mut rng, answers) = (Rng::new(1), Answers::default());
    let listeners: Vec<_> = table.listeners().cloned().collect();
    for listener in listeners {
        for destination in [listener.bind, SocketAddr::from(([10, 96, 0, 7], 80))] {
            let step = table.connection(&listener.name, destination, &answers, &mut notes);
            let Step::Done(Connection::Http(scope) | Connection::Detect(scope)) = step else {
                continue;
            };
            for authority in ["a", "a.example.com:80", "", "[::1]"] {
                let head = http::Request::get("/a?b=c").header("host", authority).body(());
                let head = head.expect("it is a request").into_parts().0;
                let direction = Direction::Outbound;
                let arrival = Arrival {
                    client: None,
                    destination,
                    direction,
                    next: NextHop::Elsewhere,
                    scheme: Scheme::Http,
                };
                let arrived = Arrived::read(head, arrival);
                let _ = table.decide(&scope, &arrived, &answers, (&mut rng, &mut notes));
            }
        }
    }
}
