"""Loading weights into a module, with none missing, left over or misshapen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import torch
from deploykit_runtimes.errors import CheckpointError
from torch import nn

__all__ = ["load_strict"]

_SHOWN = 5
_EXAMINED, _MANY, _DEEP = 16, 10_000, 4  # The search for what is missing takes the product of all.


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    *,
    source: str,
    name: Callable[[str], str] = str,
) -> None:
    """Copy ``tensors`` into ``module``, floating ones as float32, and put the module into eval mode.

    The counters of BatchNorm (``num_batches_tracked``) are not used in inference and may be absent.

    Args:
        module: Built with the architecture that the weights should have. On the meta device it needs no
            memory until everything is known to fit, and then uses the tensors without copying.
        tensors: Weights under the module's own key names.
        source: The name of the weights in an error: a file name.
        name: The name of a key in an error, if the file's names differ from the module's.

    Raises:
        CheckpointError: keys of the module are missing, keys are left over, or shapes differ; each
            kind is listed, with at most five keys. Or a weight is infinite or not a number.
    """
    wanted = module.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in tensors and key not in counters]
    left_over = [key for key in tensors if key not in wanted and not key.endswith("num_batches_tracked")]
    misshapen = [key for key in wanted if key in tensors and wanted[key].shape != tensors[key].shape]

    def shapes(key: str) -> str:
        return f"{name(key)} (wanted {_shape(wanted[key])}, found {_shape(tensors[key])})"

    problems = [
        f"{kind}: {_listed(keys, told)}"
        for kind, keys, told in (
            ("missing", missing, name),
            ("missing, by what is there", [] if missing else _implied(tensors, left_over), name),
            ("left over", left_over, name),
            ("misshapen", misshapen, shapes),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"The weights of {source} do not fit the recognised architecture; {'; '.join(problems)}.",
            hint="Name the architecture with --variant, or its settings with --config.",
        )
    weights = {key: tensor.detach() for key, tensor in tensors.items() if key in wanted}
    foreign = [
        key for key in weights.keys() - counters if _is_number(weights[key]) != _is_number(wanted[key])
    ]
    if foreign:

        def types(key: str) -> str:
            return f"{name(key)} (wanted {_type(wanted[key])}, found {_type(weights[key])})"

        raise CheckpointError(
            f"{source} has tensors of another type than the network: {_listed(sorted(foreign), types)}.",
            hint="They may be quantised: export the floating-point checkpoint that they were made from.",
        )
    floats = {key: tensor.float() for key, tensor in weights.items() if tensor.is_floating_point()}
    unset = {
        key: torch.zeros(wanted[key].shape, dtype=wanted[key].dtype) for key in counters - weights.keys()
    }
    broken = [key for key, tensor in floats.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(
            f"{source} has weights that are infinite or not a number: {_listed(broken, name)}.",
            hint="The training diverged, or the file was saved in half precision and overflowed: "
            "export an earlier checkpoint.",
        )
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    module.load_state_dict({**weights, **floats, **unset}, assign=on_meta)
    module.float().eval().requires_grad_(False)


def _is_number(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds real numbers rather than indices, flags, codes (8-bit floats need a scale that
    may not be in the file) or complex numbers.
    """
    return tensor.is_floating_point() and tensor.dtype.itemsize > 1 and not tensor.is_quantized


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _implied(tensors: Mapping[str, torch.Tensor], left_over: Sequence[str]) -> list[str]:
    """Keys that must exist because others make no sense without them, when the architecture was read from
    what is left.

    These are the weight that belongs to a bias, the keys that most similar layers have, and the keys that
    only one of two similar layers lacks.
    """
    if len(tensors) > _MANY:
        return []
    found: dict[str, None] = {}
    for key in left_over[:_EXAMINED]:
        layer, _, part = key.rpartition(".")
        if part in ("bias", "running_mean", "running_var") and f"{layer}.weight" not in tensors:
            found[f"{layer}.weight"] = None
        for number in islice(re.finditer(r"(?<=\.)\d+(?=\.)", key), _DEEP):
            before, after = key[: number.start()], key[number.end() :]
            like = [f"{before}{other}{after}" for other in sorted(_numbers(tensors, before))]
            absent = [other for other in like if other not in tensors]
            if 2 * len(absent) < len(like):
                found.update(dict.fromkeys(absent))
            inside = _below(tensors, f"{before}{number[0]}.")
            for other in sorted(_numbers(tensors, before) - {number[0]})[:_EXAMINED]:
                lacking = _below(tensors, f"{before}{other}.") - inside
                if len(lacking) == 1:
                    found[f"{before}{number[0]}.{lacking.pop()}"] = None
    return [key for key in found if key not in tensors]


def _numbers(tensors: Mapping[str, torch.Tensor], before: str) -> set[str]:
    """The numbers that follow a start of keys."""
    rest = (key.removeprefix(before).partition(".")[0] for key in tensors if key.startswith(before))
    return {number for number in rest if number.isdecimal()}


def _below(tensors: Mapping[str, torch.Tensor], layer: str) -> set[str]:
    """The ends of the keys that start with a layer."""
    return {key.removeprefix(layer) for key in tensors if key.startswith(layer)}


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _listed(keys: Sequence[str], told: Callable[[str], str]) -> str:
    """The first keys in the form ``told``, and the number of further ones."""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(map(told, keys[:_SHOWN])) + more
