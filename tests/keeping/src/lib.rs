//! A simulated year: backups are made every night, every week and every month by the real tools, under an injected clock, and
//! pruned by the policies that people have. At its end exactly those backups that the policy names are there, and restore.
#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod policies;
mod tier;
mod year;
