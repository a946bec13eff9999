//! The guest kernel's console: its last lines, and whether it panicked.

use std::collections::VecDeque;

/// How many lines are kept.
const LINES: usize = 40;

/// How many bytes of a line are kept.
const LONGEST: usize = 300;

/// The last lines of a text, whatever its length.
#[derive(Clone, Debug, Default)]
pub struct Console {
    lines: VecDeque<Vec<u8>>,
    /// The one that isn't complete.
    last: Vec<u8>,
    panic: Option<String>,
}

impl Console {
    /// Takes in what was written.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.last);
                    self.end(line);
                }
                b'\r' => {}
                _ if self.last.len() < LONGEST => self.last.push(byte),
                _ => {}
            }
        }
        self.look(&self.last.clone());
    }

    fn end(&mut self, line: Vec<u8>) {
        if line.is_empty() {
            return;
        }
        self.look(&line);
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The first panic counts, and is told in full when its line is complete.
    fn look(&mut self, line: &[u8]) {
        if let Some(reason) = panic_in(line)
            && self.panic.as_ref().is_none_or(|before| reason.starts_with(before.as_str()))
        {
            self.panic = Some(reason);
        }
    }

    /// What the kernel said when it gave up, if it did.
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// The last lines, as text that does nothing to a terminal.
    pub fn lines(&self) -> Vec<String> {
        let last = (!self.last.is_empty()).then_some(&self.last);
        self.lines.iter().chain(last).map(|line| super::suite::visible(&String::from_utf8_lossy(line))).collect()
    }
}

/// The reason in a line like `[    3.1] Kernel panic - not syncing: Attempted to kill init!`.
fn panic_in(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let (_, reason) = text.split_once("Kernel panic - not syncing: ")?;
    Some(super::suite::visible(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_stay() {
        let mut console = Console::default();
        for number in 0..100 {
            console.push(format!("line {number}\r\n").as_bytes());
        }
        console.push(b"\n\nrest \x1b[1m\xff");
        let lines = console.lines();
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[LINES].as_str()),
            (LINES + 1, "line 60", "rest \u{fffd}[1m\u{fffd}")
        );
        assert_eq!(console.panic(), None);
    }

    #[test]
    fn a_panic_is_seen_in_whatever_pieces_it_comes() {
        let mut console = Console::default();
        for byte in b"[    3.1] Kernel panic - not syncing: Attempted to kill init!\n[ 4.0] more\n" {
            console.push(&[*byte]);
        }
        assert_eq!(console.panic(), Some("Attempted to kill init!"));
        let mut console = Console::default();
        console.push(b"Kernel panic - not syncing: sysrq triggered crash\n");
        assert_eq!(console.panic(), Some("sysrq triggered crash"));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut console = Console::default();
        console.push(&vec![b'x'; 1 << 20]);
        assert_eq!(console.lines()[0].len(), LONGEST);
    }
}
