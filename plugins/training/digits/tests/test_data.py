import pytest
import torch
from suffuse_digits.dataset import Digits

from suffuse.errors import InvalidInput
from suffuse.rng import Rng


def test_what_a_row_is():
    data = Digits(split="all")
    index = torch.tensor([5, 0, 5])
    rows = data.rows(index, Rng.of(0, 3))
    assert rows.x.shape == (3, 1, 8, 8)
    assert rows.x.dtype == torch.float32
    assert torch.equal(rows.x, rows.x.round())
    assert (rows.x.min(), rows.x.max()) == (0, 16)
    assert torch.equal(rows.x[0], rows.x[2])
    # The first digits of the file are 0, 1, 2, ...
    assert rows.cond["label"].tolist() == [5, 0, 5]


def test_the_split_is_whole_disjoint_and_stratified():
    sizes = {split: len(Digits(split=split)) for split in ("train", "test", "all")}
    assert sizes == {"train": 1442, "test": 355, "all": 1797}
    found = {split: Digits(split=split).everything() for split in sizes}
    counts = {split: e.cond["label"].bincount(minlength=10) for split, e in found.items()}
    assert torch.equal(counts["train"] + counts["test"], counts["all"])
    assert torch.equal(counts["test"], counts["all"] // 5)

    def keys(split):
        e = found[split]
        return sorted(map(tuple, torch.cat([e.cond["label"][:, None], e.x.flatten(1)], dim=1).tolist()))

    assert sorted(keys("train") + keys("test")) == keys("all")


def test_everything_is_a_copy():
    data = Digits(split="test")
    data.everything().x.zero_()
    assert data.everything().x.max() == 16


@pytest.mark.parametrize("index", [[355], [-1], [0.5], [[0]], [True]])
def test_bad_rows_are_refused(index):
    with pytest.raises(InvalidInput, match=r"rows 0 to 354|expected indices"):
        Digits(split="test").rows(torch.tensor(index), Rng.of(0, 1))


def test_the_data_set_is_read_when_used(tmp_path):
    import subprocess
    import sys

    code = (
        "import suffuse_digits._plugin, sys; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
