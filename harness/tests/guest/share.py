"""A context that mlx5-twin and rdma-core share: each gives what the other one takes.

Usage: share.py give|take SOCKET. Prints one line of what it saw.
"""

import ctypes
import json
import mmap
import os
import socket
import struct
import sys

from pyverbs.device import Context
from pyverbs.providers.mlx5.mlx5_enums import MLX5DV_VAR_ALLOC_FLAG_TLP_, mlx5dv_context_attr_flags
from pyverbs.providers.mlx5.mlx5dv import Mlx5Context, Mlx5DevxObj, Mlx5DVContextAttr, Mlx5UMEM, Mlx5VAR

# rdma-core's exports (struct mlx5dv_var_attrs, mlx5dv_devx_umem_attrs, mlx5dv_devx_obj_attrs of providers/mlx5/mlx5.h).
VAR, UMEM, OBJECT = "@IIIq", "@II", "@IIIQB7x"
ALLOC_FLOW_COUNTER, QUERY_FLOW_COUNTER = 0x939, 0x93B
LOCAL_WRITE = 1


def query(counter, number):
    """Reads a flow counter: its status."""
    command = struct.pack(">HHHH4xIIIII", QUERY_FLOW_COUNTER, 0, 0, 0, 0, 0, 0, 0, number)
    return "ok" if counter.query(command[:32], 32)[0] == 0 else "refused"


def give(path):
    """Gives a page, memory and a flow counter; prints what the other one says."""
    attr = Mlx5DVContextAttr(flags=mlx5dv_context_attr_flags.MLX5DV_CONTEXT_FLAGS_DEVX)
    context = Mlx5Context(attr, "mlx5_0")
    var = Mlx5VAR(context, flags=MLX5DV_VAR_ALLOC_FLAG_TLP_)
    file = os.memfd_create("umem")
    os.ftruncate(file, 4096)
    memory = mmap.mmap(file, 4096)
    memory[:4] = b"twin"
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    umem = Mlx5UMEM(context, 4096, addr=address, access=LOCAL_WRITE)
    command = struct.pack(">HHHHQ", ALLOC_FLOW_COUNTER, 0, 0, 0, 0)
    counter = Mlx5DevxObj(context, command, 16)
    number = struct.unpack(">I", bytes(counter.out_view)[8:12])[0]
    names = ("handle", "page_id", "length", "mmap_offset")
    shared = {
        "vars": [dict(zip(names, struct.unpack(VAR, var.export()[: struct.calcsize(VAR)])))],
        "umems": [dict(zip(("handle", "umem_id"), struct.unpack(UMEM, umem.export()[: struct.calcsize(UMEM)])))],
        "objects": [{"handle": struct.unpack_from("@I", counter.export())[0], "object_id": number}],
    }
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    there, _ = listener.accept()
    socket.send_fds(there, [json.dumps(shared).encode()], [context.cmd_fd, file])
    said = there.makefile().read().strip()
    print(f"pyverbs gave page {shared['vars'][0]['page_id']}; the other says: {said}; counter {query(counter, number)}")


def take(path):
    """Takes what is given, and says what it was."""
    there = socket.socket(socket.AF_UNIX)
    there.connect(path)
    text, files, _, _ = socket.recv_fds(there, 1 << 16, 8)
    shared = json.loads(text)
    context = Context(cmd_fd=files[0])
    told = []
    for var in shared["vars"]:
        taken = Mlx5VAR.import_var(context, struct.pack(VAR, *(var[name] for name in ("handle", "page_id", "length", "mmap_offset"))))
        mapped = mmap.mmap(fileno=context.cmd_fd, length=taken.length, offset=taken.mmap_off)
        told.append(f"page {taken.page_id} of {len(mapped):#x} bytes")
        mapped.close()
        taken.close()
    for memory, file in zip(shared["umems"], files[1:]):
        taken = Mlx5UMEM.import_umem(context, struct.pack(UMEM, memory["handle"], memory["umem_id"]))
        told.append(f"umem {taken.umem_id}, memory {mmap.mmap(file, 4096)[:4].decode()}")
        taken.close()
    for one in shared["objects"]:
        taken = Mlx5DevxObj.import_obj(context, struct.pack(OBJECT, one["handle"], 0, one["object_id"], 0, 0))
        told.append(f"counter {query(taken, one['object_id'])}")
        taken.close()
    there.sendall("; ".join(told).encode())
    there.close()


{"give": give, "take": take}[sys.argv[1]](sys.argv[2])
