//! Text within the limits of headers, which know no letters but ASCII.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// As many bytes go into one encoded word: with the header's name before it, it stays within a line of 76 characters (RFC 2047).
const WORD_BYTES: usize = 39;

/// A header's value, as words with a space between them: as it is where it is plain ASCII, else as RFC 2047 has it.
pub fn header(text: &str) -> String {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !["=?", "  "].iter().any(|part| text.contains(part));
    if plain && !text.is_empty() && text.trim() == text {
        return text.to_owned();
    }
    pieces(text, WORD_BYTES).map(|piece| format!("=?UTF-8?B?{}?=", STANDARD.encode(piece))).collect::<Vec<_>>().join(" ")
}

/// A text in pieces of at most so many bytes, of whole characters.
fn pieces(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(bytes));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The beginning of a text that has at most so many bytes, of whole lines where that is possible; it says where it was cut.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(bytes.saturating_sub(4))];
    let kept = kept.rfind('\n').map_or(kept, |end| &kept[..end]);
    format!("{kept}\n…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_ascii_in_words_that_are_not_too_long() {
        assert_eq!(header("main: critical: dump-age"), "main: critical: dump-age");
        assert_eq!(header("ü"), "=?UTF-8?B?w7w=?=");
        for text in ["a\r\nBcc: x@example.org", "=?UTF-8?Q?x?=", " a", "", &"ä\u{1f600}".repeat(50)] {
            let header = header(text);
            let decodes = header
                .split(' ')
                .filter(|word| !word.is_empty())
                .all(|word| word.len() <= 76 - "Subject: ".len() && word.starts_with("=?UTF-8?B?"));
            assert!(decodes && header.is_ascii() && !header.contains(['\r', '\n']), "{header}");
        }
    }

    #[test]
    fn a_text_is_cut_between_lines() {
        assert_eq!((cut("a\nb\n", 4), cut("aa\nbb\ncc\n", 8)), ("a\nb\n".into(), "aa\n…".into()));
        assert!(cut(&"ä".repeat(100), 21).len() <= 21);
    }
}
