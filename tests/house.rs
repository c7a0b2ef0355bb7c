//! What keeps the house in order: the architecture, the dependencies, and how
//! the source reads.

#[path = "support/root.rs"]
mod root;

#[path = "house/workspace.rs"]
mod workspace;

#[path = "house/architecture.rs"]
mod architecture;
#[path = "house/dependencies.rs"]
mod dependencies;
#[path = "house/tidy.rs"]
mod tidy;
#[path = "house/words.rs"]
mod words;
