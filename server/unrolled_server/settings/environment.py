"""Explains flags and UNROLLED_ variables that are no settings, and names the nearest setting."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from unrolled_server.settings import Settings

_PREFIX = "UNROLLED_"
_SETTINGS = [name.upper() for name in Settings.model_fields]
# Names that the client and other services use, and the server's setting for the same purpose.
_SYNONYMS = {
    "TOKEN": "TOKENS",
    "TOKEN_FILE": "TOKENS",
    "CERTIFICATE": "TLS_CERTIFICATE",
    "KEY": "TLS_KEY",
    "ROOT_CERTIFICATES": "TLS_CLIENT_CA",
    "HOST": "ADDRESS",
    "PORT": "ADDRESS",
}
# Variables of the client and of the native core, and the one that a supervisor sets for its workers.
_OTHERS = {"TARGET", "SPREAD", "ISA", "METRICS_DIRECTORY"}
# Variables that Kubernetes and Docker set for a service or container named unrolled, unrolled-2, ...
_OF_A_SERVICE = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_URL_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://")


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each UNROLLED_ variable that the server does not read.

    It leaves out values, which may be secrets.
    """
    given = {name: name.upper().removeprefix(_PREFIX) for name in sorted(environment)}
    return [
        f"{name} is not a setting of the server and has no effect{_hint(setting)}"
        for name, setting in given.items()
        if setting != name.upper() and not _is_expected(setting, environment[name])
    ]


def explain_flags(error: str) -> str:
    """Returns argparse's error about wrong flags, with the nearest flag for each unknown one."""
    reason = error.removeprefix("error parsing CLI: ")
    unknown = re.findall(r"(?<!\S)--(no-)?([\w-]+)", reason.partition("unrecognized arguments:")[2])
    hints = [
        f"--{no}{flag}: did you mean --{no}{near.lower().replace('_', '-')}?"
        for no, flag in unknown
        if (near := _nearest(flag.upper().replace("-", "_")))
    ]
    if "ignored explicit argument" in reason or re.search(r"\b(true|false)\b", reason, re.IGNORECASE):
        hints.append("a switch takes no value: write --NAME or --no-NAME")
    return "; ".join([reason, *hints, "see unrolled-server --help"])


def _is_expected(setting: str, value: str) -> bool:
    if setting in _SETTINGS or setting in _OTHERS or _OF_A_SERVICE.fullmatch(setting):
        return True
    return f"_{setting}".endswith("_PORT") and bool(_URL_OF_A_SERVICE.match(value))


def _hint(setting: str) -> str:
    near = _nearest(setting)
    return f"; did you mean {_PREFIX}{near}?" if near else ""


def _nearest(setting: str) -> str | None:
    near = get_close_matches(setting, _SETTINGS, n=1)
    return _SYNONYMS.get(setting) or next(iter(near), None)
