//! Both ends of the configuration stream, each with a partner who says anything.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use weft_delta::{
    Client, INTEREST_LIMIT, Name, Refusal, Request, Resource, ResourceSet, Response, Server,
    Splitting,
};

const NAMES: &[&str] = &["self", "a:80", "b:80", "route/a", "route/b", "backend/a", ""];

fuzz_target!(|data: &[u8]| {
    let mut choices = Unstructured::new(data);
    let _ = serve(&mut choices);
    let _ = receive(&mut choices);
});

fn serve(choices: &mut Unstructured<'_>) -> Result<()> {
    let mut server = Server::<u64>::new(Splitting::default());
    for revision in 0..choices.int_in_range(0..=20)? {
        match choices.int_in_range(0..=2)? {
            0 => {
                let request = Request {
                    subscribe: many(choices, name)?,
                    unsubscribe: many(choices, name)?,
                    held: many(choices, |choices| Ok((name(choices)?, version(choices)?)))?,
                    more: choices.ratio(1, 4)?,
                    nonce: nonce(choices)?,
                    refused: many(choices, refusal)?,
                };
                if server.request(request).is_err() {
                    return Ok(());
                }
                assert!(server.interests().count() <= INTEREST_LIMIT);
            }
            1 => {
                let answers = many(choices, |choices| {
                    let interest = name(choices)?;
                    let resource = resource(choices, &interest)?;
                    let pieces = many(choices, |choices| {
                        let name = name(choices)?;
                        resource_of(choices, name)
                    })?;
                    let answer = choices
                        .ratio(3, 4)?
                        .then(|| ResourceSet { resource, pieces: pieces.into() });
                    Ok((interest, answer))
                })?;
                for (interest, answer) in answers {
                    match answer {
                        Some(answer) => server.offer([(interest, answer)], revision),
                        None => server.refuse(interest),
                    }
                }
            }
            _ => {
                let before = server.in_flight();
                let response = server.response();
                assert!(!before || response.is_none(), "two responses in flight");
            }
        }
    }
    Ok(())
}

fn receive(choices: &mut Unstructured<'_>) -> Result<()> {
    let mut client = Client::new();
    for _ in 0..choices.int_in_range(0..=20)? {
        match choices.int_in_range(0..=6)? {
            0 => drop(client.want(&name(choices)?)),
            1 => drop(client.connected()),
            2 => client.disconnected(),
            3 => client.drop_interest(&name(choices)?),
            4 => drop(client.request()),
            5 => {
                let nonce = nonce(choices)?;
                match choices.arbitrary()? {
                    true => drop(client.accepted(&nonce)),
                    false => drop(client.refused(&nonce, many(choices, refusal)?)),
                }
            }
            _ => {
                let resources = many(choices, |choices| {
                    let name = name(choices)?;
                    resource_of(choices, name)
                })?;
                let (nonce, removed) = (nonce(choices)?, many(choices, name)?);
                let _ = client.received(Response { nonce, resources, removed });
            }
        }
    }
    Ok(())
}

fn many<T>(
    choices: &mut Unstructured<'_>,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = choices.int_in_range(0..=3)?;
    (0..count).map(|_| one(choices)).collect()
}

fn name(choices: &mut Unstructured<'_>) -> Result<Name> {
    Ok(Arc::from(*choices.choose(NAMES)?))
}

fn version(choices: &mut Unstructured<'_>) -> Result<u64> {
    choices.int_in_range(0..=3)
}

fn nonce(choices: &mut Unstructured<'_>) -> Result<String> {
    Ok((*choices.choose(&["", "1", "2", "3", "x"])?).to_owned())
}

fn refusal(choices: &mut Unstructured<'_>) -> Result<Refusal> {
    Ok(Refusal { name: name(choices)?, why: "so".to_owned() })
}

fn resource(choices: &mut Unstructured<'_>, name: &Name) -> Result<Resource> {
    resource_of(choices, Arc::clone(name))
}

fn resource_of(choices: &mut Unstructured<'_>, name: Name) -> Result<Resource> {
    Ok(Resource { name, version: version(choices)?, body: Bytes::from_static(b"{}") })
}
