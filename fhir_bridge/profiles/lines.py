"""The line of a key in a YAML text, looked for only when an error names it."""

from __future__ import annotations

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node


def line_of(text: str, path: tuple[str, ...]) -> int:
    """The line (from 1) of the key at `path`, as far as the text has it. `text` is known to be YAML.

    Keys that are dotted may be written as one or one below the other.
    """
    node: Node | None = YAML(typ="rt").compose(text)
    line, keys = 1, [part for key in path for part in key.split(".")]
    while keys:
        for count in range(len(keys), 0, -1):
            if step := _step(node, ".".join(keys[:count])):
                line, node = step[0].start_mark.line + 1, step[1]
                break
        else:
            break
        keys = keys[count:]
    return line


def _step(node: Node | None, key: str) -> tuple[Node, Node] | None:
    if not isinstance(node, MappingNode):
        return None
    for written, value in node.value:
        if written.value in (key, f"+{key}", f"-{key}"):
            return written, value
    return None
