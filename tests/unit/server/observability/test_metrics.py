"""Samples of threads and workers are summed, except gauges that take the maximum."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from unrolled_server.observability.counters import JOBS, Histogram

from tests.support.scrapes import samples_of


def requests(*counts):
    family = CounterMetricFamily("unrolled_requests_total", "", labels=["method", "code"])
    for labels, count in counts:
        family.add_metric(labels, count)
    return family


def test_samples_with_the_same_labels_are_summed():
    one = requests((("Forward", "OK"), 2))
    other = requests((("Forward", "OK"), 3), (("Forward", "INTERNAL"), 1))
    assert samples_of([one, other]) == {
        ("unrolled_requests_total", (("code", "OK"), ("method", "Forward"))): 5,
        ("unrolled_requests_total", (("code", "INTERNAL"), ("method", "Forward"))): 1,
    }


def test_some_gauges_take_the_maximum():
    gauges = [GaugeMetricFamily("unrolled_loop_lag_seconds", "", lag_s) for lag_s in (1, 3, 2)]
    assert samples_of(gauges) == {("unrolled_loop_lag_seconds", ()): 3}


def test_histograms_are_summed_bucket_by_bucket():
    one, other = Histogram([1.0, 2.0]), Histogram([1.0, 2.0])
    for histogram, values in ((one, (0.5, 3.0)), (other, (1.5, 4.0))):
        for value in values:
            histogram.observe(value)
    assert samples_of([one.family("s", ""), other.family("s", "")]) == {
        ("s_bucket", (("le", "1.0"),)): 1,
        ("s_bucket", (("le", "2.0"),)): 2,
        ("s_bucket", (("le", "+Inf"),)): 4,
        ("s_count", ()): 4,
        ("s_sum", ()): 9.0,
    }


def test_a_bucket_includes_its_upper_bound():
    histogram = Histogram(JOBS)
    for jobs in (1, 2, 3, 4, 5_000):
        histogram.observe(jobs)
    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in samples_of([histogram.family("jobs", "")]).items()
        if name == "jobs_bucket"
    }
    assert [buckets[bound] for bound in ("1.0", "2.0", "4.0", "1024.0", "+Inf")] == [1, 2, 4, 4, 5]
