//! Many requests at once: statuses, destinations and flags by their shares.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{compare, exchange::Done};

/// Two samples of one share differ by no more than so many standard deviations.
const DEVIATIONS: f64 = 4.5;

type Counts = BTreeMap<String, u64>;

/// In what many requests differ from what was recorded.
pub fn differences(world: &Value, exchange: &Value, done: &Done) -> Vec<String> {
    let recorded = &exchange["result"];
    // What is sent at once meets limits, which are exact.
    let kind = match exchange["request"]["parallel"].is_null() {
        true => Kind::Chance,
        false => Kind::Exact,
    };
    let compared = |what: &str, own: &Counts| {
        let name = match what {
            "status" => "statuses",
            "destination" => "distribution",
            "endpoint" => "endpoints",
            other => other,
        };
        compared(what, &recorded[name], own, kind)
    };
    let statuses = done.answers.iter().map(|answer| match answer.status {
        Some(status) => status.to_string(),
        None => answer.end.unwrap_or_default().to_owned(),
    });
    let mut found = compared("status", &counted(statuses));
    let (sent, logged) = (done.answers.len(), done.logged.len());
    if sent != logged {
        found.push(format!("of {sent} requests {logged} are logged"));
    }
    let is_own = |line: &Value| line["details"] != "via_upstream";
    let destinations = done.logged.iter().map(|line| match compare::destination(line) {
        Some(destination) if !is_own(line) => destination.name(),
        _ => "local reply".to_owned(),
    });
    found.extend(compared("destination", &counted(destinations)));
    let hits = |line: &&Value| !is_own(line);
    let endpoints =
        done.logged.iter().filter(hits).map(|line| compare::text(&line["upstream"], ""));
    let endpoints = counted(endpoints);
    let objects = world["objects"].to_string();
    match objects.contains("consistentHash") {
        // Which one it is depends on the hash.
        true if endpoints.len() == 1 => {}
        _ => found.extend(compared("endpoint", &endpoints)),
    }
    if recorded["flags"].is_object() {
        let flags = counted(done.logged.iter().map(|line| compare::text(&line["flags"], "-")));
        found.extend(compared("flags", &flags));
    }
    found
}

fn counted(all: impl Iterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

/// Whether counts depend on chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chance,
    Exact,
}

fn compared(what: &str, recorded: &Value, own: &Counts, kind: Kind) -> Vec<String> {
    let recorded: Counts = recorded
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or_default()))
        .collect();
    let names: BTreeSet<&String> = recorded.keys().chain(own.keys()).collect();
    let total = |counts: &Counts| counts.values().sum::<u64>();
    let differs = names.iter().any(|name| {
        let of = |counts: &Counts| (counts.get(*name).copied().unwrap_or(0), total(counts));
        !may_be_one(of(&recorded), of(own))
    });
    // That all are alike is no chance, unless they are few.
    let alike = recorded.len() == 1 && total(&recorded) > 4;
    let others = alike && !own.keys().eq(recorded.keys());
    match differs || others || kind == Kind::Exact && *own != recorded {
        true => vec![format!("{what}: recorded {recorded:?}, got {own:?}")],
        false => Vec::new(),
    }
}

/// Whether two samples, each a count and its total, may be of one share.
fn may_be_one((first, of_first): (u64, u64), (second, of_second): (u64, u64)) -> bool {
    if first == second && of_first == of_second {
        return true;
    }
    if (first == 0) != (second == 0) && first.max(second) > 8 {
        return false;
    }
    let [a, of_a, b, of_b] = [first, of_first, second, of_second].map(|count| count as f64);
    if of_first == 0 || of_second == 0 {
        return false;
    }
    let share = (a + b) / (of_a + of_b);
    let deviation = (share * (1.0 - share) * (1.0 / of_a + 1.0 / of_b)).sqrt();
    (a / of_a - b / of_b).abs() <= DEVIATIONS * deviation + 1e-9
}
