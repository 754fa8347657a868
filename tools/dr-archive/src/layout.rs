//! How is a member of known size cut into frames?

use std::ops::Range;

/// Even cuts of `bytes` bytes into `frames` frames of about the target size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    bytes: u64,
    align: u64,
    /// At least one: an empty member has a header still.
    pub frames: u64,
}

impl Layout {
    /// Cuts into frames of at least two thirds and less than one and a half of `frame_bytes`; one frame for less than that.
    pub fn new(bytes: u64, frame_bytes: u64) -> Self {
        let frames = (bytes.saturating_add(frame_bytes / 2) / frame_bytes).max(1);
        Layout { bytes, align: 1, frames }
    }

    /// The same, cut at multiples of `align` bytes: frames may be that much smaller or larger.
    pub fn aligned(self, align: u64) -> Self {
        Layout { align, ..self }
    }

    /// The bytes of the member that frame `number` holds, counted from 0.
    pub fn range(&self, number: u64) -> Range<u64> {
        let even = |n: u64| (u128::from(self.bytes) * u128::from(n) / u128::from(self.frames)) as u64;
        let cut = |n: u64| if n == self.frames { self.bytes } else { even(n) - even(n) % self.align };
        cut(number)..cut(number + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cuts_are_whole_and_about_even(bytes in 0u64..1 << 40, frame_bytes in 1024u64..1 << 25) {
            let layout = Layout::new(bytes, frame_bytes);
            prop_assert_eq!(layout.range(0).start, 0);
            prop_assert_eq!(layout.range(layout.frames - 1).end, bytes);
            for number in (0..layout.frames).step_by(1 + layout.frames as usize / 100) {
                let range = layout.range(number);
                prop_assert!(range.end - range.start <= frame_bytes * 3 / 2 + 1);
                prop_assert!(layout.frames == 1 || range.end - range.start >= frame_bytes * 2 / 3 - 1);
            }
        }
    }
}
