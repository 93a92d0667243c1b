"""What timm writes beside the weights: training arguments, and the configuration of published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["attributes", "hub_config"]


def attributes(value: Any) -> Mapping[str, Any]:
    """The settings of a dictionary, an ``argparse.Namespace`` or its inert stand-in, or a dataclass."""
    return value if isinstance(value, Mapping) else getattr(value, "__dict__", {})


def hub_config(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """timm's ``pretrained_cfg`` as it was fetched by name, or from a Hugging Face folder of timm."""
    if "timm_config" in meta:
        return attributes(meta["timm_config"])
    config = meta.get("config")
    if not isinstance(config, Mapping) or "architecture" not in config:
        return {}
    return {**config, **attributes(config.get("pretrained_cfg"))}
