//! Rules the way the kernel reads them: one netlink batch, applied whole or not
//! at all.
//!
//! The numbers are those of `linux/netfilter/nf_tables.h`.

mod expressions;

use crate::attributes::Attributes;
use crate::ruleset::{Chain, Family, Hook, HookPoint, Rule, Table};

/// One change to the kernel's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The table has exactly this content, whatever it had before.
    ReplaceTable(Table),
    /// The table is gone.
    RemoveTable(Family, String),
    /// These chains have exactly these rules; chains that are not named, and
    /// the chains' hooks, stay as they are.
    ReplaceChains(Family, String, Vec<Chain>),
    /// The chain of this table and name is gone, with its rules.
    RemoveChain(Family, String, String),
}

/// Spells `changes` as one batch. The last message before the batch's end asks
/// for an acknowledgement, so that the sender has something to wait for.
pub fn to_batch(changes: &[Change]) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.message(Message::BatchBegin, Family::Ip, Attributes::default());
    for change in changes {
        match change {
            Change::ReplaceTable(table) => {
                batch.add_table(table.family, &table.name);
                batch.delete_table(table.family, &table.name);
                batch.add_table(table.family, &table.name);
                batch.fill(table.family, &table.name, &table.chains);
            }
            Change::RemoveTable(family, name) => {
                // Adding first makes removing what does not exist harmless.
                batch.add_table(*family, name);
                batch.delete_table(*family, name);
            }
            Change::ReplaceChains(family, name, chains) => {
                for chain in chains {
                    batch.add_chain(*family, name, chain);
                }
                for chain in chains {
                    batch.flush_chain(*family, name, &chain.name);
                }
                batch.add_rules(*family, name, chains);
            }
            Change::RemoveChain(family, table, name) => {
                // As with tables.
                batch.add_chain(*family, table, &Chain::plain(name, Vec::new()));
                batch.flush_chain(*family, table, name);
                batch.delete_chain(*family, table, name);
            }
        }
    }
    batch.acknowledge_last();
    batch.message(Message::BatchEnd, Family::Ip, Attributes::default());
    batch.bytes
}

const SUBSYSTEM: u16 = 10 << 8;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    BatchBegin,
    BatchEnd,
    NewTable,
    DeleteTable,
    NewChain,
    DeleteChain,
    NewRule,
    DeleteRule,
}

impl Message {
    fn kind(self) -> u16 {
        match self {
            Self::BatchBegin => 0x10,
            Self::BatchEnd => 0x11,
            Self::NewTable => SUBSYSTEM,
            Self::DeleteTable => SUBSYSTEM | 2,
            Self::NewChain => SUBSYSTEM | 3,
            Self::DeleteChain => SUBSYSTEM | 5,
            Self::NewRule => SUBSYSTEM | 6,
            Self::DeleteRule => SUBSYSTEM | 8,
        }
    }

    fn flags(self) -> u16 {
        match self {
            Self::BatchBegin
            | Self::BatchEnd
            | Self::DeleteTable
            | Self::DeleteChain
            | Self::DeleteRule => REQUEST,
            Self::NewTable | Self::NewChain => REQUEST | CREATE,
            Self::NewRule => REQUEST | CREATE | APPEND,
        }
    }
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    last: usize,
}

impl Batch {
    fn message(&mut self, message: Message, family: Family, attributes: Attributes) {
        let body = attributes.bytes();
        let length = u32::try_from(20 + body.len()).expect("messages are small by construction");
        let batch_edge = matches!(message, Message::BatchBegin | Message::BatchEnd);
        let (family, resource) = match batch_edge {
            true => (0, SUBSYSTEM >> 8),
            false => (family.number(), 0),
        };
        self.last = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(message.kind().to_ne_bytes());
        self.bytes.extend(message.flags().to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(body);
    }

    fn acknowledge_last(&mut self) {
        let at = self.last + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | ACKNOWLEDGE;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }

    fn add_table(&mut self, family: Family, name: &str) {
        self.message(Message::NewTable, family, named(1, name));
    }

    fn delete_table(&mut self, family: Family, name: &str) {
        self.message(Message::DeleteTable, family, named(1, name));
    }

    fn fill(&mut self, family: Family, table: &str, chains: &[Chain]) {
        for chain in chains {
            self.add_chain(family, table, chain);
        }
        self.add_rules(family, table, chains);
    }

    fn add_chain(&mut self, family: Family, table: &str, chain: &Chain) {
        let mut attributes = named(1, table);
        attributes.text(3, &chain.name);
        if let Some(hook) = chain.hook {
            attributes.nest(4, |nested| {
                nested.number(1, hook.point().number());
                nested.number(2, hook.priority().cast_unsigned());
            });
            attributes.text(
                7,
                match hook {
                    Hook::Nat(_) => "nat",
                    Hook::Filter(_) => "filter",
                },
            );
        }
        self.message(Message::NewChain, family, attributes);
    }

    fn delete_chain(&mut self, family: Family, table: &str, chain: &str) {
        let mut attributes = named(1, table);
        attributes.text(3, chain);
        self.message(Message::DeleteChain, family, attributes);
    }

    fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        let mut attributes = named(1, table);
        attributes.text(2, chain);
        self.message(Message::DeleteRule, family, attributes);
    }

    fn add_rules(&mut self, family: Family, table: &str, chains: &[Chain]) {
        for chain in chains {
            for rule in &chain.rules {
                self.add_rule(family, (table, &chain.name), rule);
            }
        }
    }

    fn add_rule(&mut self, family: Family, (table, chain): (&str, &str), rule: &Rule) {
        let mut attributes = named(1, table);
        attributes.text(2, chain);
        attributes.nest(4, |list| {
            for statement in &rule.0 {
                expressions::write(list, statement);
            }
        });
        self.message(Message::NewRule, family, attributes);
    }
}

fn named(kind: u16, name: &str) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.text(kind, name);
    attributes
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
}

impl HookPoint {
    fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

#[cfg(test)]
mod tests;
