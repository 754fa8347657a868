//! A notice as an e-mail (RFC 5322), given to sendmail.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use dr_pipe::words::one_line;
use dr_pipe::{Exit, Failure, redact};

use super::settings::{Settings, Text};
use super::{Post, words};
use crate::notice::Notice;
use crate::program;

/// Where every mail system has it.
const SENDMAIL: &str = "/usr/sbin/sendmail";
/// Longest body, in bytes.
const BODY_BYTES: usize = 32 << 10;
/// Longest line of an encoded body (RFC 2045).
const LINE: usize = 76;
/// Longest line of a header, where it can be folded (RFC 5322).
const HEADER_LINE: usize = 76;

/// Somebody with an address.
#[derive(Debug)]
pub struct Mail {
    to: Vec<String>,
    from: String,
    sendmail: String,
}

impl Mail {
    /// Takes what it needs of a channel's file.
    ///
    /// # Errors
    /// 78 where that is wrong.
    pub fn read(settings: &mut Settings<'_>) -> Result<Self, Failure> {
        let hint = "write OPS@EXAMPLE.ORG, or NAME <OPS@EXAMPLE.ORG>, in ASCII";
        let address = |settings: &Settings<'_>, text: Text, key| {
            address(&text.text).ok_or_else(|| settings.wrong(text.line, &format!("{key} is no address"), hint))
        };
        let from = settings.need("from", "the address that notices come from")?;
        let from = address(settings, from, "from")?;
        let to = settings.take_list("to")?.into_iter().map(|to| address(settings, to, "to")).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(settings.wrong(1, "to is not set", "set to = [\"OPS@EXAMPLE.ORG\"]"));
        }
        let sendmail = settings.take("sendmail")?.map_or_else(|| SENDMAIL.into(), |path| path.text);
        Ok(Mail { to, from, sendmail })
    }

    /// Sends a notice. It has been sent once sendmail has taken it.
    ///
    /// # Errors
    /// 69 where sendmail fails or takes too long, 77 where it says so itself or may not be run, 78 where it is not there.
    pub fn tell(&self, notice: &Notice, post: &Post<'_>) -> Result<(), Failure> {
        let mut command = Command::new(&self.sendmail);
        command.args(["-t", "-i"]);
        let run = program::run(&mut command, self.message(notice).into_bytes(), post.left());
        let output = run.map_err(|error| self.not_run(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rev().map(one_line).find(|line| !line.is_empty()).unwrap_or_default();
        let denied = output.status.code() == Some(i32::from(Exit::Denied.code()));
        let exit = if denied { Exit::Denied } else { Exit::Unavailable };
        let how = dr_pipe::command::describe(output.status);
        let message = format!("{} {how}: {}", self.sendmail, redact::line(&said, &redact::environment()));
        Err(Failure::new(exit, message.trim_end_matches(": "), "the mail system's own log may say why"))
    }

    /// Looks whether sendmail is there, and may be run.
    ///
    /// # Errors
    /// 78 where it is not there, 77 where it is no program.
    pub fn look(&self) -> Result<(), Failure> {
        let found = std::fs::metadata(&self.sendmail).map_err(|error| self.not_run(&error))?;
        let program = found.is_file() && found.mode() & 0o111 != 0;
        if program { Ok(()) } else { Err(self.not_run(&std::io::ErrorKind::PermissionDenied.into())) }
    }

    fn not_run(&self, error: &std::io::Error) -> Failure {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::Config,
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Unavailable,
        };
        let hint = "install a mail system (postfix, msmtp-mta), or set sendmail = \"PATH\" in the channel's file";
        Failure::new(exit, format!("{}: {error}", self.sendmail), hint)
    }

    /// The whole e-mail, with newlines as programs of this host have them.
    fn message(&self, notice: &Notice) -> String {
        let host: String = notice.host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
        let host = host.trim_matches('.');
        let host = if host.is_empty() { "localhost" } else { host };
        let headers = [
            ("From", self.from.clone()),
            ("To", self.to.join(", ")),
            ("Subject", words::header(&format!("[dr] {}", notice.summary()))),
            ("Date", notice.at.to_rfc2822()),
            ("Message-ID", format!("<{}@{host}>", notice.id)),
            // So that no robot answers (RFC 3834).
            ("Auto-Submitted", "auto-generated".into()),
            ("MIME-Version", "1.0".into()),
            ("Content-Type", "text/plain; charset=utf-8".into()),
            ("Content-Transfer-Encoding", "quoted-printable".into()),
        ];
        let headers: String = headers.iter().map(|(name, value)| folded(name, value)).collect();
        format!("{headers}\n{}", quoted_printable(&words::cut(&notice.text(), BODY_BYTES)))
    }
}

/// A single address in its plainest form; none for what is not one, or holds what would be another header, or another address.
fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((name, address)) => (name.trim().trim_matches('"'), address),
        None => ("", text),
    };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, "localhost"));
    let is_local = !local.is_empty()
        && local.bytes().all(atom)
        && !local.starts_with(['-', '.'])
        && !local.ends_with('.')
        && !local.contains("..");
    let is_domain = !domain.is_empty()
        && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        && !domain.starts_with(['-', '.'])
        && !domain.ends_with('.')
        && !domain.contains("..");
    let is_name = name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\<>".contains(&byte));
    let whole = if name.is_empty() { address.to_owned() } else { format!("\"{name}\" <{address}>") };
    (is_local && is_domain && is_name && address.len() <= 254 && name.len() <= 64).then_some(whole)
}

/// A header, with a new line before each word that would make one too long.
fn folded(name: &str, value: &str) -> String {
    let mut text = format!("{name}:");
    let mut width = text.len();
    for word in value.split(' ') {
        if width + 1 + word.len() > HEADER_LINE && width > name.len() + 1 {
            text.push('\n');
            width = 0;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
    text
}

/// A text as RFC 2045 has it: ASCII, in short lines, of which none looks like a mailbox's own.
fn quoted_printable(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut width = 0;
        for (at, byte) in line.bytes().enumerate() {
            let last = at + 1 == line.len();
            let plain = match byte {
                b' ' | b'\t' => !last,
                b'=' => false,
                // Where they begin a line, a mailbox or a mail system may read something else.
                b'F' | b'.' => width > 0,
                _ => byte.is_ascii_graphic(),
            };
            let piece = if plain { char::from(byte).to_string() } else { format!("={byte:02X}") };
            if width + piece.len() > LINE - 1 {
                out.push_str("=\n");
                width = 0;
            }
            width += piece.len();
            out.push_str(&piece);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address() {
        for (text, whole) in [
            ("ops@example.org", "ops@example.org"),
            ("root", "root"),
            ("dr on db1 <dr+x@db1.example.org>", "\"dr on db1\" <dr+x@db1.example.org>"),
            ("\"Ops, all\" <ops@example.org>", "\"Ops, all\" <ops@example.org>"),
        ] {
            assert_eq!(address(text).as_deref(), Some(whole));
        }
        for text in [
            "",
            "@",
            "a@",
            "a@b, c@d",
            "a@b\nBcc: c@d",
            "a\r\nBcc: c@d",
            "-oQ/tmp@example.org",
            "a b@example.org",
            "<a@b",
            "ä@example.org",
            "x\ny <a@b>",
            "x\r\nBcc: c@d <a@b>",
            "a@b..c",
        ] {
            assert_eq!(address(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_body_is_ascii_in_short_lines() {
        assert_eq!(quoted_printable("ä=1 \nFrom x\n.\n-- \n"), "=C3=A4=3D1=20\n=46rom x\n=2E\n--=20\n");
        let long = quoted_printable(&"xö".repeat(500));
        assert!(long.lines().all(|line| line.len() <= LINE) && long.is_ascii());
        assert_eq!(quoted_printable(&"x".repeat(76)), format!("{}=\nx\n", "x".repeat(75)));
    }
}
