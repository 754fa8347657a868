//! Real servers for tests.

pub mod postgres;
pub mod programs;
pub mod proxy;
pub mod s3;
