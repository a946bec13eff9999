"""cocotbext-pcie's side of the enumeration vectors, as a cocotb test for each topology; enumeration.py runs it.

WORKLOAD and RESULT in the environment say what to read and what to write.
"""

import json
import logging
import os

from cocotb.regression import TestFactory
from cocotbext.pcie.core import Device, MemoryEndpoint, RootComplex, Switch

WORK = json.load(open(os.environ["WORKLOAD"]))
TIMEOUT = 20_000  # nanoseconds that a configuration request may take: longer than the way through the deepest tree
KINDS = {  # name: 64-bit, prefetchable, I/O
    "memory32": (False, False, False),
    "prefetchable32": (False, True, False),
    "memory64": (True, False, False),
    "prefetchable64": (True, True, False),
    "io": (False, False, True),
}


def reader(shape):
    """What a read of a BAR gives: number of the endpoint, function and BAR."""

    async def read(_address, length):
        return (bytes(shape) * length)[:length]

    return read


class Tree:
    """A topology of cocotbext-pcie's parts."""

    def __init__(self, root):
        self.root = RootComplex()
        self.endpoints = []
        for node in root:
            self.add(self.root, node)

    def add(self, above, node):
        port = above.make_port()
        if node is None:
            # A port can't be without a link there. A device without functions answers all by Unsupported Request, as a port without a link does.
            port.connect(Device())
            return
        if "switch" in node:
            below = Switch()
            # Downstream ports are numbered from 0, as they are on our side.
            below.min_dev = 0
            port.connect(below)
            for inner in node["switch"]:
                self.add(below, inner)
            return
        below = Device()
        number = len(self.endpoints)
        self.endpoints.append((node, below))
        for shape in node["functions"]:
            function = MemoryEndpoint()
            function.pcie_id = function.pcie_id._replace(function=shape["number"])
            for index, kind, size in shape["bars"]:
                function.bar_ptr = index
                wide, prefetchable, io = KINDS[kind]
                mark = (number, shape["number"], index, 0x5A)
                function.add_region(size, reader(mark), reader(mark), wide, prefetchable, io)
            if shape["rom"]:
                function.expansion_rom_addr_mask = 0xFFFFF800 & ~(shape["rom"] - 1)
            below.add_function(function)
        port.connect(below)


def window(base, limit):
    return [base, limit] if base <= limit else None


async def bridge(found):
    """What a bridge's registers say: bus numbers, and the open windows with their first and last address."""
    buses, io, memory, prefetchable, base, limit, io_upper = await found.config_read_dwords(0x18, 7)
    return {
        "id": str(found.pcie_id),
        "buses": [buses & 0xFF, buses >> 8 & 0xFF, buses >> 16 & 0xFF],
        "memory": window((memory & 0xFFF0) << 16, memory & 0xFFF00000 | 0xFFFFF),
        "prefetchable": window(base << 32 | (prefetchable & 0xFFF0) << 16, limit << 32 | prefetchable & 0xFFF00000 | 0xFFFFF),
        "io": window((io_upper & 0xFFFF) << 16 | (io & 0xF0) << 8, io_upper & 0xFFFF0000 | io & 0xF000 | 0xFFF),
    }


def kind(low):
    if low & 1:
        return "io"
    return ("prefetchable" if low & 8 else "memory") + ("64" if low & 4 else "32")


async def function(found):
    """What an endpoint's registers say, and the sizes that enumeration found: BARs and the expansion ROM."""
    bars, index = [], 0
    while index < 6:
        low = await found.config_read_dword(0x10 + 4 * index)
        if found.bar_size[index]:
            address = low & (0xFFFFFFFC if low & 1 else 0xFFFFFFF0)
            if kind(low).endswith("64"):
                address |= await found.config_read_dword(0x14 + 4 * index) << 32
            bars.append([index, kind(low), found.bar_size[index], address])
        index += 2 if found.bar_size[index] and kind(low).endswith("64") else 1
    rom = await found.config_read_dword(0x30) & 0xFFFFF800
    return {"id": str(found.pcie_id), "bars": bars, "rom": [found.expansion_rom_size, rom] if found.expansion_rom_size else None}


async def look(tree, bus, out):
    for found in bus.devices:
        out.append(await (bridge if found.is_bridge() else function)(found))
        if found.subordinate:
            await look(tree, found.subordinate, out)


def is_read_right(endpoint):
    """Its functions take a BAR of 4 GiB and more, whose low register has no address bits, for one that isn't there, and its upper register for another."""
    return all(size < 1 << 32 for shape in endpoint["functions"] for _, _, size in shape["bars"])


async def read_all(tree):
    """Each memory BAR is read through cocotbext-pcie's own tree: the read must reach that function and BAR."""
    for number, (shape, endpoint) in enumerate(tree.endpoints):
        for inner in endpoint.functions if is_read_right(shape) else []:
            found = tree.root.find_device(inner.pcie_id)
            await found.enable_device()
            for index, region in enumerate(inner.regions):
                if region and not found.bar_raw[index] & 1:
                    data = await found.bar_window[index].read(0, 4, timeout=TIMEOUT)
                    assert data == bytes((number, inner.pcie_id.function, index, 0x5A)), (inner.pcie_id, index, data)


async def run(dut, case):
    logging.getLogger("cocotb.pcie").setLevel(logging.CRITICAL)
    tree = Tree(WORK[case]["root"])
    await tree.root.enumerate(timeout=TIMEOUT)
    found = []
    await look(tree, tree.root.host_bridge.bus, found)
    await read_all(tree)
    with open(os.environ["RESULT"], "a") as out:
        print(json.dumps(WORK[case] | {"found": found}, separators=(",", ":")), file=out)


factory = TestFactory(run)
factory.add_option("case", list(range(len(WORK))))
factory.generate_tests()
