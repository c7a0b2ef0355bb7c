//! Translation from the outside: worlds of YAML in, answers as text out.

mod cases;
mod render;
mod worlds;
