"""The authors' checkpoints under this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from suffuse.errors import WeightsError

__all__ = ["from_official"]

# The authors' names and ours, in the order of replacement; github.com/facebookresearch/DiT, models.py.
_NAMES = {
    "x_embedder.proj.": "embed.",
    "t_embedder.mlp.": "noise.mlp.",
    "y_embedder.embedding_table.": "labels.",
    "final_layer.": "final.",
    "adaLN_modulation.": "modulation.",
    ".attn.": ".",
    ".mlp.fc1.": ".mlp.0.",
    ".mlp.fc2.": ".mlp.2.",
    "blocks.": "blocks.block",
}


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reshape a state dict of the authors' code, for ``DiT(...).load_state_dict``.

    The settings must agree with the checkpoint: a preset, ``size`` 32 or 64, ``classes=1000``, ``out_channels=8``.
    Raises ``WeightsError`` for a state dict without the patch embedding.
    """
    patches = state.get("x_embedder.proj.weight")
    if patches is None:
        raise WeightsError(f"expected the authors' names, such as x_embedder.proj.weight, got {sorted(state)[:3]}")
    renamed = {}
    for name, value in state.items():
        if name == "pos_embed":
            renamed["positions"] = value[0]
            continue
        for theirs, ours in _NAMES.items():
            name = name.replace(theirs, ours)
        renamed[name] = value
    # A convolution with stride p is a linear map of patches; ours has the channel last.
    renamed["embed.weight"] = patches.permute(0, 2, 3, 1).flatten(1)
    return renamed
