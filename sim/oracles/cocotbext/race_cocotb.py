"""cocotbext-pcie's side of the race, as a cocotb test; race.py runs it.

WORKLOAD, DELIVERED, RESULT and RUNS in the environment say what to read, what to write, and how often to run. The first run is recorded and not
timed, the others are timed and not recorded: by the CPU time of this process, which is Icarus Verilog's with Python in it.
"""

import json
import logging
import os
import time

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import Event
from cocotbext.axi import MemoryRegion
from cocotbext.pcie.core import Device, MemoryEndpoint, RootComplex, Switch
from cocotbext.pcie.core.tlp import TlpType

KINDS = {
    TlpType.MEM_READ: "MRd32",
    TlpType.MEM_READ_64: "MRd64",
    TlpType.MEM_WRITE: "MWr32",
    TlpType.MEM_WRITE_64: "MWr64",
    TlpType.CPL: "Cpl",
    TlpType.CPL_DATA: "CplD",
}


def written(number, length):
    return bytes((number * 31 + k * 7 + 3) & 0xFF for k in range(length))


def prefilled(offset, length):
    return bytes((at * 7 + (at >> 8) * 13 + 1) & 0xFF for at in range(offset, offset + length))


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def line(direction, tlp, base):
    kind = KINDS[tlp.fmt_type]
    out = {
        "direction": direction,
        "class": "CPL" if tlp.is_completion() else "P" if tlp.is_posted() else "NP",
        "kind": kind,
        "requester": int(tlp.requester_id),
        "length": tlp.length,
        "payload": fnv(tlp.get_data()),
    }
    if tlp.is_completion():
        out |= {
            "completer": int(tlp.completer_id),
            "status": int(tlp.status),
            "byte_count": tlp.byte_count,
            "lower_address": tlp.lower_address,
        }
    else:
        out |= {"address": tlp.address - base, "enables": [tlp.first_be, tlp.last_be]}
    return out


class Recorder:
    """What was delivered, while it's on."""

    def __init__(self):
        self.on = False
        self.bar = 0
        self.lines = []

    def note(self, direction, tlp):
        if self.on:
            self.lines.append(line(direction, tlp, self.bar if direction == "down" else 0))


RECORDER = Recorder()


class RecordingRoot(RootComplex):
    async def handle_tlp(self, tlp):
        RECORDER.note("up", tlp)
        await super().handle_tlp(tlp)


class RecordingEndpoint(MemoryEndpoint):
    async def handle_tlp(self, tlp):
        RECORDER.note("down", tlp)
        await super().handle_tlp(tlp)


class Race:
    def __init__(self, work):
        self.work = work
        self.rc = RecordingRoot()
        self.rc.max_payload_size = (work["max_payload"] // 128).bit_length() - 1
        self.rc.max_read_request_size = (work["max_read_request"] // 128).bit_length() - 1
        address, low = self.rc.alloc_region(2 * work["area"])
        assert address == work["low"]
        high = MemoryRegion(2 * work["area"])
        self.rc.mem_address_space.register_region(high, work["high"])
        self.memories = [low, high]
        for memory in self.memories:
            memory[0 : work["area"]] = prefilled(0, work["area"])
        self.function = RecordingEndpoint()
        self.function.add_mem_region(work["bar"])
        self.endpoint = Device(self.function)
        self.endpoint.upstream_port.max_link_speed = work["generation"]
        self.endpoint.upstream_port.max_link_width = work["lanes"]
        switch = Switch()
        switch.upstream_bridge.upstream_port.max_link_speed = work["generation"]
        switch.upstream_bridge.upstream_port.max_link_width = work["lanes"]
        self.rc.make_port().connect(switch)
        switch.make_port().connect(self.endpoint)
        data = [[written(n, r[2]) if r[0] == "write" else b"" for n, r in enumerate(work[who])] for who in ("device", "host")]
        self.device_data, self.host_data = data

    async def enumerate(self):
        await self.rc.enumerate()
        found = self.rc.find_device(self.function.pcie_id)
        await found.enable_device()
        await found.set_master()
        self.window = found.bar_window[0]
        RECORDER.bar = found.bar_addr[0]

    async def read(self, address, length, place):
        data = await self.function.mem_read(address, length)
        await place.get()
        if RECORDER.on:
            base = self.work["low"] if address < self.work["high"] else self.work["high"]
            assert data == prefilled(address - base, length)
        self.open -= 1
        if self.open == 0:
            self.idle.set()

    async def device(self):
        # A read takes a place before it begins, and gives it back when it has ended.
        place = Queue(self.work["open_reads"])
        self.open, self.idle = 1, Event()
        for (what, address, length), data in zip(self.work["device"], self.device_data):
            if what == "write":
                await self.function.mem_write(address, data)
            else:
                await place.put(None)
                self.open += 1
                cocotb.start_soon(self.read(address, length, place))
        self.open -= 1
        if self.open > 0:
            await self.idle.wait()

    async def host(self):
        for (what, offset, length), data in zip(self.work["host"], self.host_data):
            if what == "write":
                await self.window.write(offset, data)
            else:
                await self.window.read(offset, length)

    async def run(self):
        host = cocotb.start_soon(self.host())
        await self.device()
        await host
        # The last writes are still under way.
        await cocotb.triggers.Timer(2, "us")

    def memory(self):
        area = self.work["area"]
        low, high = (fnv(memory[area : 2 * area]) for memory in self.memories)
        return {"low": low, "high": high, "bar": fnv(self.function.regions[0][0 : self.work["bar"]])}


@cocotb.test()
async def race(_dut):
    # Its log of each TLP costs time: off, as far as it lets itself be.
    logging.disable(logging.WARNING)
    try:
        await the_race()
    finally:
        logging.disable(logging.NOTSET)


async def the_race():
    with open(os.environ["WORKLOAD"]) as file:
        race = Race(json.load(file))
    await race.enumerate()

    RECORDER.on = True
    await race.run()
    RECORDER.on = False
    with open(os.environ["DELIVERED"], "w") as file:
        for entry in [*RECORDER.lines, race.memory()]:
            print(json.dumps(entry), file=file)

    runs = int(os.environ["RUNS"])
    start = time.process_time()
    for _ in range(runs):
        await race.run()
    seconds = time.process_time() - start
    with open(os.environ["RESULT"], "w") as file:
        json.dump({"runs": runs, "tlps": len(RECORDER.lines), "seconds": seconds}, file)
