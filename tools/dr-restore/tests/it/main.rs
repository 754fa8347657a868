//! dr-restore against real servers of several majors.

mod archive;
mod faults;
mod fixture;
mod foreign;
mod names;
mod stores;
