"""The HTML report: complete, self-contained, with the record's numbers and escaped text."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given
from unrolled_loadtest.report.formatting import duration, rate
from unrolled_loadtest.report.html import render
from unrolled_loadtest.report.summary import conditions, facts, latency_rows, remarks, trial_row

from tests.support.loadtest.records import RECORDS, any_records, record_of

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Read(HTMLParser):
    """A page's tags, attributes and texts; refuses tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((tag, *attribute) for attribute in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data)

    def values(self, name):
        return [value for _, attribute, value in self.attributes if attribute == name]


@cache
def page_of(name):
    """The page of a record, rendered once."""
    return render(record_of(name))


@pytest.fixture(scope="session")
def read_page():
    """A function that returns the parsed page of a record."""
    return cache(lambda name: Read(page_of(name)))


@pytest.mark.parametrize("name", RECORDS)
def test_the_page_is_one_file_that_loads_nothing(read_page, name):
    """It has no scripts and no links, and each reference is to an element of the page."""
    read = read_page(name)
    assert not {"script", "link", "img", "iframe", "object", "a", "base"} & set(read.tags)
    assert read.values("src") == []
    ids = read.values("id")
    assert len(ids) == len(set(ids))
    references = read.values("href") + re.findall(r"url\(([^)]*)\)", page_of(name))
    assert {reference.strip("\"'") for reference in references} <= {f"#{identifier}" for identifier in ids}
    assert not re.search(r"https?:|@import", page_of(name))


@pytest.mark.parametrize("name", RECORDS)
def test_the_page_has_the_numbers_of_the_record(read_page, name):
    record, texts = record_of(name), read_page(name).texts
    for row, cells in latency_rows(record).items():
        start = texts.index(row, texts.index("Latency in milliseconds"))
        assert texts[start : start + len(cells) + 1] == [row, *cells]
    for line in [*facts(record).values(), *conditions(record).values(), record.command]:
        assert line in texts
    for remark in remarks(record):
        assert remark.text in texts
    assert {rate(record.achieved_per_s), duration(record.latency.percentile(99))} <= set(texts)


def test_the_page_has_the_trials_of_a_search(read_page):
    texts = read_page("found").texts
    start = texts.index("target") + 1
    expected = [cell for trial in record_of("found").search.trials for cell in trial_row(trial)]
    assert texts[start : start + len(expected)] == expected


def test_the_numbers_of_the_charts_are_in_a_table(read_page):
    """The tables have the same numbers as the charts."""
    texts = read_page("short").texts
    start = texts.index("generator") + 1
    latency = record_of("short").latency
    expected = ["0:00", "240.0/s", "240.0/s", "0", "1", "0", "1.09", "1.81", "2.37", "31 % of a core"]
    assert texts[start : start + 10] == expected
    assert duration(latency.percentile(50)) == "1.09 ms"


@pytest.mark.parametrize("name", RECORDS)
def test_each_chart_is_one_svg_with_a_description(read_page, name):
    record, read = record_of(name), read_page(name)
    has_latencies = any(interval.latency.count for interval in record.intervals)
    charts = sum([1, has_latencies, record.latency.count > 0, record.error_count > 0])
    assert read.tags.count("svg") == read.tags.count("figure") == charts
    assert read.values("role").count("img") == charts
    assert all(label for tag, key, label in read.attributes if (tag, key) == ("div", "aria-label"))


def test_text_of_a_record_is_escaped(read_page):
    """A command, a request or a target may contain HTML."""
    read = read_page("failing")
    assert "unrolled-load '<script>alert(1)</script>'" in read.texts
    assert any('["<b>hello</b>", "a&b"]' in text for text in read.texts)
    assert not {"script", "b"} & set(read.tags)


@pytest.mark.long
@given(any_records())
def test_every_record_has_a_page(record):
    """It can be encoded, its tags match, and all of them are tags of the template."""
    text = render(record)
    text.encode()
    assert set(Read(text).tags) <= TAGS


TEXT = {"html", "head", "meta", "title", "style", "body", "header", "main", "h1", "h2", "p", "strong"}
LISTS = {"div", "dl", "dt", "dd", "details", "summary", "pre", "code"}
TABLES = {"table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"}
DRAWINGS = {"svg", "g", "path", "text", "rect", "use", "defs", "clippath"}
TAGS = TEXT | LISTS | TABLES | DRAWINGS


@pytest.mark.parametrize("name", RECORDS)
def test_a_page_is_small(name):
    assert len(page_of(name).encode()) < 300_000


def test_the_same_record_makes_the_same_page():
    assert render(record_of("paused")) == render(record_of("paused"))


def test_a_command_that_is_not_utf_8_has_a_page_in_utf_8():
    """Python reads bytes of the command line that are not UTF-8 as lone surrogates."""
    record = replace(record_of("short"), command="unrolled-load --file \udcff", target="\udcff:1")
    assert rb"--file \udcff" in render(record).encode()
