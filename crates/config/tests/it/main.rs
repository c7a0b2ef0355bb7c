//! Resources as they travel.

mod fields;
mod samples;
