"""The devices that networks run on, chosen without importing torch where there plainly is no accelerator."""

import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

from unrolled_server.engine import core
from unrolled_server.engine.initialization import Parameters
from unrolled_server.engine.network import DeviceUnavailableError, Network
from unrolled_server.engine.spec import NetworkSpec, WordVectors

CPU = "cpu"
# Files of Nvidia's drivers (also on Jetson, and in Windows' Linux) and of AMD's.
_ACCELERATOR_FILES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")


@runtime_checkable  # for the shape checks of the tests
class Backend(Protocol):
    """Makes networks on one device. ``isa`` is the CPU's instruction set, empty on an accelerator."""

    device: str
    isa: str

    def network(self, spec: NetworkSpec, parameters: Parameters, vectors: WordVectors | None) -> Network:
        """Returns a network without rows; ``vectors`` are those that its spec names."""

    def verify(self) -> None:
        """Raises DeviceUnstableError if a word's bits depend on its place."""

    def keep_released(self, limit_bytes: int) -> None:
        """Keeps up to so many bytes of networks that were dropped for the next ones."""


class CpuBackend:
    """Networks on the native core, whose arithmetic does not depend on a word's place."""

    device = CPU

    def __init__(self) -> None:
        self.isa = core.isa_name()

    def network(self, spec: NetworkSpec, parameters: Parameters, vectors: WordVectors | None) -> Network:
        """See `Backend`."""
        directions = [direction for layer in parameters.layers for direction in layer]
        inputs = parameters.embedding if vectors is None else vectors
        return core.States(core.Weights(spec, directions, inputs))

    def verify(self) -> None:
        """See `Backend`."""

    def keep_released(self, limit_bytes: int) -> None:
        """See `Backend`; first writes to new memory cost as much as the states that are written."""
        core.keep_released(limit_bytes)


def open_backend(name: str, *, devices: Path = Path("/dev")) -> Backend:
    """Returns the backend of a device; "auto" is the accelerator that torch finds, else the CPU.

    Raises DeviceUnavailableError if this machine or this build of torch has no such device, and CoreError.
    """
    if name != CPU and (name != "auto" or _may_have_accelerator(devices)):
        try:  # here, because importing torch takes longer than the rest of a server's start
            from unrolled_server.engine.torch_backend import TorchBackend, choose_device  # noqa: PLC0415
        except (ImportError, OSError) as error:
            raise DeviceUnavailableError(
                f"device is {name!r}, and torch can't be imported ({error}); install it again or use cpu"
            ) from error
        device = choose_device(name)
        if device.type != CPU:
            return TorchBackend(device)
    return CpuBackend()


def _may_have_accelerator(devices: Path) -> bool:
    if find_spec("torch") is None:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return any(next(devices.glob(pattern), None) for pattern in _ACCELERATOR_FILES)
