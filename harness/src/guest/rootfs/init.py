#!/usr/bin/python3
"""The guest's first process: makes a system of the read-only root, loads the drivers, then is the agent (agent.py).

It says on the control port how far it has come. If it ends, the kernel panics: that's how a guest that can't start is seen.
"""

import ctypes
import os
import subprocess
import sys

sys.path.insert(0, "/usr/lib/mlx5-twin")
os.environ.update(
    PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME="/root",
    LANG="C.UTF-8",
    USER="root",
    SHELL="/bin/bash",
)

LIBC = ctypes.CDLL(None, use_errno=True)
MS_MOVE = 0x2000

# What the suite's traffic on huge pages needs, in pages of 2 MiB.
HUGE_PAGES = 64

# vhost, vfio and what else a user wants, modprobe can load when it's wanted.
MODULES = ["mlx5_core", "mlx5_ib", "ib_umad", "rdma_ucm"]


def mount(source, target, kind, flags=0, data=None):
    """mount(2); a file system that the kernel has mounted there itself (devtmpfs) is no error."""
    os.makedirs(target, exist_ok=True)
    encoded = [text and text.encode() for text in (source, target, kind, data)]
    if LIBC.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]) != 0:
        number = ctypes.get_errno()
        if number != 16:  # EBUSY
            raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def modprobe(name):
    """Loads a module. That it can't be loaded is told on the console, and found out by what needs it."""
    done = subprocess.run(["modprobe", name], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        print(f"modprobe {name}: {done.stderr.decode(errors='replace').strip()}", flush=True)
    return done.returncode == 0


def make_writable():
    """Lays a memory file system over the root, so that all of it can be written and nothing is kept."""
    mount("run", "/run", "tmpfs", 0, "mode=755")
    if not modprobe("overlay"):
        for folder in ("/tmp", "/root", "/var/tmp", "/usr/local/bin"):
            if os.path.isdir(folder):
                mount("tmpfs", folder, "tmpfs")
        return
    mount("writes", "/run/writes", "tmpfs", 0, "mode=755")
    for folder in ("upper", "work", "root"):
        os.mkdir(f"/run/writes/{folder}")
    root = "/run/writes/root"
    mount("root", root, "overlay", 0, "lowerdir=/,upperdir=/run/writes/upper,workdir=/run/writes/work")
    for folder in ("/dev", "/proc", "/sys"):
        os.makedirs(root + folder, exist_ok=True)
        mount(folder, root + folder, None, MS_MOVE)
    os.chdir(root)
    mount(".", "/", None, MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    mount("run", "/run", "tmpfs", 0, "mode=755")
    mount("tmp", "/tmp", "tmpfs", 0, "mode=1777")


def set_up():
    """Everything up to where the agent can wait for its orders. Tells how far it is by the strings that it yields."""
    mount("dev", "/dev", "devtmpfs")
    mount("proc", "/proc", "proc")
    mount("sys", "/sys", "sysfs")
    yield "kernel"
    make_writable()
    mount("pts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666")
    mount("shm", "/dev/shm", "tmpfs", 0, "mode=1777")
    for link, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        if not os.path.lexists(f"/dev/{link}"):
            os.symlink(target, f"/dev/{link}")
    with open("/proc/sys/vm/nr_hugepages", "w", encoding="ascii") as pages:
        pages.write(str(HUGE_PAGES))
    os.makedirs(os.environ["HOME"], exist_ok=True)
    mount("hugepages", "/dev/hugepages", "hugetlbfs")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    yield "system"
    for name in MODULES:
        modprobe(name)
    yield "drivers"


def main():
    """Never returns."""
    stages = set_up()
    first = next(stages)
    # The agent needs /sys to find its ports.
    import agent  # pylint: disable=import-outside-toplevel

    ports = agent.Ports()
    ports.tell(stage=first)
    for stage in stages:
        ports.tell(stage=stage)
    import suite  # pylint: disable=import-outside-toplevel

    suite.load()
    ports.tell(stage="tests")
    agent.Agent(ports).serve()


main()
