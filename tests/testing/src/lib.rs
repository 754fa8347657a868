//! Real servers for tests.

pub mod postgres;
pub mod s3;
