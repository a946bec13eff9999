//! The shell on a terminal: the terminal is the guest's as long as the shell runs, and as it was afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::rig::Guest;

/// How long a shell may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell on a terminal whose user is the test.
struct Shell {
    child: Child,
    user: File,
    terminal: File,
    before: Termios,
    output: Receiver<Vec<u8>>,
    text: String,
}

impl Shell {
    fn new(guest: &Guest) -> Shell {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal = File::from(open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        let user = File::from(user);
        let inner = guest.command();
        // The terminal becomes that of its session: so that ^C and a new size are signals.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        command.env_remove("RUST_LOG").env("TERM", "xterm");
        let [stdin, stdout, stderr] = [0; 3].map(|_| Stdio::from(terminal.try_clone().unwrap()));
        let before = tcgetattr(&terminal).unwrap();
        let (sender, output) = channel();
        let mut reader = user.try_clone().unwrap();
        let mut shell = Shell {
            child: command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().expect("setsid (util-linux) runs"),
            user,
            terminal,
            before,
            output,
            text: String::new(),
        };
        shell.resize(33, 101);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        shell
    }

    fn resize(&mut self, ws_row: u16, ws_col: u16) {
        tcsetwinsize(&self.terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    fn types(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows this, and forgets what it has shown until then.
    fn shows(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.text.find(text) {
                self.text.drain(..at + text.len());
                return;
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{text:?}: {error}: {:?}", self.text),
            }
        }
    }

    /// Types a command, and waits for what it prints and the next prompt. `printed` must not be what is typed.
    fn does(&mut self, keys: &str, printed: &str) {
        self.types(keys);
        self.shows(printed);
        self.shows("# ");
    }

    /// Its exit code; and the terminal is as it was.
    fn ends(mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        assert_eq!(format!("{:?}", tcgetattr(&self.terminal).unwrap()), format!("{:?}", self.before));
        code
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended; else it ends as its terminal does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_shell_has_job_control_and_the_terminals_size() {
    let Some(guest) = Guest::new() else { return };
    let mut shell = Shell::new(&guest);
    shell.shows("# ");
    shell.does("stty size; echo kind=$TERM\r", "33 101\r\nkind=xterm");
    // The new size comes to the guest as a signal to what runs there.
    shell.types("sh -c 'trap \"stty size; exit\" WINCH; echo wait''ing; while :; do sleep 0.1; done'\r");
    shell.shows("waiting");
    shell.resize(50, 132);
    shell.shows("50 132");
    shell.shows("# ");
    // ^C ends a program, and not the guest.
    shell.types("sh -c 'echo slee''ping; sleep 1000'\r");
    shell.shows("sleeping");
    shell.does("\x03", "^C");
    shell.does("echo code=$?\r", "code=130");
    // ^Z stops one, and it goes on.
    shell.types("sh -c 'echo co''unting; sleep 1000'\r");
    shell.shows("counting");
    shell.does("\x1a", "Stopped");
    shell.does("bg; jobs\r", "Running");
    shell.types("fg\r");
    shell.shows("sh -c");
    shell.does("\x03", "^C");
    // Ctrl-A twice is one for the guest: to the beginning of the line.
    shell.does("ho twice\x01\x01ec\r", "\ntwice");
    shell.types("exit 3\r");
    assert_eq!(shell.ends(), Some(3));
}

#[test]
fn ctrl_a_x_leaves_at_once() {
    let Some(guest) = Guest::new() else { return };
    let mut shell = Shell::new(&guest);
    shell.shows("# ");
    shell.types("sleep 1000\r\x01x");
    assert_eq!(shell.ends(), Some(0));
}

#[test]
fn ctrl_c_ends_a_guest_that_starts() {
    let Some(guest) = Guest::new() else { return };
    let mut shell = Shell::new(&guest);
    shell.shows("the guest");
    shell.types("\x03");
    assert_eq!(shell.ends(), Some(130));
}
