//! Programs that stand in for what course manifests and their readers expect to
//! find in a pod: the demo application `http-echo`, and a `curl`.
//!
//! Nothing here knows the mesh, pods or the environment; the program that runs
//! these passes in everything they need.

pub mod curl;
pub mod http_echo;
