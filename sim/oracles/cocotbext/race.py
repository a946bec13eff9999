"""The same workload on our fabric and on cocotbext-pcie: are the same TLPs delivered in the same order per class, and how long does it take?

    python3 sim/oracles/cocotbext/race.py [--rounds N] [--our-runs N] [--their-runs N] [--workload FILE]

Needs a network (a virtual environment under the target directory gets cocotbext-pcie 0.2.16), cargo, and Icarus Verilog (`apt-get install iverilog`).
Nothing is timed unless both delivered the same. README.md says what is compared and what each side doesn't model.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PACKAGES = [
    "cocotb==1.9.2",
    "cocotb-bus==0.2.1",
    "cocotb-test==0.2.6",
    "cocotbext-axi==0.1.26",
    "cocotbext-pcie==0.2.16",
    "pytest==8.3.4",
]


def install(place):
    """Python of a virtual environment with the packages; made if it isn't there."""
    python, mark = place / "venv/bin/python", place / "venv/installed.txt"
    if not mark.exists() or mark.read_text().split() != PACKAGES:
        venv.create(place / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        mark.write_text("\n".join(PACKAGES))
    return python


def ours(binary, workload, place, runs, exact):
    name = "exact" if exact else "rated"
    command = [binary, workload, place / f"{name}.jsonl", str(runs), *(["exact"] if exact else [])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def theirs(python, workload, place, runs):
    result = place / "result.json"
    result.unlink(missing_ok=True)
    code = (
        "from cocotb_test.simulator import run; run(simulator='icarus', toplevel='top', module='race_cocotb',"
        f" verilog_sources=[{str(HERE / 'top.v')!r}], python_search=[{str(HERE)!r}], sim_build={str(place / 'build')!r})"
    )
    path = f"{python.parent}:{os.environ['PATH']}"
    extra = {"PATH": path, "WORKLOAD": workload, "DELIVERED": place / "cocotbext.jsonl", "RESULT": result, "RUNS": runs}
    env = os.environ | {name: str(value) for name, value in extra.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-c", code], env=env, capture_output=True, text=True)
    if not result.exists():
        sys.exit(f"cocotb's test failed:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")
    return json.loads(result.read_text())


def delivered(file):
    """What was delivered, by direction and class, in order; what memory holds at the end."""
    streams, lines = {}, [json.loads(line) for line in file.read_text().splitlines()]
    for entry in lines[:-1]:
        streams.setdefault((entry.pop("direction"), entry.pop("class")), []).append(entry)
    return streams, lines[-1]


def compare(place, name):
    """Stops at the first difference."""
    (streams, memory), (others, other_memory) = delivered(place / f"{name}.jsonl"), delivered(place / "cocotbext.jsonl")
    for key in sorted({*streams, *others}):
        mine, other = streams.get(key, []), others.get(key, [])
        for number, (a, b) in enumerate(zip(mine, other)):
            if a != b:
                sys.exit(f"{name}, {key}, TLP {number}:\n  ours   {a}\n  theirs {b}")
        if len(mine) != len(other):
            sys.exit(f"{name}, {key}: {len(mine)} TLPs here, {len(other)} there")
        if name == "rated":
            print(f"  {key[0]:5}{key[1]:4}{len(mine):6} TLPs")
    if memory != other_memory:
        sys.exit(f"{name}: memory at the end: {memory} here, {other_memory} there")


def fnv(text):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def sums(place):
    """What cocotbext-pcie delivered, as a count and a hash for each direction and class: for a test of ours that needs no Python."""
    streams, memory = delivered(place / "cocotbext.jsonl")
    names = ["kind", "requester", "length", "address", "enables", "completer", "status", "byte_count", "lower_address", "payload"]

    def text(entry):
        values = (entry.get(name, ["-", "-"] if name == "enables" else "-") for name in names)
        return " ".join(" ".join(map(str, v)) if isinstance(v, list) else str(v) for v in values) + "\n"

    totals = {" ".join(key): [len(streams[key]), fnv("".join(map(text, streams[key])))] for key in sorted(streams)}
    return json.dumps({"streams": totals, "memory": memory}, indent=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--our-runs", type=int, default=500)
    parser.add_argument("--their-runs", type=int, default=3)
    parser.add_argument("--workload", type=pathlib.Path, default=HERE / "workload.json")
    parser.add_argument("--sums", type=pathlib.Path, help="write here what cocotbext-pcie delivered, as hashes")
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    place, workload = target.resolve() / "race", args.workload.resolve()
    place.mkdir(parents=True, exist_ok=True)
    python = install(place)
    build = ["cargo", "build", "--quiet", "--release", "-p", "mlx5-twin-sim", "--example", "race"]
    subprocess.run(build, cwd=ROOT, check=True)
    binary = target.resolve() / "release/examples/race"

    for exact in (False, True):
        ours(binary, workload, place, 0, exact)
    theirs(python, workload, place, 0)
    print("The same on both sides, in the same order:")
    for name in ("rated", "exact"):
        compare(place, name)

    if args.sums:
        args.sums.write_text(sums(place) + "\n")
    print("TLPs per second of CPU time:")
    print(f"  {'':7}{'rated links':>13}{'exact links':>13}{'cocotbext-pcie':>16}{'ratio, rated':>14}{'ratio, exact':>14}")
    for number in range(args.rounds):
        results = [ours(binary, workload, place, args.our_runs, exact) for exact in (False, True)]
        results.append(theirs(python, workload, place, args.their_runs))
        rated, exact, other = (r["tlps"] * r["runs"] / r["seconds"] for r in results)
        ratios = f"{rated / other:14,.0f}{exact / other:14,.0f}"
        print(f"  round {number + 1}{rated:12,.0f}{exact:13,.0f}{other:16,.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
