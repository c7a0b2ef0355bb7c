//! Resources as they travel.

mod fields;
mod forms;
mod samples;
