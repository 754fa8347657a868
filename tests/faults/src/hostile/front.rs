//! What a tool takes for its server: in front of a real one, and now and then hostile.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::behaviours::{Act, Behaviour};
use super::request::{Kind, Reply, Request};

/// How long a client may take for its next byte.
const IDLE: Duration = Duration::from_secs(60);

/// A behaviour, and which of the requests that it is for it meets.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub behaviour: &'static Behaviour,
    pub from: usize,
    pub to: usize,
}

/// The server behind, and what a liar needs to know of it.
#[derive(Debug)]
pub struct Behind {
    pub address: SocketAddr,
    /// Where it keeps the bucket's objects.
    pub bucket: PathBuf,
    /// Where a redirection leads.
    pub elsewhere: String,
    /// Listings that are told in pages, by prefix.
    pub told: Mutex<BTreeMap<String, Vec<String>>>,
}

/// A front on a loopback port of its own, until it is dropped.
pub struct Front {
    address: SocketAddr,
    plan: Arc<Plan>,
    elsewhere: SocketAddr,
}

struct Plan {
    behind: Behind,
    fault: Mutex<Option<Fault>>,
    /// How many requests there were that the behaviour is for.
    met: AtomicUsize,
    seen: Mutex<Vec<Kind>>,
    /// How many connections were made to where a redirection leads.
    misled: AtomicUsize,
    ended: AtomicBool,
}

impl Front {
    /// Starts one before the server at `address`, which keeps its objects in `bucket`.
    pub fn start(address: SocketAddr, bucket: PathBuf, fault: Option<Fault>) -> io::Result<Front> {
        let (listener, other) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        let (own, elsewhere) = (listener.local_addr()?, other.local_addr()?);
        let behind = Behind { address, bucket, elsewhere: format!("http://{elsewhere}/"), told: Mutex::default() };
        let plan = Arc::new(Plan {
            behind,
            fault: Mutex::new(fault),
            met: AtomicUsize::new(0),
            seen: Mutex::default(),
            misled: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        accept(listener, &plan, |plan, client| {
            let plan = Arc::clone(plan);
            // A connection that breaks is what this is for.
            std::thread::spawn(move || drop(plan.serve(&client)));
        });
        accept(other, &plan, |plan, _| {
            plan.misled.fetch_add(1, Ordering::SeqCst);
        });
        Ok(Front { address: own, plan, elsewhere })
    }

    /// Its URL; with `https` where that is said.
    pub fn url(&self, secure: bool) -> String {
        format!("http{}://{}", if secure { "s" } else { "" }, self.address)
    }

    /// From now on it is honest.
    pub fn heal(&self) {
        *self.plan.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Kind> {
        self.plan.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many followed where a redirection led.
    pub fn misled(&self) -> usize {
        self.plan.misled.load(Ordering::SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.plan.ended.store(true, Ordering::SeqCst);
        // Wakes the threads that accept; if that fails, they have ended.
        drop([self.address, self.elsewhere].map(TcpStream::connect));
    }
}

fn accept(listener: TcpListener, plan: &Arc<Plan>, each: fn(&Arc<Plan>, TcpStream)) {
    let plan = Arc::clone(plan);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if plan.ended.load(Ordering::SeqCst) {
                return;
            }
            each(&plan, client);
        }
    });
}

impl Behind {
    /// What the server says.
    pub fn ask(&self, request: &Request) -> io::Result<Reply> {
        let mut server = TcpStream::connect(self.address)?;
        server.set_read_timeout(Some(IDLE))?;
        write!(server, "{}connection: close\r\n\r\n", request.head)?;
        server.write_all(&request.body)?;
        let mut bytes = Vec::new();
        server.read_to_end(&mut bytes)?;
        Reply::parse(&bytes)
    }
}

impl Plan {
    /// Serves one request and closes the connection, which every client must take.
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(IDLE))?;
        client.set_nodelay(true)?;
        let mut first = [0];
        // A client that begins with TLS.
        if client.peek(&mut first)? == 1 && first[0] == 0x16 {
            let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            return match fault.map(|fault| fault.behaviour.act) {
                Some(Act::Tls(act)) => act(client),
                _ => Ok(()),
            };
        }
        let mut request = Request::read(client)?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.kind);
        let act = self.act(request.kind);
        match act {
            Some(Act::Refuse) => return Ok(()),
            Some(Act::Unanswered(act)) => return act(client),
            Some(Act::Unasked) => {}
            _ if request.expects => {
                let mut client = client;
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            _ => {}
        }
        request.read_body(client)?;
        if matches!(act, Some(Act::Reset)) {
            let mut last = [0];
            client.peek(&mut last)?;
            if let Some(byte) = request.body.last_mut() {
                *byte = last[0];
            }
            return self.behind.ask(&request).map(drop);
        }
        request.read_last(client)?;
        let of_head = request.kind == Kind::Head;
        match act {
            Some(Act::Answer(answer)) => answer(&request, &self.behind)?.send(client, of_head)?,
            Some(Act::Wire(send)) => send(client, &self.behind.ask(&request)?, of_head)?,
            _ => self.behind.ask(&request)?.send(client, of_head)?,
        }
        client.shutdown(Shutdown::Both)
    }

    fn act(&self, kind: Kind) -> Option<Act> {
        let fault = (*self.fault.lock().unwrap_or_else(PoisonError::into_inner))?;
        if !fault.behaviour.meets.contains(&kind) {
            return None;
        }
        let number = self.met.fetch_add(1, Ordering::SeqCst);
        (fault.from <= number && number < fault.to).then_some(fault.behaviour.act)
    }
}
