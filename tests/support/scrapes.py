"""Metrics of a server: scraped like Prometheus, collected in the process, or documented."""

import re
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from unrolled_server.observability.metrics import merge

TIMEOUT_S = 120
POLL_S = 0.02
METRICS_PAGE = Path(__file__).parents[2] / "docs/operate/metrics.md"


def scraped_families(address):
    """Returns the scraped metric families."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def scrape(address):
    """Returns every scraped sample by its name and labels."""
    return samples_of(scraped_families(address))


def samples_of(families):
    """Returns every sample of merged families by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in merge(families)
        for sample in family.samples
    }


def value(samples, name, **labels):
    """Returns one sample, or 0 if it is missing."""
    return samples.get((name, tuple(sorted(labels.items()))), 0)


def scraped_until(address, is_so):
    """Returns the first scrape for which `is_so` holds; metrics may change shortly after a reply."""
    until_s = time.monotonic() + TIMEOUT_S
    while not is_so(samples := scrape(address)):
        assert time.monotonic() < until_s, samples
        time.sleep(POLL_S)  # so that the server gets the processor
    return samples


class DocumentedMetric(NamedTuple):
    """A row of the table in docs/operate/metrics.md."""

    name: str
    kind: str
    unit: str
    labels: str
    merge: str
    help: str


def documented_metrics():
    """Returns the rows of the table in docs/operate/metrics.md."""
    rows = re.findall(r"^\| `(unrolled_\w+)` \| (.*) \|$", METRICS_PAGE.read_text(), flags=re.MULTILINE)
    return [DocumentedMetric(name, *(cell.strip() for cell in cells.split("|"))) for name, cells in rows]
