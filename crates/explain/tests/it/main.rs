//! Explanations of whole worlds.

mod recordings;
