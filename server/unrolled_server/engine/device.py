"""The choice of the torch device."""

import torch

CHOICES = ("auto", "cpu", "cuda", "mps")


class DeviceUnavailableError(RuntimeError):
    """The requested device is not on this machine."""


def choose_device(name: str) -> torch.device:
    """Returns the device of this name; "auto" is what `torch.accelerator` offers, else the CPU.

    Raises DeviceUnavailableError if this machine or this build of torch has no such device.
    """
    if name == "cpu":
        return torch.device("cpu")
    offered = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return offered or torch.device("cpu")
    if offered is None or offered.type != name:
        found = offered.type if offered else "no accelerator"
        raise DeviceUnavailableError(f"device is {name!r}; torch finds {found} here; use auto or cpu")
    return offered
