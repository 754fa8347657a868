//! With how much memory is an index built? A B-tree is sorted fastest in pieces that fit a processor's cache, merged once:
//! with 16 MB, building one over text takes three fifths of the time that it takes with 256 MB.

/// In which pieces rows are sorted, in KiB, as long as they can be merged at once.
const PIECE: u64 = 16 << 10;
/// What PostgreSQL asks for each process before it builds an index in several (`plan_create_index_workers`).
const PIECE_OF_SEVERAL: u64 = 32 << 10;
/// What merging takes for each piece (`tuplesort_merge_order`), in KiB.
const MERGED: u64 = 272;
/// What a row has in a sort beside its values, in bytes: its place, headers, and what is sorted in its stead.
const ROW: u64 = 64;

/// The memory for building an index over a table, in KiB, while so many more processes help. Never more than the server would take.
pub fn memory(bytes: u64, rows: u64, helpers: usize, servers: u64) -> u64 {
    let processes = helpers as u64 + 1;
    let share = (bytes / 1024 + rows.saturating_mul(ROW) / 1024) / processes;
    // So many pieces are merged at once as their size has room for: a piece of the root of both.
    let merged_at_once = share.saturating_mul(MERGED).isqrt() * 5 / 4;
    let piece = if helpers == 0 { PIECE } else { PIECE_OF_SEVERAL };
    (piece.max(merged_at_once) * processes).min(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_piece_fits_a_cache_and_all_pieces_are_merged_at_once() {
        assert_eq!(memory(GIB / 4, 1_000_000, 0, 256 << 10), PIECE);
        assert_eq!(memory(GIB / 4, 1_000_000, 1, 256 << 10), 2 * PIECE_OF_SEVERAL);
        let piece = memory(1000 * GIB, 5_000_000_000, 0, u64::MAX);
        let pieces = (1000 * (GIB >> 10) + 5_000_000_000 * ROW / 1024) / piece;
        assert!(piece > PIECE && pieces * MERGED < piece, "{pieces} of {piece} KiB");
    }

    #[test]
    fn it_is_never_more_than_the_servers() {
        assert_eq!(memory(1000 * GIB, 1, 7, 64 << 10), 64 << 10);
        assert_eq!(memory(1, 1, 0, 1024), 1024);
    }
}
