//! Text → located objects; which file owns which object.
//!
//! Knows YAML and files' texts, but no file system, no cluster and no mesh:
//! the caller reads the files and applies what is said here.

pub mod files;

mod foreign;
mod old_words;
mod place;
mod read;
mod tree;
mod waves;
mod write;

pub use foreign::foreign;
pub use place::{Location, Problem, Remark, render};
pub use read::{Document, read};
pub use waves::waves;
pub use write::to_yaml;
