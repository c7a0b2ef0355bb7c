//! The control plane in one process, with proxies driven by hand.

mod acknowledge;
mod mesh;
mod pages;
mod streams;
