//! Where the text comes from that a host program sends, and where the text goes that it receives.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

/// A person or a program at the host: text in, text out.
pub struct Console {
    input: Box<dyn BufRead + Send>,
    output: Option<Box<dyn Write + Send>>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// A console.
    pub fn new(input: impl BufRead + Send + 'static, output: impl Write + Send + 'static) -> Console {
        Console { input: Box::new(input), output: Some(Box::new(output)) }
    }

    /// A console where nobody is: the input has ended, and the output is thrown away.
    pub fn nobody() -> Console {
        Console::new(io::empty(), io::sink())
    }

    /// The next line, its end included, or the first `limit` bytes of a longer one. Empty at the end of the input. Virtual time stands
    /// still until somebody has typed it.
    pub(super) fn line(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        // Whoever reads no more gets no answers either.
        if self.output.is_some() {
            (&mut self.input).take(limit as u64).read_until(b'\n', &mut line)?;
        }
        Ok(line)
    }

    /// Shows text at once. A reader that has seen enough (`| head`) is no error: the input ends then.
    pub(super) fn show(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(output) = &mut self.output else { return Ok(()) };
        match output.write_all(text).and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.output = None;
                Ok(())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_whole_or_in_parts() {
        let text: &[u8] = b"one\n\nthree is long\nlast";
        let mut console = Console::new(text, io::sink());
        let lines: Vec<_> =
            std::iter::from_fn(|| Some(console.line(8).unwrap()).filter(|line| !line.is_empty())).collect();
        assert_eq!(lines, [&b"one\n"[..], b"\n", b"three is", b" long\n", b"last"]);
        assert!(Console::nobody().line(8).unwrap().is_empty());
    }

    /// A reader that reads no more, or a full disk.
    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_output_ends_the_input() {
        let mut console = Console::new(&b"one\ntwo\n"[..], Closed(io::ErrorKind::BrokenPipe));
        assert_eq!(console.line(8).unwrap(), b"one\n");
        assert!(console.show(b"one\n").is_ok());
        assert!(console.line(8).unwrap().is_empty());
        let mut console = Console::new(&b"one\n"[..], Closed(io::ErrorKind::StorageFull));
        assert!(console.show(b"one\n").is_err());
    }
}
