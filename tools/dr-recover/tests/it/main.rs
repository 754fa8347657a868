//! dr-recover against real servers of several majors, with WAL that they archived.
#![allow(clippy::unwrap_used, missing_docs)]

mod directories;
mod fixture;
mod forks;
mod holes;
mod isolated;
mod past;
mod preflight;
mod stock;
mod tablespaces;
mod targets;
