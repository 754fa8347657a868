//! The container: a tar in a multi-frame zstd stream with a table of contents and a seek table, described byte by byte in
//! dr-archive(5).
//!
//! Many threads write one archive through a shared [`Writer`]; any part of it is read alone, and proved before it is
//! decompressed, through [`Contents`] and [`Reader`]; [`verify`] proves every byte. What the reader accepts is exactly what
//! the writer makes: the table of contents determines the whole tar, so nothing can hide between its members.

mod contents;
mod emitter;
mod end;
mod error;
mod frame;
mod layout;
mod names;
mod piece;
mod press;
mod read_at;
mod reader;
mod seek_table;
mod table;
mod tar_header;
mod toc;
mod toc_reader;
mod turnstile;
mod verify;
mod writer;

pub use contents::Contents;
pub use emitter::Finished;
pub use error::Error;
pub use names::{MAX_PATH_BYTES, Own};
pub use piece::{Piece, Pieces};
pub use read_at::{ReadAt, Seekable};
pub use reader::{MemberReader, Reader};
pub use toc::{Frame, Member};
pub use verify::{verify, verify_each};
pub use writer::{Options, Writer};
