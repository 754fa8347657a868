//! dr-restore against real servers of several majors.

mod archive;
mod fixture;
mod foreign;
mod names;
mod stores;
