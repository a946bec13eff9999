"""rdma-core's tests: loaded once, when the guest starts, and run in a process forked from there."""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
import traceback
import unittest

FOLDER = "/usr/share/rdma-core/tests"
DEVICE = "mlx5_0"
# A reason or a traceback longer than this is cut.
LONGEST_REASON = 8 << 10
# How long a port may take to become active, in seconds.
PORT_TIME = 5

TESTS = None
ERROR = None


def load():
    """Imports the tests and all that they need: seconds of work on an emulated CPU, and so done before the snapshot."""
    global TESTS, ERROR  # pylint: disable=global-statement
    try:
        sys.path.insert(0, FOLDER)
        spec = importlib.util.spec_from_file_location("tests", f"{FOLDER}/__init__.py", submodule_search_locations=[FOLDER])
        module = importlib.util.module_from_spec(spec)
        sys.modules["tests"] = module
        spec.loader.exec_module(module)
        # Some tests import this themselves, which needs scapy and takes 5 s. Without scapy they skip, each by itself.
        with contextlib.suppress(Exception):
            importlib.import_module("tests.mlx5_prm_structs")
        TESTS = module
    except BaseException:  # pylint: disable=broad-except
        ERROR = traceback.format_exc()


class Result(unittest.TestResult):
    """Sends one JSON object a line for each test that begins and each that has ended."""

    def __init__(self, report):
        super().__init__()
        self.report = report
        self.begin = time.monotonic()
        self.worst = None

    def send(self, **fields):
        os.write(self.report, json.dumps(fields).encode() + b"\n")

    def startTest(self, test):
        super().startTest(test)
        self.begin = time.monotonic()
        self.worst = None
        self.send(id=test.id(), result="begun")

    def stopTest(self, test):
        super().stopTest(test)
        self.end(test)

    def note(self, result, reason=""):
        """A test can fail several times: in subtests, and when it's torn down. The first counts, a failure before a skip."""
        if self.worst is None or (self.worst[0] in ("passed", "skipped") and result not in ("passed", "skipped")):
            self.worst = (result, reason)

    def end(self, test):
        result, reason = self.worst or ("passed", "")
        seconds = round(time.monotonic() - self.begin, 3)
        self.send(id=test.id(), result=result, seconds=seconds, reason=reason[-LONGEST_REASON:])

    def outside(self, test, result, reason):
        """What happened in no test: in a class's or module's set-up."""
        self.note(result, reason)
        if not hasattr(test, "_testMethodName"):
            self.begin = time.monotonic()
            self.end(test)
            self.worst = None

    def addSuccess(self, test):
        self.note("passed")

    def addSkip(self, test, reason):
        self.outside(test, "skipped", reason)

    def addFailure(self, test, err):
        self.outside(test, "failed", self.text(err, test))

    def addError(self, test, err):
        self.outside(test, "error", self.text(err, test))

    def addExpectedFailure(self, test, err):
        self.note("passed", "failed, as expected")

    def addUnexpectedSuccess(self, test):
        self.note("failed", "succeeded, which was not expected")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self.note("failed" if failed else "error", f"{subtest}: {self.text(err, test)}")

    def text(self, err, test):
        return self._exc_info_to_string(err, test)


def bring_up():
    """An Ethernet port is active once its network interface is up."""
    for device in pathlib.Path("/sys/class/infiniband").iterdir():
        port = device / "ports/1"
        if (port / "link_layer").read_text().strip() != "Ethernet":
            continue
        for interface in (device / "device/net").iterdir():
            subprocess.run(["ip", "link", "set", interface.name, "up"], check=True)
        end = time.monotonic() + PORT_TIME
        while not (port / "state").read_text().startswith("4:") and time.monotonic() < end:
            time.sleep(0.02)


def run(names, ids, report):
    """Runs the tests with just these `ids`, or those whose id contains one of `names`, or all. Returns 0, or 1 if one failed."""
    if TESTS is None:
        sys.stderr.write(ERROR or "the tests were not loaded\n")
        return 1
    bring_up()
    from args_parser import parser  # pylint: disable=import-outside-toplevel

    sys.argv = ["run_tests.py", "-v", "--dev", DEVICE]
    parser.parse_args()
    # The tests share what they have opened with their child processes, which only a fork can do. Python forked by itself up to 3.13.
    multiprocessing.set_start_method("fork", force=True)
    loader = unittest.TestLoader()
    if ids:
        loader.testNamePatterns = ids
    elif names:
        loader.testNamePatterns = [name if "*" in name else f"*{name}*" for name in names]
    result = Result(report)
    loader.loadTestsFromModule(TESTS).run(result)
    return 0 if result.wasSuccessful() else 1
