//! Both ends of the stream, driven by hand.

mod link;
mod script;
