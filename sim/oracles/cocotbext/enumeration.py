"""Writes the vectors of fixtures/enumeration-vectors: topologies, and what cocotbext-pcie's root complex makes of them when it enumerates.

    python3 sim/oracles/cocotbext/enumeration.py

Needs what race.py needs, but no cargo. The topologies are some made by hand and 40 random ones from a fixed seed: the same on every run. Each is built of
cocotbext-pcie's switches and endpoints, enumerated by its root complex, read back register by register, and then read once through each
memory BAR, which must reach its function in cocotbext-pcie's model too.
"""

import json
import os
import pathlib
import random
import subprocess
import sys

from race import HERE, ROOT, install

SEED, RANDOM = 20261128, 40
OUT = ROOT / "fixtures/enumeration-vectors/cocotbext-pcie-0.2.16.jsonl"
# How many bytes the BARs of one topology take of the space below 4 GiB at most, without the gaps.
ROOM = 128 << 20


def bar(index, kind, size):
    return [index, kind, size]


def function(number=0, bars=(), rom=0):
    return {"number": number, "bars": list(bars), "rom": rom}


def device(*functions):
    return {"functions": list(functions)}


def switch(*ports):
    return {"switch": list(ports)}


def by_hand():
    small = device(function(bars=[bar(0, "memory32", 4096)]))
    large = device(function(bars=[bar(0, "prefetchable64", 1 << 33)]))
    kinds = [bar(0, "memory32", 128), bar(1, "prefetchable32", 1 << 12), bar(2, "memory64", 1 << 14), bar(4, "prefetchable64", 1 << 20)]
    yield "nothing", [None]
    yield "one endpoint", [small]
    yield "an endpoint without BARs", [device(function())]
    yield "all kinds of memory BARs", [device(function(bars=kinds, rom=1 << 16))]
    yield "I/O BARs", [switch(device(function(bars=[bar(0, "io", 4), bar(5, "io", 256)])), small, device(function(bars=[bar(1, "io", 16)])))]
    yield "a ROM and nothing else", [device(function(rom=2048))]
    yield "a large BAR behind small ones", [switch(small, large, small, large)]
    yield "eight functions", [device(*(function(n, [bar(0, "prefetchable64", 1 << (12 + n))]) for n in range(8)))]
    yield "functions with gaps", [switch(device(*(function(n, [bar(n % 6, "memory32", 4096)]) for n in (0, 3, 7))))]
    yield "a switch without ports", [switch()]
    yield "ports without a link", [None, switch(None, small, None), small]
    deep = small
    for _ in range(8):
        deep = switch(None, deep)
    yield "eight switches deep", [deep]
    yield "a switch with 32 ports", [switch(*[small, None, large, switch(small)] * 8)]
    yield "31 root ports", [small, large] * 15 + [None]
    yield "two trees of switches", [switch(switch(small, large), switch(large, small)), switch(switch(small), None, large)]


def random_bars(rng, room):
    bars, index = [], 0
    while index < 6:
        kind = rng.choice(["none", "none", "memory32", "prefetchable32", "memory64", "prefetchable64", "prefetchable64", "io"])
        if kind.endswith("64") and index == 5:
            kind = "none"
        size = 1 << rng.choice([rng.randint(7, 14), rng.randint(12, 24)])
        if kind == "io":
            size = 1 << rng.randint(2, 8)
        elif kind == "prefetchable64":
            size = 1 << rng.choice([rng.randint(7, 20), rng.randint(20, 36)])
        elif kind != "none":
            size = min(size, 1 << max(7, room[0].bit_length() - 3))
            room[0] -= size
        if kind != "none":
            bars.append(bar(index, kind, size))
        index += 2 if kind.endswith("64") else 1
    return bars


def random_device(rng, room):
    numbers = [0] + (sorted(rng.sample(range(1, 8), rng.randint(1, 7))) if rng.random() < 0.3 else [])
    return device(*(function(n, random_bars(rng, room), rng.choice([0, 0, 0, 1 << rng.randint(11, 20)])) for n in numbers))


def random_node(rng, depth, room):
    draw = rng.random()
    if draw < 0.15:
        return None
    if draw < 0.45 and depth < 5:
        return switch(*(random_node(rng, depth + 1, room) for _ in range(rng.randint(0, 4))))
    return random_device(rng, room)


def topologies():
    yield from by_hand()
    rng = random.Random(SEED)
    for number in range(RANDOM):
        room = [ROOM]
        yield f"random {number}", [random_node(rng, 0, room) for _ in range(rng.randint(1, 4))]


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    place = target.resolve() / "race"
    place.mkdir(parents=True, exist_ok=True)
    python = install(place)
    work, result = place / "topologies.json", place / "enumerated.jsonl"
    work.write_text(json.dumps([{"name": name, "root": root} for name, root in topologies()]))
    result.unlink(missing_ok=True)
    code = (
        "from cocotb_test.simulator import run; run(simulator='icarus', toplevel='top', module='enumeration_cocotb',"
        f" verilog_sources=[{str(HERE / 'top.v')!r}], python_search=[{str(HERE)!r}], sim_build={str(place / 'build')!r})"
    )
    extra = {"PATH": f"{python.parent}:{os.environ['PATH']}", "WORKLOAD": str(work), "RESULT": str(result), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-c", code], env=os.environ | extra, capture_output=True, text=True)
    lines = result.read_text().splitlines() if result.exists() else []
    if len(lines) != len(list(topologies())):
        sys.exit(f"cocotb's test failed:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
