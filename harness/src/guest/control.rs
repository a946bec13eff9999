//! What is said on the guest's control port: orders to its agent (`rootfs/agent.py`), and the agent's notices. One JSON object a line.
//!
//! A command's own bytes have ports of their own (`in`, `out`, `err`); here is told how many of them belong to it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::suite::{Selection, Test};

/// Longest notice, in bytes. The agent cuts reasons at 8 KiB, which JSON may make six times as long.
pub const LONGEST_NOTICE: usize = 128 << 10;

/// Longest command that can be ordered, in bytes: what Linux takes as one argument (MAX_ARG_STRLEN), less its zero.
pub const LONGEST_COMMAND: usize = (128 << 10) - 1;

/// An order to the agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Say that you hear this.
    Ping,
    /// Wait for functions.
    Devices {
        /// How many there are in all.
        devices: usize,
        /// How long to wait, in seconds.
        device_s: f64,
    },
    /// Do what's only possible now: set the clock, take in entropy, wait for the functions and the program.
    Start {
        /// The time, in seconds since 1970.
        time_s: f64,
        /// Random bytes, in hex.
        entropy: String,
        /// How many functions there are.
        devices: usize,
        /// How long to wait for them, in seconds.
        device_s: f64,
        /// How long to wait for the disk with this program, in seconds; 0: there's none.
        program_s: f64,
    },
    /// Run a command, without one a shell.
    Run {
        /// The command, for bash.
        command: Option<String>,
        /// The terminal to give to it, as rows and columns; without one it gets pipes.
        terminal: Option<(u16, u16)>,
        /// The terminal's kind.
        term: Option<String>,
    },
    /// Run rdma-core's tests.
    Suite(Selection),
    /// The terminal has another size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// The command's input ends.
    InputEnd {
        /// After that many bytes in all.
        bytes: u64,
    },
    /// Nobody reads this stream any more.
    Close {
        /// Which.
        stream: Stream,
    },
    /// The slot has noticed that the card is gone, or there again.
    Card {
        /// Whether it's there.
        present: bool,
    },
    /// Tell what the command started to end: SIGTERM. A shell isn't told, unless a command has taken its place.
    Terminate,
}

impl Order {
    /// The line to send.
    pub fn line(&self) -> Vec<u8> {
        // Numbers and strings only: this can't fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// One of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "standard output",
            Self::Err => "standard error",
        })
    }
}

/// What the agent tells.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The guest has come this far in its start.
    Stage(String),
    /// The guest waits for orders. The kernel's release.
    Ready(String),
    /// It hears. Seconds since it was booted.
    Pong(f64),
    /// It's alive. Seconds since it was booted.
    Beat(f64),
    /// The order `devices` is carried out. The RDMA devices that there are.
    Devices(Vec<Device>),
    /// The order `start` is carried out.
    Started(Started),
    /// A test has begun or ended.
    Test(Test),
    /// The command has ended. Any further fields of the line are in [`Exit`].
    #[serde(skip)]
    Exit(Exit),
}

/// What the guest found after its start.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Started {
    /// The functions as RDMA devices.
    pub devices: Vec<Device>,
    /// Whether this program is in the guest's PATH.
    pub program: bool,
    /// The last lines of the kernel's log, if a device isn't as it should be.
    pub messages: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// An RDMA device in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name: `mlx5_0`.
    pub name: String,
    /// Its port's state, as sysfs has it: `4: ACTIVE`.
    pub state: String,
    /// Its port's type, as sysfs has it: `InfiniBand` or `Ethernet`.
    pub link_layer: String,
    /// Its node's GUID, as sysfs has it: `0002:c903:00aa:bbcc`.
    pub node_guid: String,
    /// The network interface of the same function, if there's one.
    pub interface: Option<String>,
    /// Whether it can be used: its InfiniBand port is active, or there's a network interface that can be set up.
    pub usable: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number if a signal ended it.
    #[serde(rename = "exit")]
    pub code: u8,
    /// Bytes on its standard output.
    pub out: u64,
    /// Bytes on its standard error.
    pub err: u64,
}

/// A line that is no notice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest's agent says {line:?}, which is no notice: {reason}")]
pub struct NotANotice {
    /// The line, as far as it is text and fits.
    pub line: String,
    /// What is wrong.
    pub reason: String,
}

impl Notice {
    /// Reads a line.
    ///
    /// # Errors
    /// It isn't a notice.
    pub fn parse(line: &[u8]) -> Result<Self, NotANotice> {
        let exit = line.starts_with(b"{\"exit\"");
        let notice = if exit { serde_json::from_slice(line).map(Self::Exit) } else { serde_json::from_slice(line) };
        notice.map_err(|error| NotANotice {
            line: String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::suite::Verdict;
    use proptest::prelude::*;

    #[test]
    fn orders_are_as_the_agent_reads_them() {
        let start =
            Order::Start { time_s: 1.5, entropy: "00ff".to_owned(), devices: 1, device_s: 15.0, program_s: 0.0 };
        let run = |command, terminal| Order::Run { command, terminal, term: None };
        let cases = [
            (start, r#"{"order":"start","time_s":1.5,"entropy":"00ff","devices":1,"device_s":15.0,"program_s":0.0}"#),
            (Order::Devices { devices: 2, device_s: 0.5 }, r#"{"order":"devices","devices":2,"device_s":0.5}"#),
            (run(Some("a\n'é".to_owned()), None), r#"{"order":"run","command":"a\n'é","terminal":null,"term":null}"#),
            (run(None, Some((24, 80))), r#"{"order":"run","command":null,"terminal":[24,80],"term":null}"#),
            (Order::Suite(Selection::Names(vec!["pd".to_owned()])), r#"{"order":"suite","names":["pd"]}"#),
            (Order::Suite(Selection::Ids(vec!["a.b".to_owned()])), r#"{"order":"suite","ids":["a.b"]}"#),
            (Order::Resize { rows: 1, columns: 2 }, r#"{"order":"resize","rows":1,"columns":2}"#),
            (Order::InputEnd { bytes: 7 }, r#"{"order":"input_end","bytes":7}"#),
            (Order::Close { stream: Stream::Out }, r#"{"order":"close","stream":"out"}"#),
            (Order::Terminate, r#"{"order":"terminate"}"#),
        ];
        for (order, expected) in cases {
            assert_eq!(String::from_utf8(order.line()).unwrap(), format!("{expected}\n"));
        }
    }

    #[test]
    fn notices_are_as_the_agent_writes_them() {
        let device = Device {
            name: "mlx5_0".to_owned(),
            state: "1: DOWN".to_owned(),
            link_layer: "Ethernet".to_owned(),
            node_guid: "0002:c903:00aa:bbcc".to_owned(),
            interface: Some("eth0".to_owned()),
            usable: true,
        };
        let started = Started { devices: vec![device.clone()], program: true, messages: vec![], seconds: 0.5 };
        let test = Test { id: "a.b".to_owned(), result: Verdict::Skipped, seconds: 0.25, reason: "no".to_owned() };
        let cases = [
            (r#"{"stage": "kernel"}"#, Notice::Stage("kernel".to_owned())),
            (r#"{"ready": "7.3.4"}"#, Notice::Ready("7.3.4".to_owned())),
            (r#"{"beat": 12.5}"#, Notice::Beat(12.5)),
            (
                r#"{"started": {"devices": [{"name": "mlx5_0", "state": "1: DOWN", "link_layer": "Ethernet",
                    "node_guid": "0002:c903:00aa:bbcc", "interface": "eth0", "usable": true}],
                    "program": true, "messages": [], "seconds": 0.5}}"#,
                Notice::Started(started),
            ),
            (
                r#"{"devices": [{"name": "mlx5_0", "state": "1: DOWN", "link_layer": "Ethernet",
                    "node_guid": "0002:c903:00aa:bbcc", "interface": "eth0", "usable": true}]}"#,
                Notice::Devices(vec![device]),
            ),
            (r#"{"test": {"id": "a.b", "result": "skipped", "seconds": 0.25, "reason": "no"}}"#, Notice::Test(test)),
            (
                r#"{"exit": 137, "out": 5000000000, "err": 0}"#,
                Notice::Exit(Exit { code: 137, out: 5_000_000_000, err: 0 }),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(Notice::parse(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_notice_says_what_and_why() {
        for line in
            ["", "{", "{}", "[]", "1", r#"{"exit": 256, "out": 0, "err": 0}"#, r#"{"exit": 0}"#, r#"{"other": 1}"#]
        {
            assert!(Notice::parse(line.as_bytes()).is_err(), "{line}");
        }
        let error = Notice::parse(b"{\"beat\": \"x\xff\"}").unwrap_err().to_string();
        assert!(
            error.starts_with("the guest's agent says \"{\\\"beat\\\": \\\"x\u{fffd}\\\"}\", which is no notice: "),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Notice::parse(&line);
        }

        #[test]
        fn any_text_behind_a_true_beginning_is_refused_or_read(text in "\\{\"(exit|test|beat|started)\": ?[\\[{\"0-9]\\PC{0,40}") {
            let _ = Notice::parse(text.as_bytes());
        }
    }
}
