"""What nobody measured: machines, prices, traffic.

A file of its own because it is the one to change to yours.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What isn't measured. Change them to yours.

    Attributes:
        utilisation: Of a process, on average.
        min_process_count: So that one may go.
        network_count: Different networks that are asked for.
        zipf_exponent: Of their shares of the traffic.
        lifetime_s: Until a process is replaced (a rollout, say) and begins with nothing known.
        table_slack: Memory of a state table over its rows, as it grows by half of its size.
        process_gib: State memory that a process may be given; the cheapest is taken. None: what it takes.
        resident_share: What state memory takes of the machine's, over what is counted (docs/operations.md).
        machine_cores: Of one machine.
        machine_gib: Likewise; a fifth is left free.
        machine_gbit_s: Likewise; used up to ``utilisation``.
        max_direct_count: Processes to which every client still keeps connections of its own.
        balancer_message_s: Processor seconds of a balancer that reads requests, for each.
        balancer_byte_s: And for each byte.
        calls_per_message: Of calls that the SDK merges (1,024 at most), where all find company.
        serve_message_s: Processor seconds of Ray Serve's proxy for each message, with all of Ray but the
            replica; from `bench/run.py --sections serve` (docs/ray.md), once.
        serve_byte_s: And for each byte.
        core_hour: Price of a core for an hour.
        gib_hour: Of a GiB of memory for an hour.
        gib_sent: Of a GiB sent; 0 within one zone.
        currency: Of these.
        dated: When they were assumed.
    """

    utilisation: float = 0.6
    min_process_count: int = 2
    network_count: int = 400
    zipf_exponent: float = 1.0
    lifetime_s: float = 86_400.0
    table_slack: float = 1.25
    process_gib: tuple[float | None, ...] = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, None)
    resident_share: float = 1.3
    machine_cores: int = 16
    machine_gib: float = 64.0
    machine_gbit_s: float = 12.5
    max_direct_count: int = 100
    balancer_message_s: float = 50e-6
    balancer_byte_s: float = 0.5e-9
    calls_per_message: int = 500
    serve_message_s: float = 2.7e-3
    serve_byte_s: float = 4e-9
    core_hour: float = 0.04
    gib_hour: float = 0.005
    gib_sent: float = 0.0
    currency: str = "$"
    dated: str = "2026-11"

    @property
    def machine_hour(self) -> float:
        """Price of a whole machine, which is what more network comes with."""
        return self.machine_cores * self.core_hour + self.machine_gib * self.gib_hour
