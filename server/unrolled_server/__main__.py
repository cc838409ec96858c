"""The command `unrolled-server`, also `python -m unrolled_server`.

Exit codes: 0 after a drain, 2 for wrong settings, 3 for an address that cannot be had (also that of the
metrics), 4 for a device that is not there, 5 for one that does not keep the promise of equal bits, 6 for word
vectors that cannot be loaded, 130 for an interrupt before it was ready, or a second one while it drains.
"""

import asyncio
import signal
import sys

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import CliApp

from unrolled_server import logs
from unrolled_server.config import Settings

EXIT_SETTINGS = 2
EXIT_ADDRESS = 3
EXIT_DEVICE = 4
EXIT_PROOF = 5
EXIT_VECTORS = 6
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Reads the settings and serves until told to stop; gives the exit code."""
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        return _fail(EXIT_SETTINGS, "; ".join(map(_describe, error.errors())))
    logs.configure(level=settings.log_level, log_format=settings.log_format)
    return _serve(settings)


def _serve(settings: Settings) -> int:
    # Here, because importing torch takes seconds that --help and a wrong flag should not.
    from unrolled_server.address import AddressError  # noqa: PLC0415
    from unrolled_server.engine import DeviceUnavailableError, ProofError  # noqa: PLC0415
    from unrolled_server.lifecycle import serve  # noqa: PLC0415
    from unrolled_server.metrics_endpoint import MetricsAddressError  # noqa: PLC0415
    from unrolled_server.vectors import VectorsError  # noqa: PLC0415

    try:
        asyncio.run(serve(settings))
    except (AddressError, MetricsAddressError) as error:
        return _fail(EXIT_ADDRESS, str(error))
    except DeviceUnavailableError as error:
        return _fail(EXIT_DEVICE, str(error))
    except ProofError as error:
        return _fail(EXIT_PROOF, str(error))
    except VectorsError as error:
        return _fail(EXIT_VECTORS, str(error))
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "interrupted")
    return 0


def _describe(error: ErrorDetails) -> str:
    name = "_".join(map(str, error["loc"]))
    return f"{name} is {error['input']!r}: {error['msg']}"


def _fail(code: int, message: str) -> int:
    logs.say_last(message)
    return code


if __name__ == "__main__":
    sys.exit(main())
