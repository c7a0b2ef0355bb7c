//! A client and a server on a link that loses nothing, as a script.
//!
//! `NAME@VERSION` is a resource. `offer` names the answer, then its pieces. A
//! line that begins with `>` is the next response, once everything on the way
//! has arrived; `quiet` says that nothing is to come.

use std::sync::Arc;

use weft_delta::{
    Client, Event, Refusal, Request, Resource, ResourceSet, Response, Server, Splitting, Violation,
};

struct Link {
    client: Client,
    server: Server,
    revision: u64,
    refuse: Vec<String>,
    said: Vec<String>,
}

#[track_caller]
fn check(script: &str) {
    let mut link = Link {
        client: Client::new(),
        server: Server::new(Splitting::default()),
        revision: 0,
        refuse: Vec::new(),
        said: Vec::new(),
    };
    link.connect();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            ">" => {
                link.settle();
                let said = (!link.said.is_empty()).then(|| link.said.remove(0));
                assert_eq!(said.as_deref(), Some(rest), "{line}");
            }
            "quiet" => {
                link.settle();
                assert_eq!(link.said, Vec::<String>::new(), "{line}");
            }
            "held" => {
                link.settle();
                assert_eq!(link.held(), rest, "{line}");
            }
            "lacks" => assert!(link.server.lacks(rest.parse().unwrap()), "{line}"),
            "has" => assert!(!link.server.lacks(rest.parse().unwrap()), "{line}"),
            _ => link.act(verb, rest),
        }
    }
}

impl Link {
    fn act(&mut self, verb: &str, rest: &str) {
        match verb {
            "want" => drop(self.client.want(rest)),
            "drop" => self.client.drop_interest(rest),
            "refuse" => self.refuse.push(rest.to_owned()),
            "reconnect" => {
                self.client.disconnected();
                self.server = Server::new(Splitting::default());
                self.connect();
            }
            "offer" => {
                self.revision += 1;
                let all: Vec<Resource> = rest.split(' ').map(resource).collect();
                let (answer, pieces) = all.split_first().unwrap();
                let name = Arc::clone(&answer.name);
                let answer = ResourceSet { resource: answer.clone(), pieces: pieces.into() };
                self.tell();
                self.server.offer([(name, answer)], self.revision);
            }
            "absent" => {
                self.tell();
                self.server.refuse(rest.into());
            }
            _ => panic!("no such verb: {verb}"),
        }
    }

    fn connect(&mut self) {
        for request in self.client.connected() {
            self.server.request(request).unwrap();
        }
    }

    fn tell(&mut self) {
        if let Some(request) = self.client.request() {
            self.server.request(request).unwrap();
        }
    }

    fn settle(&mut self) {
        self.tell();
        while let Some(response) = self.server.response() {
            self.said.push(text(&response));
            let update = self.client.received(response).unwrap();
            let names = update.changed.iter().map(|resource| &resource.name);
            let refused: Vec<Refusal> = names
                .filter(|name| self.refuse.iter().any(|refuse| **refuse == ***name))
                .map(|name| Refusal { name: Arc::clone(name), why: "bad".into() })
                .collect();
            let request = self.client.refused(&update.nonce, refused.clone()).unwrap();
            let expected =
                if refused.is_empty() { Event::Accepted } else { Event::Refused(refused) };
            assert_eq!(self.server.request(request).unwrap(), [expected]);
        }
    }

    fn held(&self) -> String {
        let mut held: Vec<String> =
            self.client.held().map(|(name, version)| format!("{name}@{version}")).collect();
        held.sort();
        held.join(" ")
    }
}

fn resource(text: &str) -> Resource {
    let (name, version) = text.split_once('@').unwrap();
    let version = version.parse().unwrap();
    Resource { name: name.into(), version, body: text.to_owned().into() }
}

fn text(response: &Response) -> String {
    let new = response.resources.iter().map(|one| format!("+{}@{}", one.name, one.version));
    let gone = response.removed.iter().map(|name| format!("-{name}"));
    new.chain(gone).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_answer_brings_its_pieces_and_then_only_what_changes() {
    check(
        "want a
         offer a@1 p@1 q@1
         > +a@1 +p@1 +q@1
         offer a@1 p@2 q@1
         > +p@2
         offer a@1 p@2 q@1
         quiet
         offer a@2 q@1
         > +a@2 -p
         held a@2 q@1",
    );
}

#[test]
fn what_does_not_fit_comes_in_parts_and_what_goes_comes_last() {
    let place = |name: &str| if name.starts_with('a') { 1 } else { 0 };
    let body = |length: usize| vec![0; length].into();
    let resource =
        |name: &str, version, length| Resource { name: name.into(), version, body: body(length) };
    let mut server = Server::new(Splitting { bytes: 10, place });
    let subscribe = vec!["a".into()];
    server.request(Request { subscribe, ..Request::default() }).unwrap();
    let offer = |server: &mut Server, pieces: &[Resource], revision| {
        let answer = ResourceSet { resource: resource("a", revision, 1), pieces: pieces.into() };
        server.offer([("a".into(), answer)], revision);
    };
    let next = |server: &mut Server| {
        let response = server.response()?;
        let nonce = response.nonce.clone();
        server.request(Request { nonce, ..Request::default() }).unwrap();
        Some(text(&response))
    };
    offer(&mut server, &[resource("b", 1, 4), resource("c", 1, 4), resource("d", 1, 40)], 1);
    for expected in ["+b@1 +c@1", "+d@1"] {
        assert_eq!(next(&mut server).as_deref(), Some(expected));
        assert!(server.lacks(1), "{expected}");
    }
    assert_eq!(next(&mut server).as_deref(), Some("+a@1"));
    assert!(!server.lacks(1));
    offer(&mut server, &[resource("e", 2, 40), resource("f", 2, 40)], 2);
    assert_eq!(next(&mut server).as_deref(), Some("+e@2"));
    // What was about to be sent is not needed any more.
    offer(&mut server, &[resource("b", 1, 4), resource("e", 2, 40)], 3);
    assert_eq!(next(&mut server).as_deref(), Some("+a@3 -c -d"));
    assert_eq!(next(&mut server), None);
    assert!(!server.lacks(2) && !server.lacks(3));
}

#[test]
fn what_two_answers_need_comes_once_and_goes_with_the_last() {
    check(
        "want a
         want b
         offer a@1 p@1
         offer b@1 p@1
         > +a@1 +b@1 +p@1
         drop a
         > -a
         drop b
         > -b -p",
    );
}

#[test]
fn changes_while_a_response_is_in_flight_become_one() {
    check(
        "want a
         offer a@1 p@1
         offer a@1 p@2
         offer a@2 p@3
         > +a@2 +p@3
         quiet",
    );
}

#[test]
fn a_new_stream_brings_only_what_has_changed_meanwhile() {
    check(
        "want a
         want b
         offer a@1 p@1 q@1
         offer b@1 q@1
         > +a@1 +b@1 +p@1 +q@1
         reconnect
         offer a@1 p@2
         > +p@2
         offer b@2
         > +b@2 -q",
    );
}

#[test]
fn nothing_held_goes_before_every_interest_of_a_new_stream_is_answered() {
    check(
        "want a
         want b
         offer a@1 p@1
         offer b@1 q@1
         > +a@1 +b@1 +p@1 +q@1
         reconnect
         offer a@2
         > +a@2
         held a@2 b@1 p@1 q@1
         offer b@1 q@1
         > -p",
    );
}

#[test]
fn what_was_refused_stays_as_it_was_and_is_not_sent_again() {
    check(
        "want a
         offer a@1 p@1
         > +a@1 +p@1
         refuse p
         offer a@2 p@2
         > +a@2 +p@2
         held a@2 p@1
         lacks 2
         offer a@2 p@2
         quiet",
    );
}

#[test]
fn a_new_stream_offers_again_what_was_refused() {
    check(
        "want a
         refuse p
         offer a@1 p@1
         > +a@1 +p@1
         held a@1
         reconnect
         offer a@1 p@1
         > +p@1",
    );
}

#[test]
fn an_interest_without_answer_is_told() {
    check(
        "want a
         absent a
         > -a
         offer a@1
         quiet
         want a
         offer a@1
         > +a@1
         absent a
         > -a
         want a
         offer a@1
         > +a@1",
    );
}

#[test]
fn an_interest_that_is_refused_later_takes_its_pieces_along() {
    check(
        "want a
         want b
         offer a@1 p@1 q@1
         offer b@1 q@1
         > +a@1 +b@1 +p@1 +q@1
         absent a
         > -a -p
         held b@1 q@1
         want a
         offer a@2 p@1
         > +a@2 +p@1",
    );
}

#[test]
fn an_interest_given_up_and_taken_up_again_is_up_to_date() {
    check(
        "want a
         offer a@1 p@1
         > +a@1 +p@1
         drop a
         want a
         offer a@2 p@1
         > +a@2
         drop a
         > -a -p
         want a
         offer a@2 p@1
         > +a@2 +p@1",
    );
}

#[test]
fn a_revision_is_lacking_until_it_is_in_force() {
    check(
        "want a
         offer a@1 p@1
         lacks 1
         > +a@1 +p@1
         has 1
         offer a@1 p@1
         quiet
         has 2",
    );
}

#[test]
fn a_response_waits_until_the_last_one_is_acknowledged() {
    let mut server = Server::new(Splitting::default());
    let subscribe = Request { subscribe: vec!["a".into()], ..Request::default() };
    server.request(subscribe).unwrap();
    let offer = |server: &mut Server, text: &str, revision| {
        let answer = ResourceSet { resource: resource(text), pieces: [].into() };
        server.offer([("a".into(), answer)], revision);
    };
    offer(&mut server, "a@1", 1);
    let first = server.response().unwrap();
    offer(&mut server, "a@2", 2);
    assert_eq!(server.response(), None);
    assert!(server.lacks(1) && server.lacks(2));
    let stale = Request { nonce: "0".into(), ..Request::default() };
    assert_eq!(server.request(stale).unwrap(), []);
    let accepted = Request { nonce: first.nonce, ..Request::default() };
    assert_eq!(server.request(accepted).unwrap(), [Event::Accepted]);
    assert!(!server.lacks(1) && server.lacks(2));
    assert_eq!(text(&server.response().unwrap()), "+a@2");
}

#[test]
fn the_least_recently_used_interest_goes_first_and_self_never() {
    let mut client = Client::new();
    client.want_always("self");
    client.connected();
    let names: Vec<String> = (0..weft_delta::INTEREST_LIMIT).map(|n| format!("h{n}:80")).collect();
    for name in &names[..names.len() - 1] {
        client.want(name);
    }
    client.want(&names[0]);
    client.request();
    client.want(&names[names.len() - 1]);
    let request = client.request().unwrap();
    assert_eq!(request.unsubscribe, [Arc::from("h1:80")]);
    assert_eq!(client.interests().count(), weft_delta::INTEREST_LIMIT);
    assert!(client.interests().any(|name| &**name == "self"));
}

#[test]
fn a_name_that_cannot_be_an_interest_is_answered_as_removed() {
    let mut server = Server::<u64>::new(Splitting::default());
    let names = (0..=weft_delta::INTEREST_LIMIT).map(|n| Arc::from(n.to_string()));
    let long: Arc<str> = "a".repeat(weft_delta::NAME_LIMIT + 1).into();
    let subscribe = [Arc::clone(&long)].into_iter().chain(names).collect();
    let events = server.request(Request { subscribe, ..Request::default() }).unwrap();
    assert_eq!(events.len(), weft_delta::INTEREST_LIMIT);
    let last = Arc::from(weft_delta::INTEREST_LIMIT.to_string());
    assert_eq!(server.response().unwrap().removed, [last, long]);
    assert_eq!(server.interests().count(), weft_delta::INTEREST_LIMIT);
}

#[test]
fn a_server_refuses_what_has_no_bound() {
    let many = |count: usize| (0..count).map(|n| Arc::from(n.to_string()));
    let request = Request { subscribe: many(20_000).collect(), ..Request::default() };
    let limit = 2 * weft_delta::INTEREST_LIMIT;
    assert_eq!(
        Server::<u64>::new(Splitting::default()).request(request),
        Err(Violation::TooManyRefused(limit))
    );
    let mut server = Server::<u64>::new(Splitting::default());
    let limit = weft_delta::HELD_LIMIT;
    let held = |from: usize| many(limit).map(move |name| (format!("{from}/{name}").into(), 1));
    let piece = |from| Request { held: held(from).collect(), more: true, ..Request::default() };
    assert_eq!(server.request(piece(0)), Ok(Vec::new()));
    assert_eq!(server.request(piece(1)), Err(Violation::TooManyHeld(limit)));
}

#[test]
fn a_greeting_in_pieces_is_one_greeting() {
    let mut client = Client::new();
    client.want_always("self");
    for number in 0..35_000 {
        client.restore(&format!("backend/outbound|80||{number:070}.svc.cluster.local"), 7);
    }
    let pieces = client.connected();
    assert!(pieces.len() > 3, "{}", pieces.len());
    let mut server: Server = Server::new(Splitting::default());
    for piece in pieces {
        let bytes = piece.held.iter().map(|(name, _)| name.len() + 40).sum::<usize>();
        assert!(bytes <= 2 << 20, "a message of {bytes} bytes");
        assert_eq!(server.response(), None, "before all that is held is known");
        server.request(piece).unwrap();
        server.refuse("self".into());
    }
    let response = server.response().unwrap();
    assert_eq!(response.removed.len(), 35_001);
    let late = Request { held: vec![("a".into(), 1)], ..Request::default() };
    assert_eq!(server.request(late), Err(Violation::HeldTwice));
}

#[test]
fn whatever_is_wanted_the_next_stream_is_accepted() {
    let mut client = Client::new();
    client.want_always("self");
    for length in [0, 1, 253, 1_024, 1_025, 100_000] {
        let standing = client.want(&"x".repeat(length));
        let refused = length == 0 || length > weft_delta::NAME_LIMIT;
        assert_eq!(standing == weft_delta::Standing::Refused, refused, "{length}");
    }
    for number in 0..3 * weft_delta::INTEREST_LIMIT {
        client.want(&format!("{number:01024}"));
    }
    for number in 0..weft_delta::HELD_LIMIT + 10 {
        client.restore(&number.to_string(), 1);
    }
    let mut server = Server::<u64>::new(Splitting::default());
    for piece in client.connected() {
        server.request(piece).unwrap();
    }
    assert_eq!(server.interests().count(), weft_delta::INTEREST_LIMIT);
    client.drop_unanswered();
    assert_eq!(client.interests().collect::<Vec<_>>(), [&Arc::from("self")]);
}

#[test]
fn what_was_not_used_for_long_is_no_longer_wanted() {
    let mut client = Client::new();
    client.want_always("self");
    for name in ["a", "b", "c"] {
        client.want(name);
    }
    let uses = client.uses();
    client.used("b");
    client.used("never wanted");
    client.drop_unused(uses);
    let mut interests: Vec<&str> = client.interests().map(|name| &**name).collect();
    interests.sort_unstable();
    assert_eq!(interests, ["b", "self"]);
}

#[test]
fn a_client_refuses_a_response_before_the_last_was_acknowledged() {
    let mut client = Client::new();
    client.connected();
    let response = |nonce: &str| Response { nonce: nonce.into(), ..Response::default() };
    client.received(response("1")).unwrap();
    assert_eq!(client.received(response("2")), Err(Violation::TooEarly("2".into())));
    assert_eq!(Client::new().received(response("")), Err(Violation::NoNonce));
    let twice = Response { removed: vec!["a".into(), "a".into()], ..response("1") };
    assert_eq!(Client::new().received(twice), Err(Violation::Repeated("a".into())));
}
