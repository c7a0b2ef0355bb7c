//! Translation from the outside: worlds of YAML in, answers as text out.

mod cases;
mod properties;
mod render;
mod worlds;
