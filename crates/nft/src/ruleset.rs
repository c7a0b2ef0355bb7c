//! Tables, chains and rules as plain data.
//!
//! Only what capture and service addresses need; a statement that is not here
//! cannot be said by mistake.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// A table: the unit that is replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which packets pass through it.
    pub family: Family,
    /// Unique within its family.
    pub name: String,
    /// Chains in the order in which they are made: a chain that is jumped to
    /// comes before the one that jumps.
    pub chains: Vec<Chain>,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// A list of rules, perhaps attached to the kernel's path of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Unique within its table.
    pub name: String,
    /// Where packets enter; a chain without a hook is only jumped to.
    pub hook: Option<Hook>,
    /// Tried from first to last.
    pub rules: Vec<Rule>,
}

/// Where a chain is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Address translation, which sees the first packet of each connection.
    Nat(HookPoint),
    /// Filtering, which sees every packet.
    Filter(HookPoint),
}

/// The point on a packet's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Arrived, not yet routed.
    Prerouting,
    /// Meant for this host.
    Input,
    /// Passing through.
    Forward,
    /// Made by this host.
    Output,
    /// About to leave.
    Postrouting,
}

/// Matches that must all hold, then what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(pub Vec<Statement>);

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Goes on only when the packet fits.
    Match(Selector, Operator),
    /// Decides where the packet goes next.
    Verdict(Verdict),
    /// Sends the connection to this port of this host.
    Redirect(u16),
    /// Sends the connection to another address.
    Dnat(SocketAddr),
    /// Replaces the source by the address of the outgoing interface.
    Masquerade,
    /// Marks the packet.
    SetMark(u32),
    /// Refuses a TCP connection with a reset.
    RejectWithReset,
    /// Refuses with "port unreachable".
    Reject,
}

/// What a match looks at, and the value it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The user of the sending socket.
    SocketUser(u32),
    /// The group of the sending socket.
    SocketGroup(u32),
    /// The packet's mark.
    Mark(u32),
    /// TCP packets.
    Tcp,
    /// UDP packets.
    Udp,
    /// The interface it arrived on; a trailing `*` matches any ending.
    Incoming(String),
    /// The interface it leaves by; a trailing `*` matches any ending.
    Outgoing(String),
    /// Where it comes from.
    Source(IpNet),
    /// Where it goes to.
    Destination(IpNet),
    /// TCP destination port.
    TcpPort(Ports),
    /// UDP destination port.
    UdpPort(Ports),
    /// True for one packet in `modulus`, in turn.
    Turn {
        /// How many turns there are.
        modulus: u32,
        /// Which of them is meant.
        turn: u32,
    },
}

/// A port, or an inclusive range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Whether a selector's value is wanted or unwanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The packet has the value.
    Is,
    /// The packet has another value.
    IsNot,
}

/// What happens to a packet that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on its way.
    Accept,
    /// Vanishes.
    Drop,
    /// Leaves this chain.
    Return,
    /// Visits another chain and comes back.
    Jump(String),
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl Rule {
    /// A rule without conditions; it needs a final statement.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, selector: Selector) -> Self {
        self.0.push(Statement::Match(selector, Operator::Is));
        self
    }

    /// Adds a condition that must not hold.
    #[must_use]
    pub fn unless(mut self, selector: Selector) -> Self {
        self.0.push(Statement::Match(selector, Operator::IsNot));
        self
    }

    /// Adds what is done.
    #[must_use]
    pub fn then(mut self, statement: Statement) -> Self {
        self.0.push(statement);
        self
    }

    /// Ends with leaving the chain.
    #[must_use]
    pub fn leave(self) -> Self {
        self.then(Statement::Verdict(Verdict::Return))
    }

    /// Ends with a visit to another chain.
    #[must_use]
    pub fn jump(self, chain: impl Into<String>) -> Self {
        self.then(Statement::Verdict(Verdict::Jump(chain.into())))
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// A chain that is jumped to.
    pub fn plain(name: impl Into<String>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), hook: None, rules }
    }

    /// A chain on the packets' path.
    pub fn hooked(name: impl Into<String>, hook: Hook, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), hook: Some(hook), rules }
    }
}

impl Hook {
    /// The order among chains at the same point, as `nft` names them: `dstnat`,
    /// `srcnat` and `filter`.
    pub fn priority(self) -> i32 {
        match self {
            Self::Nat(HookPoint::Prerouting | HookPoint::Output) => -100,
            Self::Nat(_) => 100,
            Self::Filter(_) => 0,
        }
    }

    /// The point on the packet's path.
    pub fn point(self) -> HookPoint {
        match self {
            Self::Nat(point) | Self::Filter(point) => point,
        }
    }
}

impl Family {
    /// The address that means "only this one host" here.
    pub fn host(self, address: IpAddr) -> Option<IpNet> {
        match (self, address) {
            (Self::Ip, IpAddr::V4(_)) | (Self::Ip6, IpAddr::V6(_)) => Some(IpNet::from(address)),
            _ => None,
        }
    }
}
