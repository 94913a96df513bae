"""Train the classifier anew: ``python -m suffuse_digits.train_classifier``.

It is a plain supervised network, so this is a plain loop and not the trainer of diffusion models. Cross-entropy on
the train split, Adam with a one-cycle rate, and shifts by up to one pixel; the same weights for the same seed and
number of threads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from suffuse_digits.classifier import WEIGHTS, Classifier
from suffuse_digits.dataset import Digits

__all__ = ["accuracy", "train"]


def train(epochs: int = 60, batch: int = 128, seed: int = 0) -> Classifier:
    """A trained classifier, in evaluation mode."""
    data = Digits(split="train").everything()
    x, label = data.x, data.cond["label"]
    assert isinstance(x, Tensor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(trained=False)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
        steps = epochs * -(-len(x) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(batch):
                logits = model(_shifted(x[rows])).logits
                assert logits is not None
                loss = F.cross_entropy(logits, label[rows], label_smoothing=0.05)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
    return model.requires_grad_(False).eval()


def accuracy(model: Classifier, split: str) -> float:
    """The share of a split's digits that the classifier reads correctly."""
    data = Digits(split=split).everything()  # type: ignore[arg-type]
    logits = model(data.x).logits
    assert logits is not None
    return float((logits.argmax(1) == data.cond["label"]).double().mean())


def _shifted(x: Tensor) -> Tensor:
    """Each image moved by -1, 0 or 1 pixel in each direction."""
    padded = F.pad(x, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(x), 1, 1))
    i = torch.arange(8)
    return padded[torch.arange(len(x))[:, None, None], 0, i[:, None] + down, i + right][:, None]


def main() -> None:
    """Train, report and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the safetensors file to write")
    out = parser.parse_args().out
    began = time.perf_counter()
    model = train()
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(model.state_dict()), str(out))
    count = sum(p.numel() for p in model.parameters())
    print(  # noqa: T201
        f"{count} weights, {time.perf_counter() - began:.0f} s; accuracy on train {accuracy(model, 'train'):.4f}, "
        f"on test {accuracy(model, 'test'):.4f}; written to {out}"
    )


if __name__ == "__main__":
    main()
