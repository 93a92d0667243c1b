"""Settings written as text by others: JSON, YAML, and Python, of which only literals are read.

Each is parsed within limits that suit honest files, so that a text of a megabyte cannot take gigabytes or
minutes: by values that refer to each other (YAML's anchors, Python's names), by merged mappings, or by keys
whose hashes are all equal.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, cast

import yaml

from deploykit_exporters.containers.budget import Budget, ExcessError, check_extent, check_integer

__all__ = ["NotLiteralError", "literal", "parse_json", "parse_python", "parse_yaml"]

_MAX_PYTHON = 1 << 20
_MAX_SEPARATORS = 150_000  # a value of Python takes a kilobyte while it is parsed
_SEPARATORS = re.compile(r"[,;:=.+(\[{\r\n<>|&^*/%@~!]|\b(?:and|if|in|is|or)\b")
_MAX_EVENTS = 200_000
_MAX_MERGED = 10_000
_MAX_DIGITS = 100
_TEXT_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
_HALVES = re.compile(r"\\u[dD][89a-fA-F]")


class NotLiteralError(ValueError):
    """An expression that can only be evaluated by running it."""


def parse_json(text: str) -> Any:
    """Parsed JSON, without lone surrogates in its strings.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return _whole(value) if _HALVES.search(text) else value


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {_whole(key): _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def parse_yaml(text: str) -> Any:
    """Parsed YAML of plain values.

    Raises:
        ValueError: it is not YAML, or longer or more entangled than settings are.
    """
    try:
        _count_events(text)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        check_extent(value, len(text))
    except (yaml.YAMLError, ExcessError, RecursionError) as error:
        raise ValueError(str(error)) from error
    except (LookupError, ArithmeticError, AttributeError, TypeError) as error:
        # What PyYAML raises where a tag says int, float, bool or timestamp and the text is something else.
        raise ValueError("it has a value whose type is not the one that its tag names") from error
    return value


def _count_events(text: str) -> None:
    for count, _ in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if count > _MAX_EVENTS:
            raise ExcessError("it holds more values than settings do")


class _Loader(yaml.CSafeLoader):
    """SafeLoader with counted keys, merges and digits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.budget = Budget(len(text))
        self.merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > _MAX_EVENTS + _MAX_MERGED:
            raise ExcessError("its mappings merge each other without end")

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > _MAX_DIGITS:
            raise ExcessError("it has an integer of more digits than any setting")
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                self._count(key)
        return super().construct_object(node, deep)

    def _count(self, key: yaml.Node) -> None:
        if isinstance(key, yaml.ScalarNode) and key.tag not in _TEXT_TAGS:
            self.budget.key(super().construct_object(key, deep=True))
        elif not isinstance(key, yaml.ScalarNode):
            raise ExcessError("it has a key that is neither text nor a number")


def parse_python(text: str) -> ast.Module:
    """Parsed Python, which is never executed.

    Raises:
        ValueError: it is not Python, or longer than any configuration.
    """
    if len(text) > _MAX_PYTHON or len(_SEPARATORS.findall(text)) > _MAX_SEPARATORS:
        raise ValueError(f"it has {len(text)} characters, too many to be settings")
    try:
        return ast.parse(text)
    except MemoryError as error:  # what the parser says of too many levels
        raise ValueError("it is nested too deeply") from error
    except (SyntaxError, RecursionError) as error:
        raise ValueError(str(error)) from error


def literal(node: ast.expr, names: Mapping[str, Any], budget: Budget) -> Any:
    """The value of an expression of literals and calls of ``dict``.

    Args:
        node: The expression.
        names: The values of names in it.
        budget: What is left of the text's budget.

    Raises:
        NotLiteralError: it could only be evaluated by running it.
        ExcessError: its keys could take forever.
    """
    match node:
        case ast.Constant():
            return check_integer(node.value) if isinstance(node.value, int) else node.value
        case ast.List() | ast.Tuple() | ast.Set():
            items = [literal(item, names, budget) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        case ast.Dict() if None not in node.keys:
            keys = [_key(literal(cast("ast.expr", key), names, budget), budget) for key in node.keys]
            values = (literal(value, names, budget) for value in node.values)
            return dict(zip(keys, values, strict=True))
        case ast.Call(func=ast.Name(id="dict"), args=[]) if all(item.arg for item in node.keywords):
            return {str(item.arg): literal(item.value, names, budget) for item in node.keywords}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Name() if node.id in names:
            return names[node.id]
    raise NotLiteralError(type(node).__name__)


def _key(value: Any, budget: Budget) -> Any:
    budget.key(value)
    try:
        hash(value)
    except TypeError as error:
        raise NotLiteralError("unhashable key") from error
    return value
