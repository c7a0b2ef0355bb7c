//! Translation from the outside: worlds of YAML in, answers as text out.

mod addresses;
mod bind;
mod bounds;
mod cases;
mod classes;
mod entries;
mod examined;
mod foreign;
mod honoured;
mod installation;
mod lists;
mod local_addresses;
mod one_host;
mod pairs;
mod passthrough;
mod ports;
mod properties;
mod redirects;
mod render;
mod scale;
mod sums;
mod unknown;
mod unreadable;
mod worlds;
