"""Groups of command-line options as dataclasses, for all commands; imports no CLI library."""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Returns `command` with the fields of each dataclass parameter in the parameter's place.

    A command takes whole groups (`network: NetworkFlags`); typer, which reads the signature, sees one option
    for each field.
    """
    parameters = inspect.signature(command).parameters.values()
    groups: dict[str, Any] = {
        item.name: item.annotation for item in parameters if is_dataclass(item.annotation)
    }

    @functools.wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    expanded = [part for item in parameters for part in _field_parameters(groups.get(item.name)) or [item]]
    call.__signature__ = inspect.Signature(expanded)  # type: ignore[attr-defined]
    return call


def _field_parameters(group: Any) -> list[inspect.Parameter]:
    """Returns the fields of a dataclass as keyword parameters; none without a dataclass."""
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in (fields(group) if group else ())
    ]


def write_option_groups(options: Iterable[Any], context: Any, formatter: Any) -> None:
    """Writes a section of a help page for each `rich_help_panel`, in the order of the first options."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        record = option.get_help_record(context)
        if record is None:
            continue
        if option.param_type_name == "argument":  # its record shows the Python type beside the name
            sections.setdefault("Arguments", []).append((option.metavar or option.name, record[1]))
        else:
            sections.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(record)
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)
