"""Loading weights into a module so that none is missing, left over or misshapen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from deploykit_runtimes.errors import CheckpointError
from torch import nn

__all__ = ["load_strict"]

_SHOWN = 5


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    *,
    source: str,
    name: Callable[[str], str] = str,
) -> None:
    """Copy ``tensors`` into ``module``, floating ones as float32, and put the module into eval mode.

    The counters of BatchNorm (``num_batches_tracked``) play no part in inference and may be absent.

    Args:
        module: Built with the architecture that the weights should have. On the meta device it costs
            no memory before everything is known to fit, and then takes the tensors without a copy.
        tensors: Weights under the module's own key names.
        source: What the weights are called in an error: a file name.
        name: What a key is called in an error, where the file has other names than the module.

    Raises:
        CheckpointError: keys of the module are missing, keys are left over, or shapes differ; each
            kind is listed, with at most five keys. Or a weight is infinite or not a number.
    """
    wanted = module.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [name(key) for key in wanted if key not in tensors and key not in counters]
    left_over = [
        name(key) for key in tensors if key not in wanted and not key.endswith("num_batches_tracked")
    ]
    misshapen = [
        f"{name(key)} (wanted {_shape(wanted[key])}, found {_shape(tensors[key])})"
        for key in wanted
        if key in tensors and wanted[key].shape != tensors[key].shape
    ]
    problems = [
        f"{kind}: {_listed(keys)}"
        for kind, keys in (("missing", missing), ("left over", left_over), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"The weights of {source} do not fit the recognised architecture; {'; '.join(problems)}.",
            hint="Name the architecture with --variant or its settings with --config, "
            "or compare with the keys that `deploykit inspect FILE` lists.",
        )
    weights = {key: tensor.detach() for key, tensor in tensors.items() if key in wanted}
    floats = {key: tensor.float() for key, tensor in weights.items() if tensor.is_floating_point()}
    unset = {
        key: torch.zeros(wanted[key].shape, dtype=wanted[key].dtype) for key in counters - weights.keys()
    }
    _refuse_non_finite({name(key): tensor for key, tensor in floats.items()}, source)
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    module.load_state_dict({**weights, **floats, **unset}, assign=on_meta)
    module.float().eval().requires_grad_(False)


def _refuse_non_finite(tensors: Mapping[str, torch.Tensor], source: str) -> None:
    broken = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise CheckpointError(
            f"{source} has weights that are infinite or not a number: {_listed(broken)}.",
            hint="The training diverged, or the file was saved in half precision and overflowed: "
            "export an earlier checkpoint.",
        )


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _listed(keys: Iterable[str]) -> str:
    names = list(keys)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
