//! Explanations of whole worlds.

mod cases;
mod recordings;
mod translated;
