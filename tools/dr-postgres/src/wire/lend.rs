//! Lending an open session to a program of PostgreSQL, which takes us for its server: its statements run in our transaction, under
//! our locks.

use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;

use postgres_protocol::message::backend::Message;

use super::session::{Session, TransactionStatus};
use crate::Error;
use crate::error::ServerError;

/// The protocol version 3.0, and what may come in its place at first (PostgreSQL manual, "Message Formats").
const PROTOCOL: u32 = 3 << 16;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// The longest startup packet that a server takes, in bytes.
const STARTUP_MAX: usize = 10_000;

/// How much of the answers is gathered before it goes to the program, in bytes.
const GATHERED: usize = 64 * 1024;

/// Where the program's statements stand, for all that we undo of them.
const SAVEPOINT: &str = "dr_lent";

impl Session {
    /// Runs what `program` asks for, until it hangs up, in the transaction that is open; what the program sets, locks and prepares is
    /// undone then. It speaks the simple query protocol, as pg_dump does; that it begins a transaction and says of which kind is
    /// answered for it, as there is one. `settings` is run first. `is_wanted` is asked before each statement.
    ///
    /// A program that dies is no failure here: whoever has started it knows.
    ///
    /// # Errors
    /// [`Error::Server`] where the program has ended the transaction, [`Error::Protocol`] where it wants to send rows; and as any
    /// call on a broken connection.
    pub fn lend(&mut self, program: UnixStream, settings: &str, is_wanted: &dyn Fn(&UnixStream) -> bool) -> Result<(), Error> {
        self.execute(&format!("SAVEPOINT {SAVEPOINT}; {settings}"))?;
        let mut program = Program { answers: BufWriter::with_capacity(GATHERED, program) };
        if program.start(self).is_ok_and(|welcome| welcome) {
            while is_wanted(program.answers.get_ref()) {
                let Ok(Some(statement)) = program.statement() else { break };
                self.answer_to(&statement, &mut program)?;
            }
        }
        self.execute(&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}; RELEASE SAVEPOINT {SAVEPOINT}; DEALLOCATE ALL"))?;
        Ok(())
    }

    /// Has the server answer one statement, or answers for it.
    fn answer_to(&mut self, statement: &[u8], program: &mut Program) -> Result<(), Error> {
        if let Some(tag) = begins(statement) {
            program.say(b'C', &[tag, b"\0"]);
            program.ready(self.status);
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(statement.len() + 5);
        frame(&mut bytes, b'Q', &[statement]);
        self.send(&bytes)?;
        let answered = self.pass_on(program);
        // Whatever the server said last is for the program to tell.
        program.flush();
        answered
    }

    /// Passes on what the server says, until it is ready for the next statement.
    fn pass_on(&mut self, program: &mut Program) -> Result<(), Error> {
        let mut buffer = vec![0; GATHERED];
        loop {
            let header = self.guard(|session| session.wire.peek())?;
            match header.tag {
                b'Z' | b'S' | b'E' => {
                    self.guard(|session| session.wire.hold(5 + header.length))?;
                    program.write(self.wire.show_held(5 + header.length));
                    let message = self.guard(|session| session.wire.message())?;
                    match self.aside(message)? {
                        Some(Message::ReadyForQuery(body)) => {
                            self.ready(body.status());
                            return Ok(());
                        }
                        // Most errors are the program's own; after one of these there is no session any more.
                        Some(Message::ErrorResponse(body)) => {
                            let error = self.sound(ServerError::read(body.fields()))?;
                            if error.is_fatal() {
                                self.broken = true;
                                return Err(Error::Server(Box::new(error)));
                            }
                        }
                        _ => {}
                    }
                }
                // The server would wait for rows, or for both sides to talk at once.
                b'G' | b'W' => {
                    self.broken = true;
                    return Err(Error::protocol("a program that was to read only wants to send rows"));
                }
                tag => {
                    self.wire.skip_header();
                    program.head(tag, header.length);
                    let mut left = header.length;
                    while left > 0 {
                        let room = left.min(buffer.len());
                        let read = self.guard(|session| session.wire.read_some(&mut buffer[..room]))?;
                        program.write(&buffer[..read]);
                        left -= read;
                    }
                }
            }
        }
    }
}

/// The tag of a statement that would begin the transaction that is there, or say of which kind it is.
fn begins(statement: &[u8]) -> Option<&'static [u8]> {
    match statement.strip_suffix(b"\0")? {
        b"BEGIN" => Some(b"BEGIN"),
        statement if statement.starts_with(b"SET TRANSACTION ") => Some(b"SET"),
        _ => None,
    }
}

/// The program at the other end. What cannot be told to it any more is not told: it is gone, and its starter knows.
struct Program {
    answers: BufWriter<UnixStream>,
}

impl Program {
    /// Welcomes the program with what the server has told us of itself; whether it came to run statements.
    fn start(&mut self, session: &Session) -> io::Result<bool> {
        loop {
            let length = self.number()? as usize;
            let Some(rest) = length.checked_sub(8).filter(|_| length <= STARTUP_MAX) else { return Ok(false) };
            let code = self.number()?;
            self.body(rest)?;
            match code {
                SSL_REQUEST | GSS_REQUEST => {
                    self.write(b"N");
                    self.flush();
                }
                PROTOCOL => break,
                _ => return Ok(false),
            }
        }
        self.say(b'R', &[&0u32.to_be_bytes()]);
        for (name, value) in &session.parameters {
            self.say(b'S', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        self.say(b'K', &[&[0; 8]]);
        self.ready(session.status);
        Ok(true)
    }

    /// The next statement, with the zero byte at its end; none where the program says good-bye, or something that we do not take.
    fn statement(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut tag = [0];
        self.answers.get_ref().read_exact(&mut tag)?;
        let length = self.number()?;
        let body = self.body((length as usize).saturating_sub(4))?;
        if !matches!(tag[0], b'Q' | b'X') {
            self.say(b'E', &[b"SFATAL\0C0A000\0Mthis session takes simple queries only\0\0"]);
            self.flush();
        }
        Ok((tag[0] == b'Q').then_some(body))
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.answers.get_ref().read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        // Grows with what really comes, not with what is announced.
        let mut body = Vec::new();
        let came = self.answers.get_ref().take(length as u64).read_to_end(&mut body)?;
        if came == length { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn ready(&mut self, status: TransactionStatus) {
        let status = match status {
            TransactionStatus::Idle => b"I",
            TransactionStatus::Open => b"T",
            TransactionStatus::Failed => b"E",
        };
        self.say(b'Z', &[status]);
        self.flush();
    }

    fn say(&mut self, tag: u8, parts: &[&[u8]]) {
        let mut message = Vec::new();
        frame(&mut message, tag, parts);
        self.write(&message);
    }

    fn head(&mut self, tag: u8, length: usize) {
        self.write(&[tag]);
        self.write(&length_field(length));
    }

    fn write(&mut self, bytes: &[u8]) {
        self.answers.write_all(bytes).unwrap_or(());
    }

    fn flush(&mut self) {
        self.answers.flush().unwrap_or(());
    }
}

/// Appends a message: its tag, its length, and what it says.
fn frame(message: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    message.push(tag);
    message.extend_from_slice(&length_field(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| message.extend_from_slice(part));
}

/// The length of a message as it stands in it: with the field itself.
fn length_field(body: usize) -> [u8; 4] {
    u32::try_from(body + 4).unwrap_or(u32::MAX).to_be_bytes()
}
