"""The agent: runs in the guest what the other side orders, one command in all.

Four ports (virtio-serial) lead outside: `control` with one JSON object a line in each direction, `in`, `out` and `err` with the
command's bytes and nothing else. How many bytes belong to a command is told on `control`, so that a port needs no end.

Orders (control.rs has the same list): ping, devices, start, run, suite, resize, input_end, close, terminate, card.
Notices: stage, ready, pong, beat, devices, started, test, exit.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
import traceback

import card
import suite

# A port's driver takes at most this much at once.
CHUNK = 32 << 10
# An order's line; the other side checks what it sends.
LONGEST_ORDER = 1 << 20
BEAT_SECONDS = 1.0
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207
PROGRAM = "/usr/local/bin/mlx5-twin"


def write_all(file, data):
    """Writes all of `data` to a descriptor that may be non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(file, view[:CHUNK]) :]
        except BlockingIOError:
            select.select([], [file], [])


def read_some(file):
    """What is there to be read: None if nothing is now, empty at the end."""
    try:
        return os.read(file, CHUNK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        # EIO: a terminal whose other side was closed.
        return b""


class Ports:
    """The ways outside."""

    def __init__(self):
        root = "/sys/class/virtio-ports"
        names = {}
        for entry in os.listdir(root):
            with open(f"{root}/{entry}/name", encoding="ascii") as file:
                names[file.read().strip()] = f"/dev/{entry}"
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        self.control, self.input, self.out, self.err = (
            os.open(names[name], flags) for name in ("control", "in", "out", "err")
        )
        self.rest = b""

    def tell(self, **notice):
        """Sends a notice. Waits until it's gone."""
        write_all(self.control, json.dumps(notice).encode() + b"\n")

    def orders(self):
        """The orders that are complete."""
        found = []
        while data := read_some(self.control):
            self.rest += data
            *lines, self.rest = self.rest.split(b"\n")
            found += [json.loads(line) for line in lines]
        if len(self.rest) > LONGEST_ORDER:
            self.rest = b""
        return found


class Pump:
    """Bytes on their way from one descriptor to another."""

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.waiting = b""
        self.moved = 0
        # The command's side was closed, by itself or by order: what comes is dropped.
        self.dropping = False

    def wants(self):
        """Which descriptor it waits for, and for what."""
        if self.waiting:
            return (self.sink, select.POLLOUT)
        if self.source is not None:
            return (self.source, select.POLLIN)
        return None

    def step(self):
        """Moves what can be moved now. True if something was."""
        if not self.waiting and self.source is not None:
            data = read_some(self.source)
            if data is None:
                return False
            if not data:
                self.source = None
                return False
            self.waiting = data
        if not self.waiting:
            return False
        if self.dropping:
            self.moved += len(self.waiting)
            self.waiting = b""
            return True
        try:
            count = os.write(self.sink, self.waiting)
        except BlockingIOError:
            return False
        except OSError:
            self.dropping = True
            return True
        self.moved += count
        self.waiting = self.waiting[count:]
        return True


class Command:
    """What was ordered to run: another process, with its bytes on their way."""

    def __init__(self, ports, body, terminal=None, report=False):
        """`body()` runs in the new process. With `terminal` (rows, columns) it has a terminal, else three pipes."""
        self.status = None
        self.end_of_input = None
        self.terminal = None
        self.report = None
        theirs_report = None
        if report:
            self.report, theirs_report = os.pipe()
            os.set_blocking(self.report, False)
        self.report_rest = b""
        if terminal:
            self.terminal, theirs = os.openpty()
            self.resize(*terminal)
            stdin = stdout = self.terminal
            child = [theirs] * 3
        else:
            (stdin_theirs, stdin), (stdout, stdout_theirs), (stderr, stderr_theirs) = os.pipe(), os.pipe(), os.pipe()
            child = [stdin_theirs, stdout_theirs, stderr_theirs]
        self.process = os.fork()
        if self.process == 0:
            become(body, child, bool(terminal), theirs_report)
        for file in {*child, theirs_report} - {None}:
            os.close(file)
        self.input = Pump(ports.input, stdin)
        self.outputs = [Pump(stdout, ports.out)]
        if not terminal:
            self.outputs.append(Pump(stderr, ports.err))
        for file in {stdin, *(pump.source for pump in self.outputs)}:
            os.set_blocking(file, False)

    def resize(self, rows, columns):
        """Gives the terminal another size; the kernel tells the programs on it."""
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def terminate(self):
        """Tells all that it started to end, unless they made a session of their own. A shell isn't told: it goes on with the next command of its script, as one that
        is between two commands does. A command that has taken the shell's place is told itself."""
        others = [process for process in map(int, filter(str.isdigit, os.listdir("/proc"))) if process != self.process]
        started = [process for process in others if session(process) == self.process]
        for process in started or ([] if is_shell(self.process) else [self.process]):
            try:
                os.kill(process, signal.SIGTERM)
            except ProcessLookupError:
                pass

    def close(self, stream):
        """Nobody reads `out` or `err` any more: the command gets SIGPIPE when it writes there, as on any closed pipe."""
        index = {"out": 0, "err": 1}[stream]
        if index < len(self.outputs) and self.outputs[index].source is not None:
            pump = self.outputs[index]
            if self.terminal is None:
                os.close(pump.source)
                pump.source = None
            pump.dropping = True

    def pumps(self):
        """All that still can move something."""
        return [self.input, *self.outputs]

    def step(self):
        """Moves what can be moved. True if something was."""
        moved = False
        for pump in self.pumps():
            while pump.step():
                moved = True
        if self.end_of_input is not None and self.input.moved >= self.end_of_input and self.input.sink is not None:
            self.end_of_input = None
            if self.terminal is None:
                os.close(self.input.sink)
                self.input.sink = None
                self.input.dropping = True
        return moved

    def reports(self):
        """The complete lines of the report, as objects."""
        while data := read_some(self.report):
            self.report_rest += data
        *lines, self.report_rest = self.report_rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def done(self):
        """Whether it has ended, and all that it wrote is outside. What its own background processes write later is lost."""
        return self.status is not None and not self.step() and not any(pump.waiting for pump in self.outputs)


def session(process):
    """The session that a process is in, None if it has gone."""
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def is_shell(process):
    """Whether a process is a shell, and not a command that has taken its place."""
    try:
        return os.path.basename(os.readlink(f"/proc/{process}/exe")) == "bash"
    except OSError:
        return False


def become(body, child, terminal, report):
    """The rest of a new process: `child` are its standard input, output and error."""
    try:
        os.setsid()
        if terminal:
            fcntl.ioctl(child[0], termios.TIOCSCTTY, 0)
        for number, file in enumerate(child):
            os.dup2(file, number)
        os.set_inheritable(0, True)
        for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(os.environ["HOME"])
        code = body(report)
    except FileNotFoundError as error:
        os.write(2, f"{error.filename}: {error.strerror}\n".encode())
        code = 127
    except BaseException:  # pylint: disable=broad-except
        os.write(2, traceback.format_exc().encode())
        code = 126
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # pylint: disable=lost-exception


def shell(command):
    """The process that a command, or without one an interactive shell, is run in."""

    def body(_):
        arguments = ["-c", command] if command is not None else ["-l"] if os.isatty(0) else []
        os.execv("/bin/bash", ["bash", *arguments])

    return body


class Agent:
    """Waits for orders and does what they say. Never ends: the other side ends the machine."""

    def __init__(self, ports):
        self.ports = ports
        self.command = None
        self.next_beat = 0.0
        self.slot = card.Slot()

    def serve(self):
        """The loop."""
        wake_read, wake_write = os.pipe()
        for file in (wake_read, wake_write):
            os.set_blocking(file, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.ports.tell(ready=os.uname().release)
        while True:
            self.beat()
            for order in self.ports.orders():
                self.obey(order)
            self.reap()
            busy = self.progress()
            poll = select.poll()
            poll.register(wake_read, select.POLLIN)
            poll.register(self.ports.control, select.POLLIN)
            if self.command:
                wanted = {}
                for pump in self.command.pumps():
                    if want := pump.wants():
                        wanted[want[0]] = wanted.get(want[0], 0) | want[1]
                if self.command.report is not None:
                    wanted[self.command.report] = select.POLLIN
                for file, events in wanted.items():
                    poll.register(file, events)
            poll.poll(0 if busy else max(1, int(1000 * (self.next_beat - time.monotonic()))))
            read_some(wake_read)

    def beat(self):
        """Tells that it's alive."""
        now = time.monotonic()
        if now >= self.next_beat:
            self.next_beat = now + BEAT_SECONDS
            self.ports.tell(beat=round(now, 3))

    def reap(self):
        """Takes in processes that have ended: as the first process, those that nobody else waits for too."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            if self.command and process == self.command.process:
                self.command.status = status

    def progress(self):
        """Moves the command's bytes. True if there's more to do at once."""
        command = self.command
        if not command:
            return False
        moved = command.step()
        if command.report is not None:
            for test in command.reports():
                self.ports.tell(test=test)
            # Its end of file would wake the loop for ever.
            if command.status is not None:
                os.close(command.report)
                command.report = None
        if command.done():
            code = os.waitstatus_to_exitcode(command.status)
            counts = [pump.moved for pump in command.outputs] + [0]
            self.command = None
            self.ports.tell(exit=code if code >= 0 else 128 - code, out=counts[0], err=counts[1])
        return moved

    def obey(self, order):
        """Carries out one order."""
        match order.pop("order"):
            case "ping":
                self.ports.tell(pong=time.monotonic())
            case "devices":
                devices = self.devices(order["devices"], time.monotonic() + order["device_s"])
                self.ports.tell(devices=devices)
            case "start":
                self.start(**order)
            case "run":
                if order.get("terminal"):
                    os.environ["TERM"] = order.get("term") or "linux"
                self.command = Command(self.ports, shell(order.get("command")), order.get("terminal"))
            case "suite":
                names, ids = order.get("names"), order.get("ids")
                self.command = Command(self.ports, lambda report: suite.run(names, ids, report), report=True)
            case "resize" if self.command:
                self.command.resize(order["rows"], order["columns"])
            case "input_end" if self.command:
                self.command.end_of_input = order["bytes"]
            case "close" if self.command:
                self.command.close(order["stream"])
            case "card":
                self.slot.tell(order["present"])
            case "terminate" if self.command:
                self.command.terminate()

    def start(self, time_s, entropy, devices, device_s, program_s):
        """What only can be done now, after a restore: time, entropy, the functions, the program's disk.

        `devices` is how many functions there are. `device_s` and `program_s` are how long to wait for them and for the disk, in
        seconds; 0: they don't come.
        """
        begin = time.monotonic()
        time.clock_settime(time.CLOCK_REALTIME, time_s)
        socket.sethostname("twin")
        seed = bytes.fromhex(entropy)
        with open("/dev/urandom", "wb", buffering=0) as pool:
            # The kernel's generator goes on as it was in the snapshot, until it's told.
            fcntl.ioctl(pool, RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
            fcntl.ioctl(pool, RNDRESEEDCRNG)
        found = self.devices(devices, begin + device_s)
        program = self.wait(begin + program_s, program_disk, bool)
        if program:
            copy_program(program)
        messages = [] if all_usable(found, devices) else kernel_messages()
        seconds = round(time.monotonic() - begin, 3)
        self.ports.tell(started={"devices": found, "program": bool(program), "messages": messages, "seconds": seconds})

    def devices(self, count, until):
        """All RDMA devices, as soon as so many are usable or it's too late."""
        return self.wait(until, rdma_devices, lambda found: all_usable(found, count)) or []

    def wait(self, until, look, enough):
        """Looks again and again until it's enough or too late, and goes on telling that it's alive."""
        found = None
        while time.monotonic() < until:
            found = look()
            if found and enough(found):
                break
            time.sleep(0.02)
            self.beat()
        return found


def first_line(path):
    """The first line of a file of sysfs; empty if it can't be read."""
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().strip()
    except OSError:
        return ""


def rdma_devices():
    """All RDMA devices that there's a file to open by.

    An InfiniBand device is usable when its port is active; an Ethernet device when it has a network interface, whose port is down
    until somebody sets that up.
    """
    root, verbs = "/sys/class/infiniband", "/sys/class/infiniband_verbs"
    names = {first_line(f"{verbs}/{file}/ibdev") for file in listed(verbs) if os.path.exists(f"/dev/infiniband/{file}")}
    devices = []
    for name in sorted(names.intersection(listed(root))):
        state = first_line(f"{root}/{name}/ports/1/state")
        layer = first_line(f"{root}/{name}/ports/1/link_layer")
        interface = next(iter(listed(f"{root}/{name}/device/net")), None)
        usable = interface is not None if layer == "Ethernet" else state.startswith("4:")
        guid = first_line(f"{root}/{name}/node_guid")
        device = {"name": name, "state": state, "link_layer": layer, "node_guid": guid}
        devices.append(device | {"interface": interface, "usable": usable})
    return devices


def listed(folder):
    """The names in a folder; none if it isn't there."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def all_usable(devices, count):
    """Whether there are so many devices that can be used."""
    return sum(device["usable"] for device in devices) >= count


def program_disk():
    """The disk that is the program."""
    root = "/sys/block"
    for name in os.listdir(root):
        try:
            with open(f"{root}/{name}/device/serial", encoding="ascii") as serial:
                if serial.read().strip() == "program" and os.path.exists(f"/dev/{name}"):
                    return f"/dev/{name}"
        except OSError:
            pass
    return None


def copy_program(disk):
    """The disk's bytes are those of the program, with zeroes behind them that nobody reads."""
    os.makedirs(os.path.dirname(PROGRAM), exist_ok=True)
    with open(disk, "rb", buffering=0) as source, open(PROGRAM, "wb", buffering=0) as sink:
        while data := source.read(1 << 20):
            sink.write(data)
        os.fchmod(sink.fileno(), 0o755)


def kernel_messages():
    """The last lines of the kernel's log."""
    lines = []
    file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    while True:
        try:
            record = os.read(file, 8192)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno == errno.EPIPE:  # overwritten while it was read
                continue
            break
        lines.append(record.decode(errors="replace").partition(";")[2].partition("\n")[0])
    os.close(file)
    return lines[-20:]
