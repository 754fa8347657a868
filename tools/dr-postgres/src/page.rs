//! Is a page of a relation whole? Its checksum, as the server computes it (`src/include/storage/checksum_impl.h` of PostgreSQL).

/// Columns that are summed side by side; part of the algorithm, and what processors do at once.
const SUMS: usize = 32;

/// Bytes of one row of columns.
const ROW_BYTES: usize = 4 * SUMS;

/// The prime of the FNV-1a hash.
const PRIME: u32 = 16_777_619;

/// What the columns begin with.
const OFFSETS: [u32; SUMS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Where a page's header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 8..10;

/// Where it has the end of free space; 0 in a page that was never used.
const UPPER: std::ops::Range<usize> = 14..16;

/// What a page is, as far as it can be told by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its checksum is right.
    Good,
    /// It was never used: nothing but zeroes.
    New,
    /// Its checksum is wrong.
    Wrong,
}

/// Judges `page`, which is block `block` of its relation, counted over all of its segments.
pub fn judge(page: &[u8], block: u32) -> Verdict {
    if word(page, UPPER) == 0 {
        return if page.iter().all(|&byte| byte == 0) { Verdict::New } else { Verdict::Wrong };
    }
    if checksum(page, block) == word(page, CHECKSUM) { Verdict::Good } else { Verdict::Wrong }
}

/// The position in WAL that last changed `page`.
pub fn lsn(page: &[u8]) -> u64 {
    let half = |at: usize| u64::from(u32::from_ne_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    half(0) << 32 | half(4)
}

/// The checksum that `page` should have; it has at least 128 bytes, and a multiple of that.
fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = OFFSETS;
    let (first, rest) = page.split_at(ROW_BYTES);
    // The checksum itself counts as zero.
    let mut head = [0; ROW_BYTES];
    head.copy_from_slice(first);
    head[CHECKSUM].fill(0);
    add(&mut sums, &head);
    let (rows, _) = rest.as_chunks::<ROW_BYTES>();
    rows.iter().for_each(|row| add(&mut sums, row));
    add(&mut sums, &[0; ROW_BYTES]);
    add(&mut sums, &[0; ROW_BYTES]);
    let folded = sums.into_iter().fold(block, |folded, sum| folded ^ sum);
    (folded % 65535 + 1) as u16
}

fn add(sums: &mut [u32; SUMS], row: &[u8; ROW_BYTES]) {
    let (words, _) = row.as_chunks::<4>();
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ u32::from_ne_bytes(*word);
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

fn word(page: &[u8], at: std::ops::Range<usize>) -> u16 {
    u16::from_ne_bytes([page[at.start], page[at.start + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut page: Vec<u8> = (0..8192u32).map(|at| (at * 7 + at / 251) as u8).collect();
        let sum = checksum(&page, 42);
        page[CHECKSUM].copy_from_slice(&sum.to_ne_bytes());
        page
    }

    #[test]
    fn a_page_is_good_in_its_own_place_only() {
        let page = sample();
        assert_eq!(judge(&page, 42), Verdict::Good);
        assert_eq!(judge(&page, 43), Verdict::Wrong);
        assert_eq!(judge(&[0; 8192], 42), Verdict::New);
    }

    #[test]
    fn every_bit_counts() {
        for bit in (0..8192 * 8).step_by(97) {
            let mut page = sample();
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(judge(&page, 42), Verdict::Wrong, "bit {bit}");
        }
        let mut page = vec![0; 8192];
        page[8000] = 1;
        assert_eq!(judge(&page, 0), Verdict::Wrong, "a new page is all zeroes");
    }

    #[test]
    fn an_lsn_is_two_halves() {
        let mut page = [0; 128];
        page[..4].copy_from_slice(&0x16u32.to_ne_bytes());
        page[4..8].copy_from_slice(&0xB374_D848u32.to_ne_bytes());
        assert_eq!(lsn(&page), 0x16_B374_D848);
    }
}
