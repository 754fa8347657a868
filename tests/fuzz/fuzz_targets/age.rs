//! An age file: the gate that looks at headers, random access, and the stream.
#![no_main]

use std::io::{Cursor, Read};
use std::sync::LazyLock;

use dr_crypt::{Identities, IdentityArgs, Plain, Unlocked, decrypt, is_age};
use libfuzzer_sys::fuzz_target;

/// Reads what was encrypted to age1n3yt705gzqqy9tp5gtw6lvzsmwjqu4m04huk5e387g03kn9u3s6sx4a0xj.
const KEY: &str = "AGE-SECRET-KEY-18PAL9MHVAPC673NK3RH3D7JQGQ9RUDLGR66GNKLN84SPJEGDL9GSG096MD";

static IDENTITIES: LazyLock<Identities> = LazyLock::new(|| {
    let file = tempfile::NamedTempFile::new().expect("a file for its owner alone");
    std::fs::write(file.path(), KEY).expect("room for a key");
    let args = IdentityArgs { identities: vec![file.path().display().to_string()] };
    Identities::read(&args, "fuzz").expect("a key")
});

fuzz_target!(|data: &[u8]| {
    drop(is_age(&mut Cursor::new(data)));
    if let Ok(unlocked) = Unlocked::open(&mut Cursor::new(data), &IDENTITIES) {
        let (mut plain, size) = (Vec::new(), unlocked.plain_len());
        let read = Plain::new(Cursor::new(data), Some(&unlocked)).map(|mut reader| reader.read_to_end(&mut plain));
        if matches!(read, Ok(Ok(_))) {
            assert_eq!(plain.len() as u64, size, "as long as was said");
        }
    }
    if let Ok(mut decrypting) = decrypt(data, &IDENTITIES) {
        drop(decrypting.read_to_end(&mut Vec::new()));
    }
});
