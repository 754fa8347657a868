//! A fresh key pair.
#![allow(dead_code)]

use std::io::Write;

use age::secrecy::ExposeSecret;
use dr_crypt::{Identities, IdentityArgs, RecipientArgs, Recipients};

pub struct Keys {
    identity: tempfile::NamedTempFile,
    recipient: String,
}

impl Keys {
    pub fn new() -> Self {
        let key = age::x25519::Identity::generate();
        let mut identity = tempfile::NamedTempFile::new().unwrap();
        identity.write_all(key.to_string().expose_secret().as_bytes()).unwrap();
        Keys { identity, recipient: key.to_public().to_string() }
    }

    pub fn recipients(&self) -> Recipients {
        let args = RecipientArgs { recipients: vec![self.recipient.clone()], recipients_files: Vec::new() };
        Recipients::read(&args, "test").unwrap()
    }

    pub fn identities(&self) -> Identities {
        let path = self.identity.path().to_str().unwrap().to_owned();
        Identities::read(&IdentityArgs { identities: vec![path] }, "test").unwrap()
    }
}
