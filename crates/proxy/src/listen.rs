//! Where connections arrive: listeners and the sockets under them.

pub mod listener;
pub mod listener_manager;
pub mod status;
pub mod accept;
pub mod admission;
pub mod idle_shedding;
pub mod file_descriptors;
pub mod socket;
pub mod passed_sockets;
