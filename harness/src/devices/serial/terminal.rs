//! What is at the far end of the line: it sends each line back.

use std::collections::VecDeque;

use mlx5_twin_sim::time::Time;

use super::register::LSR_BI;
use super::uart::Character;

/// A line that is longer is sent back in parts.
const LINE: usize = 80;
/// Silence after which an unfinished line is sent back, in characters.
const SILENCE: u64 = 8;

/// The far end: it collects characters until a line is whole, is too long, or stops; then it sends them back, at the rate at which
/// they came. A break is answered by a break.
#[derive(Clone, Debug, Default)]
pub struct Terminal {
    line: Vec<u8>,
    /// When the line has been unfinished for too long.
    stops_at: Option<Time>,
    to_send: VecDeque<Character>,
    /// When the first of them has been sent.
    sent_at: Option<Time>,
    /// How long a character takes.
    time: Time,
}

impl Terminal {
    /// A character came that took `time`.
    pub fn take(&mut self, character: Character, time: Time, now: Time) {
        self.time = time;
        if character.errors & LSR_BI != 0 {
            self.answer(now);
            self.send(character, now);
            return;
        }
        self.line.push(character.byte);
        self.stops_at = Some(now + Time::ps(time.as_ps().saturating_mul(SILENCE)));
        if character.byte == b'\n' || self.line.len() == LINE {
            self.answer(now);
        }
    }

    fn answer(&mut self, now: Time) {
        self.stops_at = None;
        for byte in std::mem::take(&mut self.line) {
            self.send(Character { byte, errors: 0 }, now);
        }
    }

    fn send(&mut self, character: Character, now: Time) {
        self.to_send.push_back(character);
        self.sent_at.get_or_insert(now + self.time);
    }

    /// When something happens next, if nothing else does before.
    pub fn next_event(&self) -> Option<Time> {
        [self.sent_at, self.stops_at].into_iter().flatten().min()
    }

    /// Lets happen what happens at `now`: one thing. Gives the character that reached the chip, if one did.
    pub fn event(&mut self, now: Time) -> Option<Character> {
        if self.sent_at.is_some_and(|at| at <= now) {
            let character = self.to_send.pop_front();
            self.sent_at = (!self.to_send.is_empty()).then(|| now + self.time);
            return character;
        }
        if self.stops_at.is_some_and(|at| at <= now) {
            self.answer(now);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Time = Time::us(10);

    fn character(byte: u8) -> Character {
        Character { byte, errors: 0 }
    }

    /// Lets all happen that will: what was sent, and when.
    fn drain(terminal: &mut Terminal) -> Vec<(Character, Time)> {
        let mut sent = Vec::new();
        while let Some(at) = terminal.next_event() {
            sent.extend(terminal.event(at).map(|character| (character, at)));
        }
        sent
    }

    #[test]
    fn lines_come_back_when_they_end_or_stop() {
        // What is sent, one character after the other; how many characters later the first one comes back.
        let cases: [(&[u8], u64); 4] =
            [(b"hello\n", 6 + 1), (b"\n", 1 + 1), (b"abc", 3 + SILENCE + 1), (&[b'x'; LINE], 81)];
        for (text, first) in cases {
            let mut terminal = Terminal::default();
            let mut now = Time::ZERO;
            for &byte in text {
                now += TIME;
                assert_eq!(terminal.next_event().filter(|at| *at <= now), None, "{text:?}");
                terminal.take(character(byte), TIME, now);
            }
            let sent = drain(&mut terminal);
            let bytes: Vec<u8> = sent.iter().map(|(character, _)| character.byte).collect();
            assert_eq!(bytes, text);
            for (number, (_, at)) in (first..).zip(sent) {
                assert_eq!(at, Time::ps(TIME.as_ps() * number), "{text:?}");
            }
        }
    }

    #[test]
    fn a_break_is_answered_after_what_came_before() {
        let mut terminal = Terminal::default();
        terminal.take(character(b'a'), TIME, TIME);
        let stopped = Character { byte: 0, errors: LSR_BI };
        terminal.take(stopped, TIME, Time::us(20));
        assert_eq!(drain(&mut terminal), [(character(b'a'), Time::us(30)), (stopped, Time::us(40))]);
    }

    proptest! {
        /// All comes back in its order, a character each character time at most, and never more than a line waits.
        #[test]
        fn nothing_is_lost_or_piles_up(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400), gaps in prop::collection::vec(0_u64..30, 400)) {
            let mut terminal = Terminal::default();
            let (mut now, mut sent) = (Time::ZERO, Vec::new());
            for (&byte, gap) in bytes.iter().zip(gaps) {
                now += TIME + Time::us(gap.saturating_sub(20) * 20);
                while let Some(at) = terminal.next_event().filter(|at| *at <= now) {
                    sent.extend(terminal.event(at).map(|character| (character, at)));
                }
                terminal.take(character(byte), TIME, now);
                prop_assert!(terminal.to_send.len() + terminal.line.len() <= 2 * LINE);
            }
            sent.extend(drain(&mut terminal));
            let back: Vec<u8> = sent.iter().map(|(character, _)| character.byte).collect();
            prop_assert_eq!(back, bytes);
            prop_assert!(sent.windows(2).all(|pair| pair[1].1 >= pair[0].1 + TIME));
        }
    }
}
