//! QEMU's control socket (QMP): one JSON object a line, a command at a time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lines::{Lines, TooLong};

/// How long QEMU may take for an answer. A QEMU that is stopped gives none.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest line, in bytes. Ours.
const LONGEST: usize = 1 << 20;

/// Why QEMU didn't do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket is closed: QEMU has ended.
    #[error("QEMU has closed its control socket")]
    Closed,
    /// It gives no answer.
    #[error("QEMU gives no answer to {command} within {} s", PATIENCE.as_secs())]
    Silent {
        /// The command.
        command: String,
    },
    /// Something else with the socket.
    #[error("QEMU's control socket: {0}")]
    Io(#[from] io::Error),
    /// What came isn't QMP.
    #[error("QEMU's control socket: {0}")]
    TooLong(#[from] TooLong),
    /// What came isn't QMP.
    #[error("QEMU's control socket says {line:?}, which is no message of its protocol")]
    Garbage {
        /// The line, as far as it is text.
        line: String,
    },
    /// It refuses.
    #[error("QEMU refuses {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// Why, in QEMU's words.
        reason: String,
    },
}

/// What QEMU says.
#[derive(Clone, Debug, PartialEq)]
enum Message {
    Greeting,
    Event,
    Return(Value),
    Error(String),
}

impl Message {
    fn parse(line: &[u8]) -> Result<Self, QmpError> {
        let garbage = || QmpError::Garbage { line: String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned() };
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(line) else { return Err(garbage()) };
        if fields.contains_key("QMP") {
            Ok(Self::Greeting)
        } else if fields.contains_key("event") {
            Ok(Self::Event)
        } else if let Some(value) = fields.remove("return") {
            Ok(Self::Return(value))
        } else {
            let reason = fields.get("error").and_then(|error| error.get("desc")).and_then(Value::as_str);
            reason.map(|reason| Self::Error(reason.to_owned())).ok_or_else(garbage)
        }
    }
}

/// The control socket, after the greetings.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    lines: Lines,
    waiting: std::collections::VecDeque<Message>,
}

impl Qmp {
    /// Takes over a socket that QEMU has connected to.
    ///
    /// # Errors
    /// It doesn't greet.
    pub fn open(stream: UnixStream) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut qmp = Self { stream, lines: Lines::new(LONGEST), waiting: [].into() };
        while qmp.next("the greeting")? != Message::Greeting {}
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has QEMU carry out a command, and gives what it returns.
    ///
    /// # Errors
    /// QEMU refuses, has ended, or gives no answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
            _ => QmpError::Io(error),
        })?;
        loop {
            match self.next(command)? {
                Message::Greeting | Message::Event => {}
                Message::Return(value) => return Ok(value),
                Message::Error(reason) => return Err(QmpError::Refused { command: command.to_owned(), reason }),
            }
        }
    }

    /// The next message while `command` waits.
    fn next(&mut self, command: &str) -> Result<Message, QmpError> {
        let begin = Instant::now();
        let mut bytes = [0; 4096];
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            let count = match self.stream.read(&mut bytes) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if begin.elapsed() > PATIENCE {
                        return Err(QmpError::Silent { command: command.to_owned() });
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(QmpError::Closed),
                Err(error) => return Err(error.into()),
            };
            for line in self.lines.push(&bytes[..count])? {
                self.waiting.push_back(Message::parse(&line)?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";

    /// A QEMU that says `greeting`, and answers command n with line n of `answers`.
    fn qemu(greeting: &'static str, answers: &'static [&'static str]) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            theirs.write_all(greeting.as_bytes()).unwrap();
            for answer in answers {
                let mut byte = [0];
                while theirs.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {}
                theirs.write_all(answer.as_bytes()).unwrap();
            }
        });
        ours
    }

    #[test]
    fn a_command_has_its_answer_whatever_events_come_before() {
        let answers =
            &["{\"return\": {}}\r\n", "{\"event\": \"STOP\"}\r\n{\"event\": \"X\"}\r\n{\"return\": {\"a\": 1}}\r\n"];
        let mut qmp = Qmp::open(qemu(GREETING, answers)).unwrap();
        assert_eq!(qmp.execute("query-status", &json!({})).unwrap(), json!({ "a": 1 }));
        assert!(matches!(qmp.execute("quit", &json!({})), Err(QmpError::Closed)));
    }

    #[test]
    fn a_refusal_has_qemus_words() {
        let answers =
            &["{\"return\": {}}\n", "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Bus 'rp0' not found\"}}\n"];
        let mut qmp = Qmp::open(qemu(GREETING, answers)).unwrap();
        let error = qmp.execute("device_add", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refuses device_add: Bus 'rp0' not found");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for line in ["", "hello", "[]", "{}", "{\"error\": 1}", "{\"error\": {\"desc\": 2}}", "\u{fffd}"] {
            assert!(matches!(Message::parse(line.as_bytes()), Err(QmpError::Garbage { .. })), "{line}");
        }
        assert!(matches!(Message::parse(b"{\"return\": \xff}"), Err(QmpError::Garbage { .. })));
        assert!(matches!(Qmp::open(qemu("no greeting\n", &[])), Err(QmpError::Garbage { .. })));
        assert!(matches!(Qmp::open(qemu("", &[])), Err(QmpError::Closed)));
    }
}
