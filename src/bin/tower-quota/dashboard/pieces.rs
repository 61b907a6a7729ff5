//! Lines that come in pieces of any size.

use std::io::Cursor;

use tower_quota::record::Reader;

/// What a reader has read is called by this name.
const NAME: &str = "log";
/// A line of more bytes is none; of such a one only enough is kept to see that.
const LONGEST: usize = 1 << 20;

/// Puts lines together. It keeps what one of them has so far.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    begun: Vec<u8>,
}

impl Pieces {
    /// The lines that end in `piece`.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Option<Reader> {
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.add(piece);
            return None;
        };
        let (ended, rest) = piece.split_at(end + 1);
        // What is too long already stays so, and still ends here.
        let mut lines = std::mem::take(&mut self.begun);
        lines.extend_from_slice(ended);
        self.add(rest);
        Some(Reader::new(Cursor::new(lines), NAME))
    }

    /// The last line, if its end is missing.
    pub(super) fn finish(self) -> Reader {
        Reader::new(Cursor::new(self.begun), NAME)
    }

    fn add(&mut self, part: &[u8]) {
        let room = (LONGEST + 1).saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&part[..part.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Result<String, String>> {
        let mut all = Pieces::default();
        let mut readers: Vec<Reader> = pieces.iter().filter_map(|it| all.feed(it)).collect();
        readers.push(all.finish());
        let lines = readers.into_iter().flatten();
        let shown = |line: tower_quota::record::Line| line.entry.name().to_owned();
        lines
            .map(|line| line.map(shown).map_err(|error| error.problem().to_owned()))
            .collect()
    }

    #[test]
    fn lines_are_put_together_whatever_the_pieces_are() {
        let text = b"{\"at\":1,\"event\":\"missed\",\"events\":2}\n\nno\n{\"at\":1,\"event\":\"missed\",\"events\":2}";
        let missed = Ok("missed".to_owned());
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let read = read(&pieces);
            assert_eq!(read.len(), 3, "{read:?}");
            assert_eq!((&read[0], &read[2]), (&missed, &missed));
            assert!(read[1].is_err());
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_alone_and_not_kept() {
        let long = vec![b' '; LONGEST];
        let mut pieces = Pieces::default();
        for _ in 0..5 {
            assert!(pieces.feed(&long).is_none());
        }
        assert_eq!(pieces.begun.len(), LONGEST + 1);
        let short = b"\n{\"at\":1,\"event\":\"missed\",\"events\":2}\n";
        let read = read(&[&long, &long, short]);
        assert_eq!(read.len(), 2);
        assert!(
            read[0]
                .as_ref()
                .is_err_and(|problem| problem.contains("longer"))
        );
        assert_eq!(read[1], Ok("missed".to_owned()));
    }
}
