//! Whole meshes, started as a user starts them, and what a user sees: the
//! acceptance table row by row, the laptop's promises, bad input, and
//! configuration on demand.

#[path = "support/root.rs"]
mod root;

use weft_testkit::{application, waiting};

#[path = "whole_mesh/mesh.rs"]
mod mesh;
#[path = "whole_mesh/outside.rs"]
mod outside;

#[path = "whole_mesh/bad_input.rs"]
mod bad_input;
#[path = "whole_mesh/chain.rs"]
mod chain;
#[path = "whole_mesh/egress.rs"]
mod egress;
#[path = "whole_mesh/injection.rs"]
mod injection;
#[path = "whole_mesh/installation.rs"]
mod installation;
#[path = "whole_mesh/laptop.rs"]
mod laptop;
#[path = "whole_mesh/on_demand.rs"]
mod on_demand;
#[path = "whole_mesh/probes.rs"]
mod probes;
#[path = "whole_mesh/server_names.rs"]
mod server_names;
#[path = "whole_mesh/upkeep.rs"]
mod upkeep;
#[path = "whole_mesh/versions.rs"]
mod versions;
