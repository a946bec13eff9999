"""Writes workload.json: what an endpoint and a host ask of each other, for our fabric and for cocotbext-pcie.

    python3 make_workload.py [--seed N] [--device N] [--host N] > workload.json

The committed file is that of the default values. README.md says what the fields mean.
"""

import argparse
import json
import random

LOW, HIGH = 0, 0x1_0000_0000  # where host memory is used: below and above 4 GiB
AREA = 1 << 19  # bytes that are read, and as many behind them that are written
BAR = 1 << 16
MAX_PAYLOAD, MAX_READ_REQUEST, LINE = 256, 512, 64


def inside(rng, block, area):
    """A range that lies within an aligned block of the area: half of them whole dwords, half any bytes."""
    length = rng.choice([4, 8, 16, 32, 64, block // 2, block, rng.randint(1, block)])
    length = min(length, block)
    offset = rng.randint(0, block - length)
    if rng.random() < 0.5:
        offset, length = offset & ~3, max(4, length & ~3)
    return rng.randrange(area // block) * block + offset, length


def device(rng):
    base = rng.choice([LOW, HIGH])
    if rng.random() < 0.5:
        offset, length = inside(rng, MAX_PAYLOAD, AREA)
        return ["write", base + AREA + offset, length]
    offset, length = inside(rng, MAX_READ_REQUEST, AREA)
    return ["read", base + offset, length]


def host(rng):
    offset, length = inside(rng, LINE, BAR)
    return [rng.choice(["write", "read"]), offset, length]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", type=int, default=1600)
    parser.add_argument("--host", type=int, default=400)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    head = {
        "seed": args.seed,
        "low": LOW,
        "high": HIGH,
        "area": AREA,
        "bar": BAR,
        "max_payload": MAX_PAYLOAD,
        "max_read_request": MAX_READ_REQUEST,
        "open_reads": 16,
        "generation": 3,
        "lanes": 8,
    }
    print("{")
    for name, value in head.items():
        print(f"{json.dumps(name)}: {value},")
    for name, make, count in [("device", device, args.device), ("host", host, args.host)]:
        lines = [json.dumps(make(rng)) for _ in range(count)]
        print(f"{json.dumps(name)}: [\n" + ",\n".join(lines) + "\n]" + ("," if name == "device" else ""))
    print("}")


if __name__ == "__main__":
    main()
