//! Real servers for tests.

pub mod postgres;
pub mod proxy;
pub mod s3;
