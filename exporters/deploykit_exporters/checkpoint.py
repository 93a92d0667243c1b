"""A checkpoint as the families see it: plain tensors, and whatever else the file tells.

``read_checkpoint`` accepts any container (see ``containers/``) and never executes code that
the file chose: unknown classes become inert placeholders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "Container", "StateView", "read_checkpoint"]

Container = Literal["torch", "safetensors", "huggingface", "keras-h5"]


@dataclass(frozen=True, kw_only=True)
class StateView:
    """One way to read the keys of a checkpoint: with ``prefix`` removed from each.

    ``tensors`` holds only the keys that had the prefix (all of them for ``""``).
    """

    prefix: str
    tensors: Mapping[str, torch.Tensor]


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
        from deploykit_exporters.containers.names import prefix_views

        if self.network is not None:
            inside = {
                name.removeprefix(self.network): tensor
                for name, tensor in self.tensors.items()
                if name.startswith(self.network)
            }
            yield StateView(prefix=self.network, tensors=inside)
            return
        yield from prefix_views(self.tensors)


def read_checkpoint(
    path: str | Path, *, trust: bool = False, weights: str | None = None, ignore: tuple[str, ...] = ()
) -> Checkpoint:
    """Read any supported checkpoint container.

    Args:
        path: A .pth/.pt/.ckpt/.bin/.safetensors/.h5 file or a Hugging Face folder.
        trust: Allow unpickling of classes that are not on the allow-list, which can execute
            code from the file. Only for files whose author is trusted.
        weights: The key of the weights to take, where the file holds several; None: EMA weights first. What
            is no key of the file may be the start of names, and is left in ``Checkpoint.part``.
        ignore: Dangerous calls of the file (``os.system``) in spite of which it is read; none is made.

    Raises:
        CheckpointError: the file is missing, truncated, empty or of no known container.
        UnsafeCheckpointError: the weights can be reached only by executing code of the file.
    """
    from deploykit_exporters.containers import read

    return read(Path(path), trust=trust, weights=weights, ignore=ignore)
