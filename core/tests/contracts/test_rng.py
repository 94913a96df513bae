import hashlib
import math
import os
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from suffuse import _philox
from suffuse.errors import InvalidInput
from suffuse.rng import Rng

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
EVENTS = [(), (1,), (2,), (3,), (7,), (64,), (3, 32, 32)]
MASK = 2**32 - 1


def like(batch, event=(), dtype=torch.float64):
    return torch.zeros(batch, *event, dtype=dtype)


# The generator, written again in plain Python: unbounded integers, and floats that round once per operation.


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for r in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        x, y = (k0 + r * 0x9E3779B9) & MASK, (k1 + r * 0xBB67AE85) & MASK
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ x, b & MASK, (a >> 32) ^ c3 ^ y, a & MASK
    return c0, c1, c2, c3


def words(seed, row, block, *path):
    """Row `row` of Rng.of(seed): the words of a block at a path whose last item is the method's name."""
    key = philox((row, 0, 0, 0), (seed & MASK, seed >> 32))[:2]
    spelled = "".join(f"i{p};" if isinstance(p, int) else f"s{len(p.encode())}:{p}" for p in path)
    tag = int.from_bytes(hashlib.blake2b(spelled.encode(), digest_size=8).digest(), "little")
    return philox((block, 0, tag & MASK, tag >> 32), key)


def log(x):
    m, k = math.frexp(x)
    if m < math.sqrt(0.5):
        m, k = 2 * m, k - 1
    s = (m - 1) / (m + 1)
    total = 0.0
    for n in range(19, 1, -2):
        total = (total + 2 / n) * (s * s)
    return (total + 2) * s + k * math.log(2)


def sqrt(x):
    (bits,) = struct.unpack("<q", struct.pack("<d", x))
    (y,) = struct.unpack("<d", struct.pack("<q", (bits >> 1) + (0x3FF << 51)))
    for _ in range(4):
        y = (y + x / y) / 2
    return y


def normals(w0, w1, w2, w3):
    r = sqrt(-2 * log((w0 << 21 | w1 >> 11 | 1) * 2.0**-53)) * (-1) ** (w3 & 1)
    x = ((w2 << 21 | w3 >> 11 | 1) - 2**52) * (math.pi / 4 * 2.0**-52)
    z = x * x
    p = (((-36 * z + 6930) * z - 270270) * z + 2027025) * x
    q = (((z - 630) * z + 51975) * z - 945945) * z + 2027025
    r /= q * q + p * p
    return (q * q - p * p) * r, 2 * (p * q) * r


@pytest.mark.parametrize(
    ("index", "tag", "key", "expected"),
    [
        (0, 0, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (-1, 2**64 - 1, (MASK, MASK), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x85A308D3_243F6A88 - 2**64,
            0x03707344_13198A2E,
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(index, tag, key, expected):
    """The known-answer vectors of Random123, the authors' library."""
    counter = (index & MASK, (index >> 32) & MASK, tag & MASK, tag >> 32)
    assert philox(counter, key) == expected
    got = _philox.philox(torch.tensor([7, index, 8]), tag, torch.tensor([[1, 2], key]))
    assert tuple(int(w[1, 1]) for w in got) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_draws_equal_plain_python_to_the_last_bit(device):
    seed, batch, n = 2**63 + 12345, 5, 33
    rng = Rng.of(seed, batch, device=device).at("step", -3, "ü")
    x = like(batch, (n,)).to(device)
    drawn, uniform, exponential, gumbel = (
        f(x).tolist() for f in (rng.normal, rng.uniform, rng.exponential, rng.gumbel)
    )
    integers = rng.integers(-5, 10**9, n).tolist()

    def block(name, i, j):
        return words(seed, i, j // 2, "step", -3, "ü", name)

    def pair(name, i, j):
        return block(name, i, j)[2 * (j % 2) :][:2]

    for i in range(batch):
        for j in range(n):
            assert drawn[i][j] == normals(*block("normal", i, j))[j % 2]
            a, b = pair("uniform", i, j)
            assert uniform[i][j] == (a << 21 | b >> 11) * 2.0**-53
            a, b = pair("exponential", i, j)
            assert exponential[i][j] == -log((a << 21 | b >> 11 | 1) * 2.0**-53)
            a, b = pair("gumbel", i, j)
            assert gumbel[i][j] == -log(-log((a << 21 | b >> 11 | 1) * 2.0**-53))
            a, b = pair("integers", i, j)
            assert integers[i][j] == ((a << 32 | b) * (10**9 + 5) >> 64) - 5


def test_log_and_normal_are_what_they_are_called():
    """Against the library's functions, at the ends too, to a few roundings."""
    eps = 2.0**-52
    x = torch.cat(
        [2.0 ** torch.linspace(-60, 60, 1001, dtype=torch.float64), 1 - 2.0 ** -torch.arange(1.0, 54.0).double()]
    )
    torch.testing.assert_close(_philox.log(x.clone()), x.log(), rtol=4 * eps, atol=0)
    torch.testing.assert_close(_philox.sqrt(x.clone()), x.sqrt(), rtol=2 * eps, atol=0)
    ends = torch.tensor([0, 1, 2**31 - 1, 2**31, MASK - 1, MASK, 12345])
    w0, w1, w2, w3 = torch.cartesian_prod(ends, ends, ends, ends).T
    a, b = _philox.normal(w0.clone(), w1.clone(), w2.clone(), w3.clone())
    u = (w0 * 2**21 + w1 // 2**11 | 1).double() * 2.0**-53
    angle = ((w2 * 2**21 + w3 // 2**11 | 1) - 2**52).double() * (2.0**-53 * math.pi) + math.pi * (w3 % 2).double()
    r = (-2 * u.log()).sqrt()
    torch.testing.assert_close(a, r * angle.cos(), rtol=0, atol=64 * eps)
    torch.testing.assert_close(b, r * angle.sin(), rtol=0, atol=64 * eps)
    assert 8.57 < torch.hypot(a, b).max() < 8.58


METHODS = {
    "normal": lambda rng, x: rng.normal(x),
    "uniform": lambda rng, x: rng.uniform(x),
    "exponential": lambda rng, x: rng.exponential(x),
    "gumbel": lambda rng, x: rng.gumbel(x),
    "integers": lambda rng, x: rng.integers(0, 1000, *x.shape[1:]),
    "permutation": lambda rng, x: rng.permutation(x[0].numel()),
    "repeat": lambda rng, x: rng.repeat(2).keys.unflatten(0, (2, -1)).transpose(0, 1),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("event", EVENTS)
def test_a_sample_does_not_see_its_batch(method, event):
    """Bit for bit, in float64: over batch sizes, rows alone, subsets, threads, tiles and orders of calls."""
    draw, n = METHODS[method], 33 if math.prod(event) < 100 else 24
    rng = Rng.of(3, n).at("t")
    whole = draw(rng, like(n, event))
    for b in (1, 2, 3, 5, 8, 17):
        assert torch.equal(draw(Rng.of(3, b).at("t"), like(b, event)), whole[:b])
        assert torch.equal(draw(Rng.of(3, b, start=n - b).at("t"), like(b, event)), whole[n - b :])
    mask = torch.arange(n) % 3 == 1
    for rows in (slice(3, 4), slice(2, None, 5), torch.tensor([9, 0, 9, -1]), mask, [4, 2]):
        part = rng.index(rows)
        assert torch.equal(draw(part, like(part.size, event)), whole[rows])
    threads = torch.get_num_threads()
    try:
        for k in (1, 3):
            torch.set_num_threads(k)
            assert torch.equal(draw(rng, like(n, event)), whole)
    finally:
        torch.set_num_threads(threads)


def test_tiles_change_no_bits():
    """More blocks than one tile holds, along the rows and along the event."""
    n = 2**16 * torch.get_num_threads() + 5
    long = Rng.of(0, 3).normal(like(3, (n,)))
    assert torch.equal(long[:, :64], Rng.of(0, 3).normal(like(3, (64,))))
    assert torch.equal(long[2:], Rng.of(0, 1, start=2).normal(like(1, (n,))))
    tall = Rng.of(0, n).normal(like(n, (1,)))
    assert torch.equal(tall[-9:], Rng.of(0, 9, start=n - 9).normal(like(9, (1,))))


def test_padding_the_first_event_dimension_changes_nothing():
    for method in ("normal", "uniform", "gumbel", "exponential"):
        draw = METHODS[method]
        assert torch.equal(draw(Rng.of(1, 2), like(2, (9, 5)))[:, :4], draw(Rng.of(1, 2), like(2, (4, 5))))


def test_vector_width_changes_no_bits():
    """The same digest with torch's plain kernels as with this machine's widest ones."""
    code = (
        "import hashlib, torch; from suffuse.rng import Rng\n"
        "x = torch.zeros(5, 37, dtype=torch.float64); r = Rng.of(9, 5)\n"
        "print(hashlib.sha256(torch.stack([r.normal(x), r.uniform(x), r.gumbel(x)]).numpy().tobytes()).hexdigest())"
    )
    env = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    x, r = like(5, (37,)), Rng.of(9, 5)
    here = hashlib.sha256(torch.stack([r.normal(x), r.uniform(x), r.gumbel(x)]).numpy().tobytes()).hexdigest()
    assert there.strip() == here


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = Rng.of(0, 4).normal(like(4, (8,)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(Rng.of(0, 4).normal(like(4, (8,))), first)


def test_same_path_same_numbers_other_path_other_numbers():
    rng, x = Rng.of(0, 2), like(2, (16,))
    a = rng.at("a", 1).normal(x)
    assert torch.equal(rng.at("a").at(1).normal(x), a)
    assert torch.equal(rng.at("a", np.int64(1)).normal(x), a)
    streams = [
        rng.at(*p)
        for p in [(), ("a",), ("b",), (1,), ("1",), (-1,), ("a", 1), (1, "a"), ("a1",), ("i1;",), ("", ""), ("",)]
    ]
    streams += [rng.repeat(1), rng.pool().index([0, 0]), Rng.from_seeds([0, 0]), Rng.of(1, 2), Rng.of(2**32, 2)]
    drawn = [r.normal(x)[0] for r in streams]
    for i, u in enumerate(drawn):
        for v in drawn[:i]:
            assert not torch.isin(u, v).any()


def test_a_path_names_are_hashed_without_collisions():
    rng = Rng.of(0, 1)
    paths = [(i, j, s) for i in range(20) for j in range(20) for s in ("x", "y", 3)]
    drawn = torch.cat([rng.at(*p).integers(0, 2**32, 2) for p in paths])
    assert len({tuple(row) for row in drawn.tolist()}) == len(paths)


@pytest.mark.parametrize("dtype", FLOATS)
def test_lower_precision_is_the_rounding_of_float64(dtype):
    rng, x = Rng.of(5, 64), like(64, (1001,))
    for method in ("normal", "exponential", "gumbel"):
        assert torch.equal(METHODS[method](rng, x.to(dtype)), METHODS[method](rng, x).to(dtype))
    exact, got = rng.uniform(x), rng.uniform(x.to(dtype))
    step = torch.finfo(dtype).eps / 2
    assert got.dtype == dtype
    assert torch.equal(got.double(), (exact / step).floor() * step)


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_stays_in_its_interval(dtype):
    """All words: the smallest and the largest too, which a cast would round to 1."""
    bits = 1 - round(math.log2(torch.finfo(dtype).eps))
    for inside, low in ((False, 0.0), (True, 2.0**-bits)):
        ends = [_philox.fraction(torch.tensor([w]), torch.tensor([w]), bits, inside=inside) for w in (0, MASK)]
        assert [e.to(dtype).item() for e in ends] == [low, 1 - 2.0**-bits]
    x = like(64, (4096,), dtype)
    u, v = Rng.of(0, 64).uniform(x), Rng.of(0, 64).uniform(x, open_interval=True)
    assert u.min() >= 0
    assert u.max() < 1
    assert v.min() > 0
    assert v.max() < 1
    assert (v.double() - u.double()).abs().max() <= 2.0**-bits


@pytest.mark.parametrize(
    ("method", "law"),
    [("normal", stats.norm), ("uniform", stats.uniform), ("exponential", stats.expon), ("gumbel", stats.gumbel_r)],
)
def test_draws_follow_their_law(method, law):
    """Kolmogorov-Smirnov at 1e-4, and the first four moments within five of their standard errors.

    Along one event and across rows: the second sees the keys.
    """
    for shape in ((1, 400_000), (400_000, 1)):
        x = METHODS[method](Rng.of(11, shape[0]), like(shape[0], shape[1:])).flatten().numpy()
        assert stats.kstest(x, law.cdf).pvalue > 1e-4
        mean, variance, skew, kurtosis = law.stats(moments="mvsk")
        for k, expected in enumerate((0, 1, skew, kurtosis + 3), start=1):
            y = ((x - mean) / math.sqrt(variance)) ** k
            assert abs(y.mean() - expected) < 5 * y.std() / math.sqrt(len(y)), k


def test_normals_have_tails():
    """Counts beyond c sigma are Poisson; of 2e6 draws about 1.1 lie beyond 5."""
    x = Rng.of(2, 2).normal(like(2, (1_000_000,))).abs()
    for c in (2.0, 3.0, 4.0, 4.5):
        mean = 2e6 * 2 * stats.norm.sf(c)
        assert abs(int((x > c).sum()) - mean) < 5 * math.sqrt(mean)


def test_pairs_of_a_block_are_independent():
    """Chi-square of the angle and of both coordinates' ranks on a 16 x 16 grid."""
    x = Rng.of(4, 1).normal(like(1, (400_000,))).view(-1, 2)
    cells = (torch.special.ndtr(x) * 16).long()
    counts = torch.bincount(cells[:, 0] * 16 + cells[:, 1], minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_streams_are_uncorrelated():
    """Correlations of n independent draws are N(0, 1/n): the largest of m stays below its 1e-4 quantile."""
    n = 4096
    x = like(1, (n,))
    rng = Rng.of(0, 1)
    streams = {
        "rows": Rng.of(0, 48).normal(like(48, (n,))),
        "seeds": torch.cat([Rng.of(s, 1).normal(x) for s in range(48)]),
        "given seeds": Rng.from_seeds(range(48)).normal(like(48, (n,))),
        "steps": torch.cat([rng.at("step", i).normal(x) for i in range(48)]),
        "tags": torch.cat([rng.at(chr(97 + i)).normal(x) for i in range(26)]),
        "repeats": rng.repeat(48).normal(like(48, (n,))),
        "pools": torch.cat([Rng.of(0, b).pool().normal(x) for b in range(1, 49)]),
        "methods": torch.cat([f(rng, x) for m, f in METHODS.items() if m not in ("repeat", "permutation")]).double(),
        "shifts": torch.stack([torch.roll(rng.normal(x)[0], i) for i in range(24)]),
    }
    for name, rows in streams.items():
        m = len(rows) * (len(rows) - 1) // 2
        bound = stats.norm.isf(1e-4 / 2 / m) / math.sqrt(n)
        for values in (rows, rows**2):
            c = torch.corrcoef(values) - torch.eye(len(rows))
            assert c.abs().max() < bound, name


@pytest.mark.parametrize("span", [1, 2, 7, 100, 3 * 2**30])
def test_integers_are_uniform(span):
    k = Rng.of(0, 100).integers(-3, span - 3, 2000) + 3
    assert k.shape == (100, 2000)
    assert k.dtype == torch.int64
    assert k.min() >= 0
    assert k.max() < span
    if span > 1:
        bins = min(span, 100)
        assert (
            stats.chisquare(
                torch.bincount(k.flatten() * bins // span, minlength=bins).numpy(),
                [2e5 * (-(-(i + 1) * span // bins) - -(-i * span // bins)) / span for i in range(bins)],
            ).pvalue
            > 1e-4
        )


def test_integers_of_the_widest_span_are_the_words():
    w = torch.tensor([0, 1, 2**31, MASK])
    assert torch.equal(_philox.scaled(w.clone(), w.clone(), 2**32), w)
    assert Rng.of(0, 2).integers(-(2**63), 2**32 - 2**63).shape == (2,)


def test_permutations():
    p = Rng.of(0, 24_000).permutation(4)
    assert torch.equal(p.sort(1).values, torch.arange(4).expand(24_000, 4))
    counts = torch.bincount((p * torch.tensor([64, 16, 4, 1])).sum(1))
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-4
    assert (counts > 0).sum() == 24
    assert Rng.of(0, 3).permutation(0).shape == (3, 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_categorical_follows_its_probabilities(dtype):
    logits = torch.tensor([[0.0, 1.0, -1.0, -math.inf, 2.5], [-math.inf, 700.0, 700.5, -900.0, -math.inf]], dtype=dtype)
    n = 100_000
    k = Rng.of(0, 2).categorical(logits.unsqueeze(1).expand(2, n, 5))
    for row, p in zip(k, logits.double().softmax(-1), strict=True):
        counts = torch.bincount(row, minlength=5)
        live = p * n > 1e-9
        assert counts[~live].sum() == 0
        assert stats.chisquare(counts[live].numpy(), (p[live] / p[live].sum() * n).numpy()).pvalue > 1e-4


@pytest.mark.parametrize(("u", "index"), [(0.0, 1), (1 - 2.0**-53, 3)])
def test_categorical_at_the_ends_of_the_unit_interval(monkeypatch, u, index):
    """Neither end reaches the impossible categories beside it."""
    monkeypatch.setattr("suffuse.rng.fraction", lambda high, low, bits: torch.full_like(high, 1).double() * u)
    p = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.0], [0.0, 1.0, 1.0, 1.0, 0.0], [0.0, 7.0, 0.0, 1e-9, 0.0]])
    assert Rng.of(0, 3).categorical(p.log()).tolist() == [index] * 3


def test_categorical_dimensions_and_batch_invariance():
    logits = like(6, (5, 9)).normal_(generator=torch.Generator().manual_seed(0))
    rng = Rng.of(8, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        k = rng.categorical(logits)
        assert k.shape == (6, 5)
        assert torch.equal(rng.categorical(logits.transpose(1, 2), dim=1), k)
        assert torch.equal(rng.categorical(logits.transpose(1, 2), dim=-2), k)
    assert torch.equal(rng.index(slice(2, 3)).categorical(logits[2:3]), k[2:3])
    assert rng.categorical(logits[:, 0]).shape == (6,)
    assert rng.categorical(like(6, (3, 1))).sum() == 0


def test_repeat_orders_as_tensor_repeat_and_is_stable():
    rng, x = Rng.of(0, 3).at("p"), like(3, (4,))
    three = rng.repeat(3)
    assert three.size == 9
    assert three.path == rng.path
    assert torch.equal(three.keys[:6], rng.repeat(2).keys)
    assert torch.equal(rng.index([1]).repeat(3).keys, three.keys[1::3])
    assert not torch.equal(rng.at("q").repeat(3).keys, three.keys)
    assert len(torch.cat([three.keys, rng.keys]).unique(dim=0)) == 12
    same = Rng.cat([rng, rng]).normal(x.repeat(2, 1))
    assert torch.equal(same, rng.normal(x).repeat(2, 1))


def test_pool_depends_on_every_row_but_not_their_order():
    rng = Rng.of(0, 5).at("p")
    keys = rng.pool().keys
    assert keys.shape == (1, 2)
    assert torch.equal(rng.index([4, 2, 0, 1, 3]).pool().keys, keys)
    others = [rng.index([j for j in range(5) if j != i]).pool().keys for i in range(5)]
    others += [rng.at("q").pool().keys, Rng.cat([rng, rng]).pool().keys]
    assert len(torch.cat([keys, *others]).unique(dim=0)) == 8


def test_seed_serves_other_libraries():
    rng = Rng.of(0, 3)
    seeds = [rng.seed(), rng.at("x").seed(), rng.index([0, 1]).seed(), Rng.of(1, 3).seed()]
    assert len(set(seeds)) == 4
    assert all(isinstance(s, int) and 0 <= s < 2**63 for s in seeds)
    assert Rng.of(0, 3).seed() == seeds[0]
    torch.Generator().manual_seed(seeds[0])


def test_seeds():
    few, many = Rng.of(7, 3), Rng.of(7, 1000)
    assert torch.equal(many.keys[:3], few.keys)
    assert torch.equal(Rng.of(7, 2, start=2**33 + 5).keys, Rng.of(7, 7, start=2**33).keys[5:])
    assert len(torch.cat([Rng.of(s, 1000).keys for s in (0, 1, 2**32, 2**63)]).unique(dim=0)) == 4000
    given = Rng.from_seeds([5, 2**64 - 1, 5])
    assert torch.equal(given.keys[0], given.keys[2])
    assert torch.equal(given.keys, Rng.from_seeds(torch.tensor([5, -1, 5])).keys)
    assert torch.equal(given.keys[0], Rng.from_seeds(torch.tensor([5], dtype=torch.uint8)).keys[0])
    assert Rng.from_seeds([]).size == 0
    assert ((many.keys >= 0) & (many.keys < 2**32)).all()


def test_empty_batches_and_events():
    rng = Rng.of(0, 0)
    assert rng.normal(like(0, (3,))).shape == (0, 3)
    assert rng.categorical(like(0, (3,))).shape == (0,)
    assert rng.integers(0, 5, 2).shape == (0, 2)
    assert Rng.of(0, 2).uniform(like(2, (0, 3))).shape == (2, 0, 3)
    assert Rng.of(0, 2).index(torch.zeros(2, dtype=torch.bool)).size == 0
    assert Rng.of(0, 2).index([]).size == 0


def test_draws_work_in_any_torch_mode():
    rng, x = Rng.of(0, 2).at("a"), like(2, (6,), torch.float32)
    expected = rng.normal(x)
    assert expected.is_contiguous()
    with torch.inference_mode():
        assert torch.equal(Rng.of(0, 2).at("a").normal(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rng.normal(x), expected)
    drawn = rng.normal(x.clone().requires_grad_())
    assert not drawn.requires_grad
    assert torch.equal(rng.normal(like(6, (2,), torch.float32).T), expected)
    odd = rng.normal(like(2, (5,), torch.float32))
    assert odd.is_contiguous()
    assert torch.equal(odd, expected[:, :5])
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        assert torch.equal(rng.normal(x), expected)
    finally:
        torch.set_default_dtype(default)
    with torch.device("meta"):
        assert torch.equal(Rng.of(0, 2).at("a").normal(x), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: r.normal(like(3)), "2 rows.*\\(3,\\)"),
        (lambda r: r.normal(torch.zeros(())), "2 rows"),
        (lambda r: r.normal(torch.zeros(2, dtype=torch.int64)), "floating dtype, got torch.int64"),
        (lambda r: r.uniform(torch.zeros(2, dtype=torch.int64)), "floating dtype"),
        (lambda r: r.gumbel(torch.zeros(2, dtype=torch.complex64)), "complex64"),
        (lambda r: r.categorical(like(3, (4,))), "2 rows"),
        (lambda r: r.categorical(like(2)), "dim.*-1"),
        (lambda r: r.categorical(like(2, (3,)), dim=0), "dim.*0"),
        (lambda r: r.categorical(like(2, (0,))), "dim"),
        (lambda r: r.categorical(torch.tensor([[0.0, math.nan], [0.0, 0.0]])), "NaN"),
        (lambda r: r.categorical(torch.tensor([[0.0, math.inf], [0.0, 0.0]])), "inf"),
        (lambda r: r.categorical(torch.full((2, 3), -math.inf)), "finite"),
        (lambda r: r.integers(3, 3), "high.*got 3"),
        (lambda r: r.integers(0, 2**32 + 1), "high"),
        (lambda r: r.integers(0.0, 3), "low.*0.0"),
        (lambda r: r.integers(0, 3, -1), "size.*-1"),
        (lambda r: r.permutation(-1), "length"),
        (lambda r: r.repeat(-1), "repeats"),
        (lambda r: r.at(0.5), "path.*integer.*got 0.5"),
        (lambda r: r.at(True), "got True"),
        (lambda r: r.at(None), "got None"),
        (lambda r: r.index(2), "rows"),
        (lambda r: r.index([2]), "batch of 2"),
        (lambda r: r.index(torch.tensor([True])), "batch of 2"),
        (lambda r: r.index([0.0]), "float32"),
        (lambda r: r.index(slice(None, None, -1)), "batch of 2"),
        (lambda r: Rng.cat([r, r.at("x")]), "one path"),
        (lambda r: Rng.cat([]), "one path"),
        (lambda r: Rng.of(-1, 2), "seed.*-1"),
        (lambda r: Rng.of(2**64, 2), "seed"),
        (lambda r: Rng.of(1.5, 2), "seed.*1.5"),
        (lambda r: Rng.of(0, -2), "streams.*-2"),
        (lambda r: Rng.of(0, 2, start=-1), "start"),
        (lambda r: Rng.from_seeds([0, -1]), "seed.*-1"),
        (lambda r: Rng.from_seeds(torch.zeros(2)), "float32"),
        (lambda r: Rng(torch.zeros(2, 3, dtype=torch.int64)), "\\(2, 3\\)"),
        (lambda r: Rng(torch.zeros(2, 2)), "float32"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        call(Rng.of(0, 2))
    assert "\n" not in str(caught.value)
