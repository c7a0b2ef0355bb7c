//! Where connections arrive: listeners and the sockets under them.

pub mod listener;
pub mod listeners;
pub mod status;
pub mod accept;
pub mod admission;
pub mod shedding;
pub mod file_descriptors;
pub mod socket;
pub mod borrowed_sockets;
