//! What is this host called?

/// Its name, as uname(2) says it. Where it is no UTF-8, a mark stands for what is not.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
