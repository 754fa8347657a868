//! A second writer of archives, made from dr-archive(5) alone, that can also write what no honest writer does.

use dr_pipe::Sha256;
use dr_pipe::record::ArchiveRoot;
use serde_json::{Value, json};
use zstd::zstd_safe::CParameter;

/// The tar header of a regular file, as stock `tar` libraries make it.
pub fn header(path: &str, bytes: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes);
    header.set_mtime(7);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A whole member: header, data, zeroes.
pub fn member(path: &str, data: &[u8]) -> Vec<u8> {
    let mut raw = [&header(path, data.len() as u64), data].concat();
    raw.resize(raw.len().next_multiple_of(512), 0);
    raw
}

/// A zstd frame with content size and checksum.
pub fn frame(raw: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    compressor.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
    compressor.compress(raw).unwrap()
}

/// An archive that is being forged.
pub struct Forge {
    /// Frames of members: compressed bytes, and size before.
    pub frames: Vec<(Vec<u8>, usize)>,
    /// Lines of the table of contents.
    pub lines: Vec<Value>,
    /// Raw tar bytes of the member `toc.jsonl`, made from the lines unless given.
    pub toc: Option<Vec<Vec<u8>>>,
    /// What `end.json` says; changed last.
    pub edit_end: fn(&mut Value),
    /// What stands between the data of `end.json` and the end of its frame.
    pub tail: Vec<u8>,
}

impl Forge {
    /// An honest archive of two members in two frames.
    pub fn honest() -> Self {
        let mut forge = Forge { frames: Vec::new(), lines: Vec::new(), toc: None, edit_end: |_| (), tail: vec![0; 1024] };
        forge.add_frame(&member("a", b"first"));
        forge.add_member("a", 0, 512, 5);
        forge.add_frame(&member("b/c", b"second"));
        forge.add_member("b/c", 1, 512, 6);
        forge
    }

    /// Adds a frame, and its line.
    pub fn add_frame(&mut self, raw: &[u8]) {
        let offset: usize = self.frames.iter().map(|(bytes, _)| bytes.len()).sum();
        let bytes = frame(raw);
        self.lines.push(
            json!({"type": "frame", "offset": offset, "bytes": bytes.len(), "raw_bytes": raw.len(), "sha256": Sha256::of(&bytes)}),
        );
        self.frames.push((bytes, raw.len()));
    }

    /// Adds the line of a member.
    pub fn add_member(&mut self, path: &str, frame: u64, offset: u64, bytes: u64) {
        self.lines.push(json!({"type": "member", "path": path, "frame": frame, "offset": offset, "bytes": bytes}));
    }

    /// The archive, and its root.
    pub fn build(self) -> (Vec<u8>, ArchiveRoot) {
        let count = |kind: &str| self.lines.iter().filter(|line| line["type"] == kind).count();
        let text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        let toc = self.toc.unwrap_or_else(|| vec![member("toc.jsonl", text.as_bytes())]);
        let toc: Vec<_> = toc.iter().map(|raw| (frame(raw), raw.len())).collect();
        let toc_bytes = toc.iter().map(|(bytes, _)| &bytes[..]).collect::<Vec<_>>().concat();
        let mut archive = self.frames.iter().map(|(bytes, _)| &bytes[..]).collect::<Vec<_>>().concat();
        let mut end = json!({
            "type": "end", "format": 1, "frames": count("frame"), "members": count("member"),
            "toc": {
                "frame": count("frame"), "offset": archive.len(), "bytes": toc_bytes.len(),
                "raw_bytes": toc.iter().map(|(_, raw)| raw).sum::<usize>(), "sha256": Sha256::of(&toc_bytes),
            },
        });
        (self.edit_end)(&mut end);
        archive.extend(toc_bytes);
        let end = [member("end.json", format!("{end}\n").as_bytes()), self.tail].concat();
        let end = (frame(&end), end.len());
        let root = ArchiveRoot { end_offset: archive.len() as u64, end_bytes: end.0.len() as u64, end_sha256: Sha256::of(&end.0) };
        archive.extend(&end.0);
        let entries: Vec<_> = self.frames.into_iter().chain(toc).chain([end]).map(|(bytes, raw)| (bytes.len(), raw)).collect();
        archive.extend(seek_table(&entries));
        (archive, root)
    }
}

fn seek_table(entries: &[(usize, usize)]) -> Vec<u8> {
    let word = |number: usize| (number as u32).to_le_bytes();
    let body: Vec<u8> = entries.iter().flat_map(|&(bytes, raw)| [word(bytes), word(raw)].concat()).collect();
    let head = [0x184D_2A5Eu32.to_le_bytes(), word(body.len() + 9)].concat();
    [head, body, word(entries.len()).to_vec(), vec![0], 0x8F92_EAB1u32.to_le_bytes().to_vec()].concat()
}
