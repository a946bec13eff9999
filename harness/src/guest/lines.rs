//! Lines from a stream of bytes that nobody has promised to be lines.

/// Cuts bytes into lines, and remembers the beginning of the one that isn't complete.
#[derive(Debug)]
pub struct Lines {
    rest: Vec<u8>,
    limit: usize,
}

/// A line is longer than any that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line has more than {limit} bytes")]
pub struct TooLong {
    /// How long a line may be, in bytes.
    pub limit: usize,
}

impl Lines {
    /// With lines of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { rest: Vec::new(), limit }
    }

    /// Takes in bytes, and gives the lines that they complete, without their ends.
    ///
    /// # Errors
    /// [`TooLong`]. What was kept of the line is forgotten.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = Vec::new();
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            if self.rest.len() + piece.len() > self.limit {
                self.rest = Vec::new();
                return Err(TooLong { limit: self.limit });
            }
            self.rest.extend_from_slice(piece);
            if pieces.peek().is_some() {
                lines.push(std::mem::take(&mut self.rest));
            }
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_come_when_they_are_complete() {
        let mut lines = Lines::new(8);
        assert_eq!(lines.push(b"ab"), Ok(vec![]));
        assert_eq!(lines.push(b"c\n\nd\ne"), Ok(vec![b"abc".to_vec(), vec![], b"d".to_vec()]));
        assert_eq!(lines.push(b"\n"), Ok(vec![b"e".to_vec()]));
    }

    #[test]
    fn a_line_without_end_is_refused_and_forgotten() {
        let mut lines = Lines::new(8);
        assert_eq!(lines.push(b"12345678"), Ok(vec![]));
        assert_eq!(lines.push(b"9"), Err(TooLong { limit: 8 }));
        assert_eq!(lines.push(b"x\n"), Ok(vec![b"x".to_vec()]));
    }

    proptest! {
        /// However the bytes are cut into pieces, the lines are the same.
        #[test]
        fn pieces_do_not_matter(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), size in 1_usize..20) {
            let mut lines = Lines::new(1000);
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                found.extend(lines.push(piece).unwrap());
            }
            let mut expected: Vec<_> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop();
            prop_assert_eq!(found, expected);
        }
    }
}
