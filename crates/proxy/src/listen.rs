//! Where connections arrive: listeners and the sockets under them.

pub mod listener;
pub mod listeners;
