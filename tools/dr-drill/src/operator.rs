//! Who runs the drill?

use dr_pipe::owner;

/// The user who typed the command: before sudo, else as the password database, id(1) or a number says.
pub fn name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let named = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    named.or_else(|| owner::named(uid)).or_else(owner::name_by_id).unwrap_or_else(|| format!("uid {uid}"))
}
