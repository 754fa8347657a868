//! One HTTP request to somebody who is told something: a pinger, a webhook. The URL is a secret, as whoever has it may post.

mod attempt;
mod client;
mod url;

pub use client::{Answer, Client, Method, PostArgs, Request, send};
pub use url::Url;
