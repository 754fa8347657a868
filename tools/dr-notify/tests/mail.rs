//! Is what sendmail gets an e-mail, whatever stands in a record?
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Host, check, failed, fed, python};

/// Reads a mail as strictly as Python can, and shows it.
const PARSE: &str = "
import sys, json, email, email.policy
raw = sys.stdin.buffer.read()
mail = email.message_from_bytes(raw, policy=email.policy.default)
defects = [repr(d) for part in mail.walk() for d in part.defects] + [repr(d) for h in mail.values() for d in h.defects]
print(json.dumps({
    'defects': defects, 'headers': [name for name, _ in mail.items()], 'subject': mail['subject'], 'to': mail['to'],
    'addresses': [a.addr_spec for a in mail['to'].addresses], 'from': mail['from'], 'id': mail['message-id'],
    'date': mail['date'].datetime.timestamp(), 'body': mail.get_content(), 'longest': max(len(l) for l in raw.split(b'\\n')),
    'ascii': all(b < 128 for b in raw), 'cr': b'\\r' in raw,
}))
";

const HEADERS: [&str; 9] =
    ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"];

/// A host that writes the mails it sends to a file `mail`, and the arguments to `arguments`.
fn host(end: &str) -> Host {
    let host = Host::new();
    let (mail, arguments) = (host.path("mail"), host.path("arguments"));
    let sendmail =
        host.program("sendmail", &format!("echo \"$@\" > {}\n/bin/cat > {}\n{end}", arguments.display(), mail.display()));
    let settings = format!(
        "kind = \"email\"\nfrom = \"dr on db1 <dr@db1.example.org>\"\n\
         to = [\"ops@example.org\", \"Kim <kim@example.org>\"]\nsendmail = \"{}\"\n",
        sendmail.display()
    );
    host.channel("mail", &settings);
    host
}

/// The mail that was sent.
fn sent(host: &Host) -> Value {
    let mail = python(PARSE, &fs::read(host.path("mail")).unwrap());
    fs::remove_file(host.path("mail")).unwrap();
    assert_eq!(mail["defects"], json!([]), "{mail:#}");
    assert_eq!(mail["headers"], json!(HEADERS), "{mail:#}");
    assert_eq!((&mail["ascii"], &mail["cr"]), (&json!(true), &json!(false)));
    assert!(mail["longest"].as_u64().unwrap() <= 78, "{mail:#}");
    mail
}

#[test]
fn f94_mail_is_sent_of_a_fault_and_once_of_its_end() {
    let host = host("");
    let more = [("hint", "look at journalctl -u dr-backup@main")];
    host.told(&check("dump-age", "critical", &more));
    let mail = sent(&host);
    assert_eq!(fs::read_to_string(host.path("arguments")).unwrap(), "-t -i\n");
    assert_eq!(mail["subject"], "[dr] main: critical: dump-age");
    assert_eq!(mail["addresses"], json!(["ops@example.org", "kim@example.org"]));
    assert_eq!(mail["from"], "dr on db1 <dr@db1.example.org>");
    let id = mail["id"].as_str().unwrap();
    assert!(id.starts_with('<') && id.ends_with('>') && id.contains('@'), "{id}");
    assert!((mail["date"].as_f64().unwrap() - chrono::Utc::now().timestamp() as f64).abs() < 60.0);
    let body = mail["body"].as_str().unwrap();
    assert!(body.starts_with("CRITICAL: dump-age\n  dump-age is critical\n  cluster main, host "), "{body}");
    assert!(body.contains("\n  do: look at journalctl -u dr-backup@main\n  read: man 1 dr-check\n\n-- \ndr-notify on "), "{body}");
    host.told(&check("dump-age", "ok", &[]));
    assert_eq!(sent(&host)["subject"], "[dr] main: cleared: dump-age");
    host.told(&check("dump-age", "ok", &[]));
    assert!(!host.path("mail").exists());
}

#[test]
fn f96_nothing_in_a_record_becomes_a_header_or_another_mail() {
    let evil = "x\r\nBcc: evil@example.org\r\n\r\n.\r\nMAIL FROM:<evil>";
    let host = host("");
    for field in ["check", "cluster", "subject", "message", "hint"] {
        host.told(&check("dump-age", "critical", &[("subject", &format!("for {field}")), (field, evil)]));
        let mail = sent(&host);
        assert_eq!(mail["addresses"], json!(["ops@example.org", "kim@example.org"]));
        let body = mail["body"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(body.contains("x Bcc: evil@example.org . MAIL FROM:<evil>"), "{field}: {body}");
    }
    let last_words = "From evil\n.\nBcc: evil@example.org\n=?UTF-8?Q?=0ABcc:_evil?=\n\u{1b}[2J";
    host.told(&support::run("r1", 69, last_words));
    let mail = sent(&host);
    let said = "  | From evil\n  | .\n  | Bcc: evil@example.org\n  | =?UTF-8?Q?=0ABcc:_evil?=\n  | \u{fffd}[2J\n";
    assert!(mail["body"].as_str().unwrap().contains(said), "{mail:#}");
}

#[test]
fn letters_of_all_alphabets_and_long_words_arrive() {
    let host = host("");
    let subject = "Bücher \u{1f4da} Ωμέγα ".repeat(8);
    let message = "zu alt: größer als 26 h. ".repeat(20);
    host.told(&check("dump-age", "warning", &[("subject", &subject), ("message", &message)]));
    let mail = sent(&host);
    assert!(mail["subject"].as_str().unwrap().contains("dump-age (Bücher \u{1f4da} Ωμέγα Bücher"), "{mail:#}");
    assert!(mail["body"].as_str().unwrap().contains(message.trim()), "{mail:#}");
    for subject in ["=?UTF-8?Q?x?=", "a  b", " a", &"x".repeat(60)] {
        host.told(&check(subject, "critical", &[]));
        let mail = sent(&host);
        assert_eq!(mail["subject"], format!("[dr] main: critical: {}", subject.trim()));
    }
}

#[test]
fn f94_mail_that_cannot_be_sent_is_an_error() {
    for (end, code, words) in [
        ("echo first >&2; echo 'password=canary no queue' >&2; exit 75", 69, "exited with 75: password=*** no queue"),
        ("exit 77", 77, "exited with 77"),
        ("kill -9 $$", 69, "was killed by SIGKILL"),
        ("exec /bin/sleep 60", 69, "it took longer than 2 s"),
    ] {
        let host = host(end);
        let output = fed(host.tool().env("DR_NOTIFY_PATIENCE", "2"), &check("x", "critical", &[]));
        let error = failed(&output, code);
        assert!(error.contains(words), "{error}");
        // It has not been told.
        assert!(
            fs::read_dir(host.path("state")).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".json"))
        );
    }
    let host = Host::with("kind = \"email\"\nfrom = \"a@b\"\nto = \"c@d\"\nsendmail = \"/nonexistent/sendmail\"\n");
    assert!(failed(&host.tell(&check("x", "critical", &[])), 78).contains("/nonexistent/sendmail: No such file"));
}
