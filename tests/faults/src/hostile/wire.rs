//! Answers that go out broken, and connections that do without one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::request::Reply;

/// Where half of it ends.
fn half(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() / 2]
}

/// The head of a reply, without what says how long its body is.
fn unmeasured(reply: &Reply, version: &str, more: Option<(&str, &str)>) -> String {
    let mut reply = reply.clone();
    reply.remove("content-length");
    if let Some((name, value)) = more {
        reply.set(name, value);
    }
    reply.head(version)
}

/// Waits for the client to give up.
fn wait(mut client: &TcpStream) -> io::Result<()> {
    loop {
        if client.read(&mut [0; 4096])? == 0 {
            return Ok(());
        }
    }
}

pub fn swallowed(client: &TcpStream, _: &Reply, _: bool) -> io::Result<()> {
    client.shutdown(Shutdown::Both)
}

pub fn slow(mut client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    let mut bytes = reply.head("HTTP/1.1").into_bytes();
    bytes.extend_from_slice(if of_head { &[] } else { &reply.body });
    for slice in bytes.chunks(bytes.len().div_ceil(12)) {
        client.write_all(slice)?;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

pub fn body_cut(mut client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    client.write_all(reply.head("HTTP/1.1").as_bytes())?;
    client.write_all(if of_head { &[] } else { half(&reply.body) })
}

pub fn head_cut(mut client: &TcpStream, reply: &Reply, _: bool) -> io::Result<()> {
    client.write_all(half(reply.head("HTTP/1.1").as_bytes()))
}

pub fn body_stalls(mut client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    body_cut(client, reply, of_head)?;
    client.flush()?;
    wait(client)
}

pub fn length_too_large(client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    let mut reply = reply.clone();
    reply.set("content-length", &(reply.body.len() + 10).to_string());
    reply.send(client, of_head)
}

pub fn length_too_small(client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    let mut reply = reply.clone();
    reply.set("content-length", &(reply.body.len() / 2).to_string());
    reply.send(client, of_head)
}

pub fn length_is_nonsense(client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    let mut reply = reply.clone();
    reply.set("content-length", "-1");
    reply.send(client, of_head)
}

pub fn http_1_0(mut client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    client.write_all(unmeasured(reply, "HTTP/1.0", None).as_bytes())?;
    client.write_all(if of_head { &[] } else { &reply.body })
}

pub fn http_1_0_cut(mut client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    client.write_all(unmeasured(reply, "HTTP/1.0", None).as_bytes())?;
    client.write_all(if of_head { &[] } else { half(&reply.body) })
}

pub fn chunks_are_garbage(mut client: &TcpStream, reply: &Reply, _: bool) -> io::Result<()> {
    client.write_all(unmeasured(reply, "HTTP/1.1", Some(("transfer-encoding", "chunked"))).as_bytes())?;
    client.write_all(b"zz\r\n")?;
    client.write_all(&reply.body)
}

pub fn chunks_do_not_end(mut client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    client.write_all(unmeasured(reply, "HTTP/1.1", Some(("transfer-encoding", "chunked"))).as_bytes())?;
    if !of_head && !reply.body.is_empty() {
        write!(client, "{:x}\r\n", reply.body.len())?;
        client.write_all(&reply.body)?;
    }
    Ok(())
}

pub fn twice(client: &TcpStream, reply: &Reply, of_head: bool) -> io::Result<()> {
    reply.send(client, of_head)?;
    reply.send(client, of_head)
}

pub fn heads_without_end(mut client: &TcpStream, _: &Reply, _: bool) -> io::Result<()> {
    client.write_all(b"HTTP/1.1 200 OK\r\n")?;
    for number in 0.. {
        client.write_all(format!("x-{number}: {}\r\n", "x".repeat(1000)).as_bytes())?;
    }
    Ok(())
}

pub fn stalls(client: &TcpStream) -> io::Result<()> {
    wait(client)
}

pub fn continues_without_end(mut client: &TcpStream) -> io::Result<()> {
    loop {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub fn another_protocol(mut client: &TcpStream) -> io::Result<()> {
    client.write_all(b"220 mail.example.org ESMTP ready\r\n")?;
    client.shutdown(Shutdown::Write)?;
    wait(client)
}

/// Answers TLS as plain HTTP does.
pub fn plain(mut client: &TcpStream) -> io::Result<()> {
    client.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    client.shutdown(Shutdown::Write)?;
    wait(client)
}

/// Cuts TLS off in the middle of its greeting.
pub fn greeting_cut(mut client: &TcpStream) -> io::Result<()> {
    client.write_all(&[0x16, 3, 3, 0, 0x7a, 2])?;
    client.shutdown(Shutdown::Write)?;
    wait(client)
}
