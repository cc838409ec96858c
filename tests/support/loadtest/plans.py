"""Short load-test plans for tests."""

from unrolled_loadtest.workload.distributions import parse_distribution
from unrolled_loadtest.workload.plan import ClosedLoop, OpenLoop, Plan, RequestMix, parse_rate


def request_mix(*, words="3", hidden_size="2", seed="0", **more):
    return RequestMix(
        words_per_request=parse_distribution(words, name="words", low=1),
        hidden_size=parse_distribution(hidden_size, name="hidden_size"),
        seed=parse_distribution(seed, name="seed"),
        **{"pool_count": 50, **more},
    )


def open_plan(target="", *, rate="200", duration_s=1.0, arrivals="constant", **more):
    load = OpenLoop(segments=parse_rate(rate, duration_s=duration_s), arrivals=arrivals)
    return Plan(target=target, load=load, **{"request_mix": request_mix(), "warmup_s": 0.3, **more})


def closed_plan(target="", *, concurrency=2, duration_s=1.0, **more):
    load = ClosedLoop(concurrency=concurrency, duration_s=duration_s)
    return Plan(target=target, load=load, **{"request_mix": request_mix(), "warmup_s": 0.3, **more})
