//! Where connections arrive: listeners and the sockets under them.

pub mod listeners;
