"""The numbers of SECURITY.md on labels, golden answers and servers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from deploykit_exporters.golden import file as golden
from deploykit_exporters.golden import prove

from deploykit.evaluation.data import coco_checks, strangers, yolo
from deploykit.remote import connection

PAGE = Path(__file__).parents[3] / "SECURITY.md"


def documented(heading: str) -> dict[str, str]:
    """What is limited, and to what, of the table under a heading."""
    section = PAGE.read_text().partition(f"{heading}\n")[2].partition("\n#")[0]
    return dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", section, re.MULTILINE)[1:])


def megabytes(count: int) -> str:
    assert count % (1 << 20) == 0
    return f"{count >> 20} MB"


def test_labels_and_golden_answers() -> None:
    said = documented("### Labels and golden answers")
    coded = {
        "labels of a picture, a `data.yaml`": f"{megabytes(strangers.LARGEST_LABELS)}, and "
        f"{strangers.MOST_OBJECTS:,} objects a picture",
        "a list of pictures; COCO's JSON": f"{megabytes(strangers.LARGEST_TEXT)}; "
        f"{strangers.LARGEST_JSON >> 30} GB",
        "folders of a split; classes by `nc`": f"{yolo._MOST_FOLDERS:,}; {strangers.MOST_NAMES:,}",
        "ids of pictures and categories": "texts, whole numbers below "
        f"2^{strangers._LARGEST_EXACT.bit_length() - 1}",
        "sides of a picture in COCO's JSON; coordinates": f"{coco_checks._LARGEST_SIDE:,}; "
        f"10^{len(str(int(coco_checks._LARGEST))) - 1}",
        "outlines in COCO's JSON": f"{coco_checks._LONGEST:,} pixels long",
        "golden answers (`.npz`)": f"{megabytes(golden._FREE_BYTES)}, and {golden._MOST_INFLATED} times the "
        f"file, at most {megabytes(golden._MOST_BYTES)}; {megabytes(golden._MOST_JSON)} of JSON; "
        f"{golden._MOST_WEIGHTS:,} weights; images of {golden._MOST_VALUES:,} values together, those of "
        f"recipes also at most {prove._FREE_VALUES:,} or {prove._MOST_TIMES} inputs of the model",
    }
    assert {name: said.get(name) for name in coded} == coded
    assert len(said) == len(coded) + 2  # regular files, and the pixels of a mask: no numbers


def test_servers_that_are_asked() -> None:
    assert documented("## Servers that are asked") == {
        "a request, from its start to the last byte of the answer": f"{connection._PATIENCE_SECONDS:g} s",
        "what a server says about itself and its models": megabytes(connection._LARGEST_FACTS),
        "an answer with tensors": f"{megabytes(connection._LARGEST_ANSWER)}, of which "
        f"{megabytes(connection._LARGEST_JSON)} may be JSON",
        "redirects": "none",
    }
