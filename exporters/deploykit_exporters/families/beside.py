"""Settings that training code left anywhere in a checkpoint, held against what was built.

Code of one's own saves its configuration under any name (``hyper_parameters``, ``cfg``, ``opt``). What of it
names a property of the network that the weights do not tell has to be what was built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deploykit_runtimes.errors import CheckpointError

from deploykit_exporters.families.base import Hints
from deploykit_exporters.families.settings import Settings

if TYPE_CHECKING:
    from deploykit_exporters.nets.vit import ViTArchitecture

__all__ = ["check_beside", "decided", "decided_by_vit"]

_SKIPPED = ("optim", "lr_sched", "sched", "scaler", "callbacks", "loops", "rng", "state_dict")
_DEEPEST, _MOST = 4, 5000


def check_beside(meta: Mapping[str, Any], built: Mapping[str, tuple[str, Any]], hints: Hints) -> None:
    """Refuse settings that are not those of the built model.

    Args:
        meta: ``Checkpoint.meta``.
        built: For each name of a setting what --config calls it (empty: it cannot be given there), and its
            value in the built model.
        hints: What the user said; what --config names is settled.

    Raises:
        CheckpointError: a setting has another value; it is named, with the options that settle it.
    """
    for count, (where, name, found) in enumerate(_entries(meta, "", 0)):
        if count > _MOST:
            return
        value = _told(found)
        if name not in built or value is None:
            continue
        ours, own = built[name]
        settings = Settings(where or "checkpoint", {name: value}, hints.ignore)
        if (
            (ours and (hints.config or {}).get(ours) is not None)
            or settings.get(name) is None
            or _same(value, own)
        ):
            continue
        given = f'"{value}"' if isinstance(value, str) else value
        place = f"{settings.where}:{name}"
        follow = f"If that is of this network, --config '{{\"{ours}\": {given}}}' follows it; if it is not, "
        raise CheckpointError(
            f"The file says {name} = {value!r:.60} ({settings.where}); built would be {own}.",
            hint=f"{follow if ours else 'If that is not of this network, '}say so: --ignore {place}",
        )


def decided_by_vit(arch: ViTArchitecture) -> dict[str, tuple[str, Any]]:
    """What the weights do not tell, by the names that training code gives it."""
    return decided(heads=arch.num_heads, activation=arch.activation, eps=arch.eps, pool=arch.pool)


def decided(*, heads: int, activation: str, eps: float, pool: str) -> dict[str, tuple[str, Any]]:
    """The same of a network that is described by these alone."""
    return {
        **dict.fromkeys(("num_heads", "num_attention_heads", "n_heads"), ("num_heads", heads)),
        **dict.fromkeys(("act_layer", "hidden_act"), ("activation", activation)),
        **dict.fromkeys(("layer_norm_eps", "norm_eps"), ("eps", eps)),
        "global_pool": ("global_pool", pool),
    }


def _entries(values: Any, where: str, depth: int) -> Iterator[tuple[str, str, Any]]:
    found = values if isinstance(values, Mapping) else getattr(values, "__dict__", None)
    if not isinstance(found, Mapping) or depth > _DEEPEST:
        return
    for name, value in found.items():
        if not isinstance(name, str) or name.startswith(("_", *_SKIPPED)):
            continue
        yield where, name, value
        if isinstance(value, Mapping) or hasattr(value, "inert_path"):
            yield from _entries(value, f"{where}.{name}" if where else name, depth + 1)


def _told(value: Any) -> bool | int | float | str | None:
    """What can be compared: of a class its name, of MAE's ``global_pool`` what it means; else None."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, bool):
        return "avg" if value else "token"
    return value if isinstance(value, int | float | str) and value != "" else None


def _same(value: Any, own: Any) -> bool:
    if isinstance(value, str) and isinstance(own, str):
        return _plain(value) == _plain(own)
    if isinstance(value, float) and isinstance(own, float):
        return abs(value - own) <= 1e-9
    return bool(value == own)


def _plain(word: str) -> str:
    """``gelu`` of ``nn.GELU``, ``GELU()`` and ``torch.nn.GELU``."""
    return word.rpartition(".")[2].removesuffix("()").lower().replace("_", "").replace("swish", "silu")
