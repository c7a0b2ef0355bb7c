//! The engine from outside: real sockets, configuration from a file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use weft_testkit::{application, http2 as frames};

mod abuse;
mod actions;
mod affinity;
mod admin;
mod connections;
mod bridging;
mod circles;
mod codecs;
mod deadlines;
mod faults;
mod floods;
mod goaway;
mod h2spec;
mod heads;
mod hello;
mod hostile;
mod http;
mod idle;
mod left;
mod limited;
mod listeners;
mod log;
mod mirrors;
mod names;
mod ondemand;
mod outliers;
mod peers;
mod probes;
mod protocols;
mod resets;
mod retries;
mod scrapes;
mod streams;
mod tcp;
mod trailers;
mod uploads;
mod upgrades;
mod wear;
mod world;
