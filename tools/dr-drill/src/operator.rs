//! Who runs the drill?

use dr_pipe::owner;

/// The user who typed the command: before sudo, else as the password database, id(1) or a number says.
pub fn name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let named = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    named.or_else(|| owner::named(uid)).or_else(name_by_id).unwrap_or_else(|| format!("uid {uid}"))
}

/// The user's name where the password database is not a file (LDAP, SSSD).
fn name_by_id() -> Option<String> {
    let output = dr_pipe::child::output(std::process::Command::new("id").arg("-un")).ok()?;
    let name = String::from_utf8(output.stdout).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| output.status.success() && !name.is_empty())
}
