//! Who runs the drill, and where?

/// The user who typed the command: before sudo, else as the password database, id(1) or a number says.
pub fn operator() -> String {
    let named = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    named.or_else(name_in_passwd).or_else(name_by_id).unwrap_or_else(|| format!("uid {}", uid()))
}

/// This host's name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn name_in_passwd() -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid().to_string();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.find(|fields| fields.get(2) == Some(&uid.as_str())).map(|fields| fields[0].to_owned())
}

/// The user's name where the password database is not a file (LDAP, SSSD).
fn name_by_id() -> Option<String> {
    let output = dr_pipe::child::output(std::process::Command::new("id").arg("-un")).ok()?;
    let name = String::from_utf8(output.stdout).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| output.status.success() && !name.is_empty())
}
