//! The engine from outside: real sockets, configuration from a file.

mod abuse;
mod heads;
mod http;
mod log;
mod ondemand;
mod protocols;
mod retries;
mod tcp;
mod world;
