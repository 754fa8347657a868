//! Pieces of a segment: what is streamed before the segment is whole.
//!
//! A piece has no claim beside it. Where it is signed, the signature of its compressed bytes stands before them, in a frame that
//! zstd passes over.

use dr_catalogue::signature;
use dr_store::Put;

use crate::inventory::PieceItem;
use crate::opened::{Opening, decompress, decrypt, failed, most_packed};
use crate::packed::{Packing, compress, encrypt};
use crate::{Error, SegmentName, Shelf, layout};

/// What a frame begins with that zstd passes over (RFC 8878, section 3.1.2); its length follows, little-endian.
const SKIPPED: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();

/// The plain bytes from `begin` up to, and without, `end` of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece {
    /// The segment.
    pub segment: SegmentName,
    /// Offset of its first byte in the segment.
    pub begin: u32,
    /// Offset after its last byte.
    pub end: u32,
}

/// What pieces give of a segment: its bytes from the first on, without a gap.
pub(crate) struct Joined {
    pub(crate) bytes: Vec<u8>,
    pub(crate) used: usize,
}

impl Shelf<'_> {
    /// Stores a piece of a segment, durably: `plain` from offset `begin` on. Gives its key.
    ///
    /// # Errors
    /// As the store says; [`Error::Malformed`] where no segment has such a piece.
    pub fn put_piece(&self, segment: SegmentName, begin: u32, plain: &[u8], packing: &Packing) -> Result<String, Error> {
        let end = u32::try_from(plain.len()).ok().and_then(|bytes| begin.checked_add(bytes)).filter(|end| *end > begin);
        let end = end.ok_or_else(|| Error::Malformed(format!("no piece of a segment has {} bytes", plain.len())))?;
        let piece = Piece { segment, begin, end };
        let compressed = compress(plain, packing)?;
        let object = encrypt([piece.signature(self.cluster, &compressed, packing), compressed].concat(), packing)?;
        loop {
            let mut random = [0; 2];
            let filled = getrandom::fill(&mut random);
            filled.map_err(|error| Error::io("the system's random numbers", std::io::Error::other(error.to_string())))?;
            let key = layout::piece(self.cluster, &piece, random, packing.recipients.is_some());
            match self.store.put(&key, &object) {
                Ok(Put::Created | Put::Identical) => return Ok(key),
                // The same piece, of another receiver: one of 65,536 names.
                Err(dr_store::Error::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Puts pieces together: as far as they reach from the first byte on without a gap. None where no piece begins there.
    ///
    /// # Errors
    /// As [`Shelf::get`]; [`Error::Damaged`] where two pieces do not agree.
    pub(crate) fn join(&self, pieces: &[PieceItem], opening: &Opening) -> Result<Option<Joined>, Error> {
        let mut joined = Joined { bytes: Vec::new(), used: 0 };
        while let Some(item) = next(pieces, joined.bytes.len()) {
            let object = format!("{}/{}", self.store.location(), item.key);
            let expected = (item.piece.end - item.piece.begin) as usize;
            let stored = self.store.read(&item.key, most_packed(expected as u64))?;
            let decrypted = decrypt(&object, stored, item.encrypted, opening)?;
            let compressed = item.piece.proved(&object, self.cluster, &decrypted, opening)?;
            let plain = decompress(compressed, expected as u64).map_err(|error| failed(&object, error))?;
            let known = joined.bytes.len() - item.piece.begin as usize;
            if plain.len() != expected || plain[..known] != joined.bytes[item.piece.begin as usize..] {
                return Err(Error::damaged(object, "it is not the piece that its name says, or does not agree with another"));
            }
            joined.bytes.extend_from_slice(&plain[known..]);
            joined.used += 1;
        }
        Ok((joined.used > 0).then_some(joined))
    }
}

impl Piece {
    fn comment(&self, cluster: &str) -> String {
        format!("dr piece {cluster} {} {:08x}-{:08x}", self.segment, self.begin, self.end)
    }

    /// What stands before the compressed bytes: their signature, or nothing.
    fn signature(&self, cluster: &str, compressed: &[u8], packing: &Packing) -> Vec<u8> {
        let Some(key) = packing.signing_key else { return Vec::new() };
        let signature = signature::sign_text(key, compressed, "PIECE", &self.comment(cluster));
        let bytes = u32::try_from(signature.len()).expect("some lines");
        [&SKIPPED, &bytes.to_le_bytes(), signature.as_slice()].concat()
    }

    /// The compressed bytes of a decrypted piece. Where there are trusted keys, one of them must have signed it, as this piece.
    ///
    /// # Errors
    /// [`Error::Untrusted`], before anything is decompressed.
    fn proved<'d>(&self, object: &str, cluster: &str, decrypted: &'d [u8], opening: &Opening) -> Result<&'d [u8], Error> {
        let signed = decrypted.strip_prefix(&SKIPPED).and_then(|rest| {
            let (bytes, rest) = rest.split_first_chunk()?;
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*bytes)).ok()?)
        });
        if opening.trusted.is_empty() {
            return Ok(signed.map_or(decrypted, |(_, compressed)| compressed));
        }
        let untrusted = |why: String| Error::Untrusted { claim: object.into(), why };
        let (signature, compressed) = signed.ok_or_else(|| untrusted("it is not signed".into()))?;
        let comment = self.comment(cluster);
        let subject = signature::Subject { what: "piece", key: object, comment: &comment };
        signature::verify_text(opening.trusted, subject, compressed, signature).map_err(|error| match error {
            dr_catalogue::Error::BadSignature { why, .. } => untrusted(why),
            other => other.into(),
        })?;
        Ok(compressed)
    }
}

/// The piece that reaches farthest of those that go on where `reached` is.
fn next(pieces: &[PieceItem], reached: usize) -> Option<&PieceItem> {
    let goes_on = |item: &&PieceItem| item.piece.begin as usize <= reached && item.piece.end as usize > reached;
    pieces.iter().filter(goes_on).max_by_key(|item| item.piece.end)
}

/// How far pieces reach from the first byte of the segment on without a gap, in bytes; by their names alone.
pub(crate) fn reach(pieces: &[PieceItem]) -> u32 {
    let mut reached = 0;
    while let Some(item) = next(pieces, reached as usize) {
        reached = item.piece.end;
    }
    reached
}

/// The first byte of what lies behind a hole, where pieces do.
pub(crate) fn behind_hole(pieces: &[PieceItem]) -> Option<u32> {
    let reached = reach(pieces);
    pieces.iter().map(|item| item.piece.begin).filter(|begin| *begin > reached).min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn item(begin: u32, end: u32) -> PieceItem {
        let piece = Piece { segment: "000000010000000000000001".parse().unwrap(), begin, end };
        PieceItem { piece, key: String::new(), bytes: 0, encrypted: false, modified_at: None }
    }

    #[test]
    fn pieces_reach_as_far_as_there_is_no_gap() {
        assert_eq!(reach(&[]), 0);
        assert_eq!(reach(&[item(1, 9)]), 0);
        assert_eq!(reach(&[item(0, 4), item(4, 6), item(7, 9)]), 6);
        assert_eq!(reach(&[item(0, 4), item(0, 5), item(4, 8), item(5, 6)]), 8);
    }

    proptest! {
        #[test]
        fn every_byte_up_to_there_is_in_a_piece_and_the_next_one_is_not(
            pieces in proptest::collection::vec((0u32..40, 1u32..10), 0..12)
        ) {
            let pieces: Vec<_> = pieces.into_iter().map(|(begin, bytes)| item(begin, begin + bytes)).collect();
            let holds = |byte: u32| pieces.iter().any(|item| item.piece.begin <= byte && byte < item.piece.end);
            let reached = reach(&pieces);
            prop_assert!((0..reached).all(holds) && !holds(reached));
        }
    }
}
