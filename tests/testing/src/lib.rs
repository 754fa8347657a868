//! Real servers for tests.

pub mod clock;
pub mod postgres;
pub mod programs;
pub mod proxy;
pub mod s3;
