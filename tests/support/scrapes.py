"""Scraping a server as Prometheus does."""

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 120
POLL_S = 0.02


def scrape(address):
    """Every sample by its name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples, name, **labels):
    """One sample; 0 where there is none."""
    return samples.get((name, tuple(sorted(labels.items()))), 0)


def scraped_until(address, is_so):
    """The first scrape of which `is_so` holds; numbers may come a moment after the reply."""
    until_s = time.monotonic() + TIMEOUT_S
    while not is_so(samples := scrape(address)):
        assert time.monotonic() < until_s, samples
        time.sleep(POLL_S)  # so that the server, and not this loop, gets the processor
    return samples
