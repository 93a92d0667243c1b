"""Builds objects of KServe's API out of manifests, and prints what was wrong with each as JSON.

    python kserve_api.py KIND FILE [KIND FILE ...]

A process of its own: kserve brings its own copy of the protocol's messages, which cannot be loaded beside
another one.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import kserve
import kubernetes.client
import yaml

SCALARS: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


class WrongFieldError(Exception):
    """A value that the API does not take."""


def build(value: Any, kind: str, where: str) -> Any:
    """An object of the API out of plain values.

    Raises:
        WrongFieldError: a field is not known, or of another type.
        ValueError: a field that must be there is not.
    """
    container = re.fullmatch(r"([Ll]ist|[Dd]ict)[\[(](?:str, )?(.+)[\])]", kind)
    if container:
        expect(isinstance(value, list if container[1].lower() == "list" else dict), where, value, kind)
        if isinstance(value, list):
            return [build(each, container[2], f"{where}[]") for each in value]
        return {key: build(each, container[2], f"{where}.{key}") for key, each in value.items()}
    if kind in SCALARS:
        expect(isinstance(value, SCALARS[kind]), where, value, kind)
        expect(kind in ("bool", "object") or not isinstance(value, bool), where, value, kind)
        return value
    api = getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind)
    names = {json_name: name for name, json_name in api.attribute_map.items()}
    for key in value:
        expect(key in names, f"{where}.{key}", value[key], "no such field")
    fields = {
        names[key]: build(each, api.openapi_types[names[key]], f"{where}.{key}")
        for key, each in value.items()
    }
    return api(**fields)


def expect(good: bool, where: str, value: object, kind: str) -> None:
    if not good:
        raise WrongFieldError(f"{where} is {value!r}, wanted {kind}")


def problem(kind: str, file: Path) -> str:
    """What the API does not take of a manifest; empty where it takes it."""
    try:
        for document in yaml.safe_load_all(file.read_text()):
            build(document, kind, document["kind"])
    except (WrongFieldError, ValueError) as error:
        return str(error)
    return ""


if __name__ == "__main__":
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    sys.stdout.write(json.dumps([problem(kind, Path(file)) for kind, file in pairs]))
