"""What the readers of the fuzzer are made of: an honest content with what reads it, and small checkpoints."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["FIXTURES", "Reader", "inside", "inspected", "loaded", "saved", "vit"]

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Reader:
    """An honest content, how to damage it, and how to read it.

    Attributes:
        content: The honest file.
        read: Reads a path.
        exit_code: That of the errors it may raise.
        suffix: Of the file's name.
        repack: Writes damaged content back into the archive it came from.
    """

    content: bytes
    read: Callable[[Path], object]
    exit_code: int = 2
    suffix: str = ".pth"
    repack: Callable[[bytes], bytes] = bytes


def inside(archive: bytes, record: str) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The content of a record, and what writes the archive with another content for it."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        name = next(name for name in source.namelist() if name.endswith(record))
        records = {name: source.read(name) for name in source.namelist()}

    def repack(content: bytes) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as out:
            for other, old in records.items():
                out.writestr(other, content if other == name else old)
        return target.getvalue()

    return records[name], repack


def vit(*, name: bool = False) -> dict[str, Any]:
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", depth=1, embed_dim=64, num_heads=1, num_classes=2, img_size=32
    )
    args = argparse.Namespace(model="vit_tiny_patch16_224", mean=[0.5] * 3, model_kwargs={"num_heads": 1})
    named = {"arch": "vit_tiny_patch16_224", "args": args} if name else {}  # which timm is asked for, slowly
    return {
        "epoch": 3,
        **named,
        "state_dict": model.state_dict(),
        "hyper_parameters": {"num_heads": 1, "lr": 0.1},
    }


def saved(content: object, *, zipped: bool) -> bytes:
    import torch

    target = io.BytesIO()
    torch.save(content, target, _use_new_zipfile_serialization=zipped)
    return target.getvalue()


def loaded(path: Path, *, config: Path | None = None) -> object:
    """What a model file would declare of a checkpoint."""
    from deploykit_exporters.families.base import Hints
    from deploykit_exporters.load import load_checkpoint
    from deploykit_exporters.option_values import read_config
    from deploykit_runtimes.contract.metadata import spec_to_metadata

    hints = Hints(config=read_config(config)) if config else Hints()
    with _uninitialised():
        return json.dumps(spec_to_metadata(load_checkpoint(path, hints).built.spec))


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Networks are built without first weights, whose making takes longer than all the rest."""
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    with ExitStack() as stack:
        for owner, name in (
            *((nn.init, name) for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")),
            (VisionTransformer, "init_weights"),
        ):
            stack.enter_context(patch.object(owner, name, _nothing))
        yield


def _nothing(*_arguments: object, **_options: object) -> None:
    """In place of a function that fills weights in place."""


def inspected(path: Path) -> object:
    from deploykit.model_report import inspect_model

    return json.dumps(inspect_model(str(path)).to_dict(), default=str)
