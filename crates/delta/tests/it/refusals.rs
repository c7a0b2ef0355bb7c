//! Clients that refuse a response and do not say what of it they cannot use.

use weft_delta::{
    Event, HELD_BYTES, Name, REFUSED_BYTES, Refusal, Request, Resource, ResourceSet, Response,
    Server, Splitting, Violation,
};

/// A server with one interest, `a`, whose client does as the test says.
struct Exchange(Server);

impl Exchange {
    fn begin() -> Self {
        let mut server = Server::new(Splitting::default());
        let subscribe = Request { subscribe: vec!["a".into()], ..Request::default() };
        server.request(subscribe).unwrap();
        Self(server)
    }

    /// Offers `texts`, the answer first, each as `NAME@VERSION`; the response to that.
    fn send(&mut self, revision: u64, texts: &[&str]) -> Response {
        let all: Vec<Resource> = texts.iter().copied().map(resource).collect();
        let (answer, pieces) = all.split_first().unwrap();
        let answer = ResourceSet { resource: answer.clone(), pieces: pieces.into() };
        self.0.offer([("a".into(), answer)], revision);
        self.0.response().unwrap()
    }

    fn accept(&mut self, response: Response) {
        let accepted = Request { nonce: response.nonce, ..Request::default() };
        assert_eq!(self.0.request(accepted).unwrap(), [Event::Accepted]);
    }

    /// Refuses the response called `nonce`, naming `names`.
    fn refuse(&mut self, nonce: &str, names: &[&str]) -> Vec<Event> {
        let refused = refusals(names);
        self.0.request(Request { nonce: nonce.into(), refused, ..Request::default() }).unwrap()
    }
}

fn resource(text: &str) -> Resource {
    let (name, version) = text.split_once('@').unwrap();
    let version = version.parse().unwrap();
    Resource { name: name.into(), version, body: text.to_owned().into() }
}

fn names(response: &Response) -> Vec<&str> {
    response.resources.iter().map(|resource| &*resource.name).collect()
}

fn refusals(names: &[&str]) -> Vec<Refusal> {
    let refusal = |name: &&str| Refusal { name: Name::from(*name), why: "bad".into() };
    names.iter().map(refusal).collect()
}

#[test]
fn a_refusal_without_a_name_is_of_all_that_the_response_carried() {
    let mut exchange = Exchange::begin();
    let first = exchange.send(1, &["a@1", "p@1"]);
    assert_eq!(exchange.refuse(&first.nonce, &[""]), [Event::RefusedWhole(refusals(&[""]))]);
    assert!(exchange.0.lacks(1));
    assert_eq!(exchange.0.response(), None, "not the same again");
    // The next change may mend it, so both come again with that.
    let second = exchange.send(2, &["a@2", "p@1"]);
    assert_eq!(names(&second), ["a", "p"]);
    assert_eq!(exchange.refuse(&second.nonce, &["p"]), [Event::Refused(refusals(&["p"]))]);
    assert!(exchange.0.lacks(1) && exchange.0.lacks(2), "a piece of both is refused");
    let third = exchange.send(3, &["a@2", "p@2"]);
    assert_eq!(names(&third), ["p"], "what was accepted is there");
    exchange.accept(third);
    assert!(!exchange.0.lacks(1) && !exchange.0.lacks(2));
}

#[test]
fn what_is_refused_as_a_whole_comes_again_with_a_change_that_came_meanwhile() {
    let mut exchange = Exchange::begin();
    let first = exchange.send(1, &["a@1", "p@1"]);
    let [answer, piece] = ["a@1", "p@2"].map(resource);
    let answer = ResourceSet { resource: answer, pieces: [piece].into() };
    exchange.0.offer([("a".into(), answer)], 2);
    exchange.refuse(&first.nonce, &[""]);
    let second = exchange.0.response().unwrap();
    assert_eq!(names(&second), ["a", "p"]);
    exchange.accept(second);
    assert!(!exchange.0.lacks(1) && !exchange.0.lacks(2));
}

#[test]
fn a_refusal_of_what_the_response_did_not_carry_is_of_all_of_it() {
    let mut exchange = Exchange::begin();
    let first = exchange.send(1, &["a@1", "p@1"]);
    let refused = ["p", "elsewhere"];
    let events = exchange.refuse(&first.nonce, &refused);
    assert_eq!(events, [Event::RefusedWhole(refusals(&refused))]);
    assert!(exchange.0.lacks(1));
    let second = exchange.send(2, &["a@1", "p@2"]);
    assert_eq!(names(&second), ["a", "p"], "the answer itself comes again");
    exchange.accept(second);
    assert!(!exchange.0.lacks(1));
}

#[test]
fn a_refusal_that_names_no_response_is_of_the_one_in_flight() {
    let mut exchange = Exchange::begin();
    exchange.send(1, &["a@1"]);
    assert_eq!(exchange.refuse("", &["a"]), [Event::Refused(refusals(&["a"]))]);
    assert!(exchange.0.lacks(1) && !exchange.0.in_flight());
    assert_eq!(exchange.refuse("", &["a"]), [], "nothing is in flight any more");
}

#[test]
fn resources_that_a_client_refuses_to_forget_count_as_long_as_the_stream() {
    let mut exchange = Exchange::begin();
    let first = exchange.send(1, &["a@1", "p@1"]);
    exchange.accept(first);
    let second = exchange.send(2, &["a@2"]);
    assert_eq!(second.removed, [Name::from("p")]);
    assert_eq!(exchange.refuse(&second.nonce, &[""]), [Event::RefusedWhole(refusals(&[""]))]);
    let third = exchange.send(3, &["a@3"]);
    exchange.accept(third);
    assert!(exchange.0.lacks(2) && !exchange.0.lacks(3), "`p` is not sent again");
}

/// As a proxy does that is asked to forget a resource of a kind that it does not know.
#[test]
fn a_removal_that_is_refused_by_name_leaves_the_rest_in_force() {
    let mut exchange = Exchange::begin();
    let first = exchange.send(1, &["a@1", "p@1"]);
    exchange.accept(first);
    let second = exchange.send(2, &["a@2"]);
    assert_eq!(exchange.refuse(&second.nonce, &["p"]), [Event::Refused(refusals(&["p"]))]);
    assert!(!exchange.0.lacks(2));
}

#[test]
fn a_refusal_of_the_next_version_confirms_none_before_it() {
    let mut exchange = Exchange::begin();
    for revision in [1, 2] {
        let sent = exchange.send(revision, &[&format!("a@{revision}")]);
        exchange.refuse(&sent.nonce, &["a"]);
    }
    assert!(exchange.0.lacks(1) && exchange.0.lacks(2));
    let sent = exchange.send(3, &["a@3"]);
    exchange.accept(sent);
    assert!((1..=3).all(|revision| !exchange.0.lacks(revision)));
}

/// A greeting that never ends, in parts of a megabyte; how much is taken before it is refused.
fn greeting(part: impl Fn(Name) -> Request) -> (usize, Violation) {
    let mut server = Server::<u64>::new(Splitting::default());
    let mut bytes = 0;
    loop {
        let name = format!("{bytes:08}{}", "x".repeat((1 << 20) - 8));
        match server.request(Request { more: true, ..part(name.into()) }) {
            Ok(_) => bytes += 1 << 20,
            Err(violation) => return (bytes, violation),
        }
        assert!(bytes <= 1 << 30, "there is no bound");
    }
}

#[test]
fn a_greeting_of_long_names_has_an_end() {
    let (bytes, violation) =
        greeting(|name| Request { held: vec![(name, 1)], ..Request::default() });
    assert!(bytes <= HELD_BYTES && matches!(violation, Violation::LongNames(_)), "{bytes}");
    let (bytes, violation) =
        greeting(|name| Request { subscribe: vec![name], ..Request::default() });
    assert!(bytes <= REFUSED_BYTES && matches!(violation, Violation::LongNames(_)), "{bytes}");
}
