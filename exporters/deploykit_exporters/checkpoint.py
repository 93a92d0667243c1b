"""A checkpoint as the families see it: plain tensors, and everything else in the file.

``containers`` reads checkpoints from any file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploykit_exporters.state_views import StateView, prefix_views

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "Container"]

Container = Literal["torch", "safetensors", "huggingface", "keras-h5"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint file, read.

    Attributes:
        path: The file or folder that was read.
        sha256: Hash of the weights file, hex.
        container: How the bytes are packed.
        tensors: The weights that should be exported (EMA preferred), wrapper prefixes that say
            nothing about the architecture (``module.``, ``_orig_mod.``) removed. Floating tensors
            keep the dtype of the file.
        weights_key: Where in the file the weights were found: ``state_dict_ema``, ``model``, ...;
            empty for a bare state dict.
        meta: Everything else that the file holds, by its key (``config``, ``args``, ``meta``,
            ``epoch``, ...); objects of unknown classes are inert placeholders that only have
            attributes. For a Hugging Face folder ``meta["config"]`` is the parsed config.json and
            ``meta["preprocessor"]`` the parsed preprocessor_config.json, if present.
        module: A whole module that was pickled, as an inert tree (``InertObject``), or None.
        notes: What was found and decided, in sentences for the user.
        not_executed: Functions of the standard library that the file would call, none of which can do harm
            (``builtins.getattr``) and none of which was called.
        sets: Every set of weights of the file by its key, the one that was taken included.
        part: Which part of ``tensors`` the user asked for, as the start of their names (``student``); empty
            for all.
        network: Under which prefix of ``tensors`` the network is (``student.``), where they hold several;
            None where it is to be found by ``views``.
    """

    path: Path
    sha256: str
    container: Container
    tensors: Mapping[str, torch.Tensor]
    weights_key: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    module: Any = None
    notes: tuple[str, ...] = ()
    not_executed: tuple[str, ...] = ()
    sets: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    part: str = ""
    network: str | None = None

    def views(self) -> Iterator[StateView]:
        """The keys as they are, then without each wrapper prefix that most of them share.

        Candidates are ``model.``, ``net.``, ``network.``, ``backbone.``, ``encoder.``, ``student.``,
        ``teacher.``, ``classifier.`` and combinations that occur; keys outside the prefix (for
        instance ``criterion.*`` of a Lightning file) are left out of that view.
        """
        if self.network is not None:
            inside = {
                name.removeprefix(self.network): tensor
                for name, tensor in self.tensors.items()
                if name.startswith(self.network)
            }
            yield StateView(prefix=self.network, tensors=inside)
            return
        yield from prefix_views(self.tensors)
