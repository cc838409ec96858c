"""HTML as a tree, so that what a record says can be nothing but text."""

from xml.etree import ElementTree as ET

from unrolled_client.cli.printable import printable


def element(tag: str, *children: ET.Element | str | None, **attributes: str) -> ET.Element:
    """An element; `class_` is the attribute class, `aria_label` is aria-label. Leaves out children of None.

    >>> ET.tostring(element("p", "1 < 2 ", element("b", "yes"), " or no", class_="said"), method="html")
    b'<p class="said">1 &lt; 2 <b>yes</b> or no</p>'
    """
    made = ET.Element(
        tag, {name.rstrip("_").replace("_", "-"): printable(text) for name, text in attributes.items()}
    )
    last: ET.Element | None = None
    for child in children:
        if isinstance(child, str):
            _append_text(made, last, printable(child))
        elif child is not None:
            made.append(child)
            last = child
    return made


def _append_text(parent: ET.Element, last: ET.Element | None, text: str) -> None:
    if last is None:
        parent.text = (parent.text or "") + text
    else:
        last.tail = (last.tail or "") + text


def style(rules: str) -> ET.Element:
    """The page's own rules, which are not escaped."""
    made = ET.Element("style")
    made.text = rules
    return made


def table(heads: list[str], rows: list[list[str]], *, caption: str) -> ET.Element:
    """Numbers in columns, named by their first cell."""
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    body = (
        element("tr", element("th", name, scope="row"), *(element("td", cell) for cell in cells))
        for name, *cells in rows
    )
    made = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", made, class_="wide", tabindex="0", role="group", aria_label=caption)


def pairs(values: dict[str, str], *, class_: str) -> ET.Element:
    """Names, and what they are."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in values.items()),
        class_=class_,
    )


def document(root: ET.Element) -> str:
    """The file's content."""
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"
