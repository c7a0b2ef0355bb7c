//! A client and its servers over a link that delays as it likes and breaks.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use proptest::{
    collection,
    prelude::{Just, ProptestConfig, Strategy},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use weft_delta::{
    Client, Event, Name, Refusal, Request, Resource, ResourceSet, Response, Server, Splitting,
};

const INTERESTS: u8 = 4;
const PIECES: u8 = 6;

/// Two pieces fill a response; answers come after pieces.
const SPLITTING: Splitting =
    Splitting { bytes: 16, place: |name| if name.starts_with("piece") { 0 } else { 1 } };

#[derive(Clone, Debug)]
enum Step {
    Want(u8),
    Drop(u8),
    /// An answer needs other pieces.
    Needs(u8, u8),
    /// A piece has another body.
    Touch(u8),
    /// The control plane gets round to answering this interest.
    Answer(u8),
    /// A request arrives.
    Up,
    /// A response arrives.
    Down,
    /// The client cannot use this piece when it next comes.
    Refuse(u8),
    /// The stream breaks with all that is on the way, and there is a new one.
    Break,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..INTERESTS).prop_map(Step::Want),
        2 => (0..INTERESTS).prop_map(Step::Drop),
        3 => (0..INTERESTS, 0..1u8 << PIECES).prop_map(|(one, mask)| Step::Needs(one, mask)),
        3 => (0..PIECES).prop_map(Step::Touch),
        8 => (0..INTERESTS).prop_map(Step::Answer),
        8 => Just(Step::Up),
        8 => Just(Step::Down),
        1 => Just(Step::Break),
    ]
}

/// The same greeting in three requests, as if it were too much for one.
fn in_pieces(mut greeting: Request) -> [Request; 3] {
    let held = greeting.held.split_off(greeting.held.len() / 2);
    let subscribe = greeting.subscribe.split_off(greeting.subscribe.len() / 2);
    let last = Request { more: greeting.more, ..Request::default() };
    greeting.more = true;
    [greeting, Request { held, subscribe, more: true, ..Request::default() }, last]
}

#[derive(Default)]
struct Mesh {
    needs: BTreeMap<u8, u8>,
    versions: BTreeMap<u8, u64>,
    revision: u64,
    client: Client,
    server: Server,
    /// Interests of the present stream that wait for an answer.
    asked: BTreeSet<u8>,
    up: VecDeque<Request>,
    down: VecDeque<Response>,
    /// What the client runs on: bodies by name.
    running: HashMap<Name, Bytes>,
    refuse: BTreeSet<Name>,
    has_refused: bool,
}

fn interest(number: u8) -> Name {
    format!("host{number}:80").into()
}

fn piece(number: u8) -> Name {
    format!("piece/{number}").into()
}

impl Mesh {
    fn new() -> Self {
        let mut mesh = Self::default();
        mesh.connect();
        mesh
    }

    fn connect(&mut self) {
        self.client.disconnected();
        self.server = Server::new(SPLITTING);
        self.asked.clear();
        self.down.clear();
        let pieces = self.client.connected().into_iter().flat_map(in_pieces);
        self.up = pieces.collect();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Want(number) => drop(self.client.want(&interest(*number))),
            Step::Drop(number) => self.client.drop_interest(&interest(*number)),
            Step::Needs(number, mask) => {
                self.needs.insert(*number, *mask);
                self.offer([*number].into());
            }
            Step::Touch(number) => {
                *self.versions.entry(*number).or_default() += 1;
                let users = (0..INTERESTS).filter(|one| self.mask(*one) & (1 << number) != 0);
                self.offer(users.collect());
            }
            Step::Answer(number) => {
                if self.asked.remove(number) {
                    self.offer([*number].into());
                }
            }
            Step::Up => self.deliver_up(),
            Step::Down => self.deliver_down(),
            Step::Refuse(number) => drop(self.refuse.insert(piece(*number))),
            Step::Break => self.connect(),
        }
        self.up.extend(self.client.request());
        self.down.extend(self.server.response());
        assert!(self.down.len() <= 1, "a response before the last one has arrived");
    }

    fn mask(&self, number: u8) -> u8 {
        self.needs.get(&number).copied().unwrap_or_default()
    }

    fn answer(&self, number: u8) -> ResourceSet {
        let mask = self.mask(number);
        let pieces = (0..PIECES).filter(|piece| mask & (1 << piece) != 0).map(|number| {
            let version = self.versions.get(&number).copied().unwrap_or_default();
            Resource { name: piece(number), version, body: version.to_be_bytes().to_vec().into() }
        });
        let resource =
            Resource { name: interest(number), version: mask.into(), body: vec![mask].into() };
        ResourceSet { resource, pieces: pieces.collect() }
    }

    fn offer(&mut self, numbers: BTreeSet<u8>) {
        self.revision += 1;
        let answers: Vec<_> = numbers
            .into_iter()
            .filter(|number| !self.asked.contains(number))
            .map(|number| (interest(number), self.answer(number)))
            .collect();
        self.server.offer(answers, self.revision);
    }

    fn deliver_up(&mut self) {
        let Some(request) = self.up.pop_front() else { return };
        for event in self.server.request(request).unwrap() {
            let number = |name: &Name| name.as_bytes()[4] - b'0';
            match event {
                Event::Wanted(name) => drop(self.asked.insert(number(&name))),
                Event::Dropped(name) => drop(self.asked.remove(&number(&name))),
                Event::Accepted | Event::Refused(_) => {}
                Event::RefusedWhole(_) => panic!("each refusal names what it is about"),
            }
        }
    }

    fn deliver_down(&mut self) {
        let Some(response) = self.down.pop_front() else { return };
        let update = self.client.received(response).unwrap();
        let mut refused = Vec::new();
        for resource in update.changed {
            if self.refuse.remove(&resource.name) {
                self.has_refused = true;
                refused.push(Refusal { name: resource.name, why: "bad".into() });
            } else {
                self.running.insert(resource.name, resource.body);
            }
        }
        for name in update.removed {
            self.running.remove(&name);
        }
        self.up.extend(self.client.refused(&update.nonce, refused));
        if !self.has_refused {
            self.assert_closed();
        }
    }

    /// Whatever answer the client runs on, it has all that the answer needs.
    fn assert_closed(&self) {
        for (name, body) in self.running.iter().filter(|(name, _)| name.starts_with("host")) {
            for number in (0..PIECES).filter(|number| body[0] & (1 << number) != 0) {
                let piece = piece(number);
                assert!(self.running.contains_key(&piece), "{name} without {piece}");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let answers = (0..INTERESTS).map(Step::Answer);
            for step in answers.chain([Step::Up, Step::Down]) {
                self.step(&step);
            }
        }
        assert!(self.up.is_empty() && self.down.is_empty(), "the link never falls silent");
    }

    fn expected(&self) -> BTreeMap<Name, Bytes> {
        let wanted: BTreeSet<&Name> = self.client.interests().collect();
        let answers = (0..INTERESTS).filter(|number| wanted.contains(&interest(*number)));
        answers
            .map(|number| self.answer(number))
            .flat_map(|answer| [&answer.pieces[..], &[answer.resource]].concat())
            .map(|resource| (resource.name, resource.body))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_client_ends_with_exactly_what_its_interests_need(
        steps in collection::vec(step(), 1..80),
    ) {
        let mut mesh = Mesh::new();
        steps.iter().for_each(|step| mesh.step(step));
        mesh.settle();
        let running: BTreeMap<Name, Bytes> = mesh.running.clone().into_iter().collect();
        prop_assert_eq!(running, mesh.expected());
        for revision in 0..=mesh.revision {
            prop_assert!(!mesh.server.lacks(revision), "revision {} is still lacking", revision);
        }
    }

    #[test]
    fn what_is_held_is_what_runs_however_much_is_refused(
        steps in collection::vec(
            prop_oneof![9 => step(), 2 => (0..PIECES).prop_map(Step::Refuse)],
            1..80,
        ),
    ) {
        let mut mesh = Mesh::new();
        steps.iter().for_each(|step| mesh.step(step));
        mesh.settle();
        let held: BTreeSet<Name> = mesh.client.held().map(|(name, _)| name.clone()).collect();
        let running: BTreeSet<Name> = mesh.running.keys().cloned().collect();
        prop_assert_eq!(held, running);
        mesh.refuse.clear();
        mesh.step(&Step::Break);
        mesh.settle();
        let running: BTreeMap<Name, Bytes> = mesh.running.clone().into_iter().collect();
        prop_assert_eq!(running, mesh.expected(), "a new stream mends what was refused");
    }
}
