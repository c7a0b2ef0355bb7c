//! The acceptance table, row by row: each test starts a mesh as a user does and
//! looks at what a user sees.

#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/outside.rs"]
mod outside;
#[path = "support/workspace.rs"]
mod workspace;

#[path = "rows/installation.rs"]
mod installation;
#[path = "rows/chain.rs"]
mod chain;
