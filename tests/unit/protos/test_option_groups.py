"""Command-line options in groups, one dataclass per group."""

import inspect
from dataclasses import dataclass

import pytest
from unrolled.option_groups import with_groups


@dataclass(frozen=True, kw_only=True)
class Place:
    city: str
    street: str = "Main"


@dataclass(frozen=True, kw_only=True)
class Time:
    hour: int = 12


@pytest.fixture
def calls():
    return []


@pytest.fixture
def command(calls):
    @with_groups
    def meet(*, place: Place, loud: bool = False, time: Time) -> None:
        """Meets."""
        calls.append((place, loud, time))

    return meet


def test_the_signature_has_the_fields_instead_of_their_groups(command):
    assert str(inspect.signature(command)) == (
        "(*, city: str, street: str = 'Main', loud: bool = False, hour: int = 12)"
    )
    assert (command.__name__, command.__doc__) == ("meet", "Meets.")


def test_the_command_receives_group_instances(command, calls):
    command(city="Oslo", street="Gate", loud=True, hour=9)
    assert calls == [(Place(city="Oslo", street="Gate"), True, Time(hour=9))]
