//! The bytes, read back into a tree that can be compared as text.

use std::fmt::Write;

use super::*;
use crate::ruleset::{Rule, Selector, Statement};

#[track_caller]
fn check(changes: &[Change], expected: &str) {
    let wanted: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let found = read_messages(&to_batch(changes));
    assert_eq!(found, wanted);
}

/// The expressions of one rule, as `name(attributes)`.
#[track_caller]
fn check_rule(rule: Rule, expected: &str) {
    let table = Change::ReplaceChains(Family::Ip, "t".into(), vec![Chain::plain("c", vec![rule])]);
    let messages = read_messages(&to_batch(&[table]));
    let line = messages.iter().find(|line| line.starts_with("a06")).expect("a rule");
    let (_, expressions) = line.split_once("4{").expect("expressions");
    // Closing braces carry no information here, and every element of the list
    // opens with the same words.
    let plain = |text: &str| {
        let text = text.replace('}', "");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(plain(&expressions.replace(" 1{1=", " ").replacen("1{1=", "", 1)), plain(expected));
}

fn read_messages(bytes: &[u8]) -> Vec<String> {
    let mut rest = bytes;
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
        let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap());
        let flags = u16::from_ne_bytes(rest[6..8].try_into().unwrap());
        let sequence = u32::from_ne_bytes(rest[8..12].try_into().unwrap());
        assert_eq!(sequence as usize, lines.len() + 1, "messages are numbered");
        let mut line = format!("{kind:03x} {flags:x} {}", rest[16]);
        read_attributes(&rest[20..length], &mut line);
        lines.push(line);
        rest = &rest[length..];
    }
    lines
}

fn read_attributes(mut rest: &[u8], line: &mut String) {
    while rest.len() >= 4 {
        let length = u16::from_ne_bytes([rest[0], rest[1]]) as usize;
        let kind = u16::from_ne_bytes([rest[2], rest[3]]);
        let value = &rest[4..length];
        if kind & 0x8000 == 0 {
            let text = std::str::from_utf8(value).ok().and_then(|text| text.strip_suffix('\0'));
            match text {
                Some(text) if text.len() > 1 && text.chars().all(|c| c.is_ascii_graphic()) => {
                    write!(line, " {kind}={text}").unwrap();
                }
                _ => {
                    write!(line, " {kind}=").unwrap();
                    value.iter().for_each(|byte| write!(line, "{byte:02x}").unwrap());
                }
            }
        } else {
            write!(line, " {}{{", kind & 0x7fff).unwrap();
            let mut nested = String::new();
            read_attributes(value, &mut nested);
            write!(line, "{}}}", nested.trim_start()).unwrap();
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
}

#[test]
fn a_table_is_replaced_in_one_batch_and_the_last_message_is_acknowledged() {
    let table = Table {
        family: Family::Ip,
        name: "weft".into(),
        chains: vec![Chain::hooked("out", Hook::Nat(HookPoint::Output), Vec::new())],
    };
    check(
        &[Change::ReplaceTable(table)],
        "010 1 0
         a00 401 2 1=weft
         a02 1 2 1=weft
         a00 401 2 1=weft
         a03 405 2 1=weft 3=out 4{1=00000003 2=ffffff9c} 7=nat
         011 1 0",
    );
}

#[test]
fn chains_are_made_emptied_and_filled_without_touching_others() {
    let chains = vec![
        Chain::plain("a1", vec![Rule::new().leave()]),
        Chain::plain("a2", vec![Rule::new().jump("a1")]),
    ];
    check(
        &[
            Change::ReplaceChains(Family::Ip6, "weft".into(), chains),
            Change::RemoveTable(Family::Ip, "old".into()),
        ],
        "010 1 0
         a03 401 10 1=weft 3=a1
         a03 401 10 1=weft 3=a2
         a08 1 10 1=weft 2=a1
         a08 1 10 1=weft 2=a2
         a06 c01 10 1=weft 2=a1 4{1{1=immediate 2{1=00000000 2{2{1=fffffffb}}}}}
         a06 c01 10 1=weft 2=a2 4{1{1=immediate 2{1=00000000 2{2{1=fffffffd 2=a1}}}}}
         a00 401 2 1=old
         a02 5 2 1=old
         011 1 0",
    );
}

#[test]
fn owners_and_marks_are_compared_in_host_order() {
    let user = 1337u32.to_ne_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
    check_rule(
        Rule::new().unless(Selector::SocketUser(1337)).when(Selector::Mark(1337)).leave(),
        &format!(
            "meta 2{{1=00000001 2=0000000a}} cmp 2{{1=00000001 2=00000001 3{{1={user}}} \
             meta 2{{1=00000001 2=00000003}} cmp 2{{1=00000001 2=00000000 3{{1={user}}} \
             immediate 2{{1=00000000 2{{2{{1=fffffffb"
        ),
    );
}

#[test]
fn ranges_are_masked_and_ports_follow_their_protocol() {
    let net = "10.0.0.0/8".parse().unwrap();
    check_rule(
        Rule::new()
            .when(Selector::Destination(net))
            .when(Selector::TcpPort(80.into()))
            .then(Statement::Redirect(15001)),
        "payload 2{1=00000001 2=00000001 3=00000010 4=00000004}
         bitwise 2{1=00000001 2=00000001 3=00000004 4{1=ff000000 5{1=00000000}
         cmp 2{1=00000001 2=00000000 3{1=0a000000}
         meta 2{1=00000001 2=00000010} cmp 2{1=00000001 2=00000000 3{1=06}
         payload 2{1=00000001 2=00000002 3=00000002 4=00000002}
         cmp 2{1=00000001 2=00000000 3{1=0050}
         immediate 2{1=00000001 2{1=3a99} redir 2{1=00000001 2=00000001",
    );
}

#[test]
fn turns_and_new_destinations_go_through_registers() {
    check_rule(
        Rule::new()
            .when(Selector::Turn { modulus: 3, turn: 0 })
            .then(Statement::Dnat("10.244.0.9:8080".parse().unwrap())),
        "numgen 2{1=00000001 2=00000003 3=00000000 4=00000000}
         cmp 2{1=00000001 2=00000000 3{1=00000000}
         immediate 2{1=00000001 2{1=0af40009} immediate 2{1=00000002 2{1=1f90}
         nat 2{1=00000001 2=00000002 3=00000001 4=00000001 5=00000002 6=00000002",
    );
}

#[test]
fn interface_names_are_padded_unless_they_are_a_prefix() {
    check_rule(
        Rule::new()
            .when(Selector::Incoming("p*".into()))
            .when(Selector::Outgoing("lo".into()))
            .then(Statement::Masquerade),
        "meta 2{1=00000001 2=00000006} cmp 2{1=00000001 2=00000000 3{1=70}
         meta 2{1=00000001 2=00000007}
         cmp 2{1=00000001 2=00000000 3{1=6c6f0000000000000000000000000000}
         masq 2{",
    );
}
