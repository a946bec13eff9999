"""The slot that the function is in, for a card that vanishes and comes back.

In hardware the slot interrupts, and Linux's hot-plug driver removes the device that is gone, or looks for a new one. QEMU's slot can't do that for
this device: QEMU 11 aborts whenever a vfio-user-pci device with MSI-X is taken out, by whatever way (`vfio_user_msix_teardown` of its
hw/vfio-user/pci.c wants to take the pending bits' region out of a BAR that has let go of it by then: 'memory_region_del_subregion: Assertion
`subregion->container == mr' failed'). So QEMU keeps its device, and what the hot-plug driver would do is said to Linux's PCI core here. The device
behind it is gone all the same, and is gone before anybody is told. What differs from hardware: the kernel doesn't mark the device as disconnected
before it removes it, so that the driver finds that out by itself.
"""

import glob
import os
import queue
import threading

VENDOR = "0x15b3"


def write(path):
    """Has the kernel do what a file stands for. It may take long."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("1")
    except OSError:
        # Somebody else has removed it.
        pass


def functions():
    """The functions that Linux has of our cards, in the order of their slots: what it once read, for a card that's gone says nothing."""
    for path in sorted(glob.glob("/sys/bus/pci/devices/*/vendor")):
        with open(path, encoding="ascii") as file:
            if file.read().strip() == VENDOR:
                yield os.path.dirname(path)


class Slot:
    """Does one thing after the other, beside the agent."""

    def __init__(self):
        self.told = queue.SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def tell(self, present):
        """The slot has noticed that the card is there, or that it's gone."""
        self.told.put(present)

    def run(self):
        """Follows what is told."""
        while True:
            if self.told.get():
                write("/sys/bus/pci/rescan")
            else:
                # Faults are those of the first card.
                for function in list(functions())[:1]:
                    write(f"{function}/remove")
