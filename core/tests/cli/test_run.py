import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from suffuse.cli.report import Column, Exhibit, Section, Step, Story, page
from suffuse.spec import load_json

STORY = """
title = "Squares & <others>"
text = ["With `code` in it."]
[[column]]
metric = "distance"
title = "FD"
better = "lower"
[[section]]
title = "Samples"
[[section.step]]
title = "Six steps"
command = ["sample", "toy/squares", "--n", "20", "--score", "toy/distance", "--reference", "toy/rows"]
[[section.step]]
title = "Two steps"
command = ["sample", "toy/squares", "--n", "20", "--set", "sampler.steps=2", "--score", "toy/distance", "--reference", "toy/rows"]
[[section.step]]
title = "Real rows"
command = ["sample", "toy/rows", "--n", "20", "--score", "toy/distance", "--reference", "toy/rows"]
[[section]]
title = "Others"
[[section.step]]
title = "A task"
command = ["run", "toy/describe", "--on", "toy/squares"]
[[section.step]]
title = "A list"
command = ["list", "--kind", "sampler"]
"""  # noqa: E501


def test_a_task_leaves_its_numbers_tables_pictures_and_states(suffuse, toy: Path) -> None:
    status, out, err = suffuse("run", "toy/describe", "--on", "toy/squares", "--input", "n=3", "--out", "d")
    assert (status, err) == (0, "")
    assert "toy/describe on toy/squares: " in out
    assert re.search(r"^  sample +mean$", out, re.MULTILINE)
    assert sorted(p.name for p in (toy / "d").iterdir()) == ["first.png", "means.csv", "result.json", "x.safetensors"]
    record = load_json(toy / "d/result.json")
    assert record["inputs"] == {"n": 3}
    means = [row["mean"] for row in record["tables"]["means"]]
    assert record["metrics"]["mean"] == pytest.approx(sum(means) / 3)
    assert (toy / "d/means.csv").read_text().splitlines()[0] == "sample,mean"
    assert Image.open(toy / "d/first.png").size == (56 * 12, 56 * 12)
    # The default folder and the seed.
    assert suffuse("run", "toy/describe", "--on", "toy/squares", "--seed", "1", "--json")[0] == 0
    assert load_json(toy / "out/describe/result.json")["metrics"] != record["metrics"]


class _Page(HTMLParser):
    """Tags in balance, and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_file_becomes_one_page_with_everything_in_it(suffuse, toy: Path) -> None:
    (toy / "story.toml").write_text(STORY)
    status, out, err = suffuse("run", "story.toml", "--out", "d")
    assert (status, err) == (0, "")
    assert "[2/5] suffuse sample toy/squares --n 20 --set sampler.steps=2 " in out
    assert out.splitlines()[-1].endswith("report: d/report.html")
    names = sorted(p.name for p in (toy / "d").iterdir() if p.suffix == ".png")
    assert names == ["01-six-steps.png", "02-two-steps.png", "03-real-rows.png"]
    text = (toy / "d/report.html").read_text()
    addresses = _Page(text).addresses
    assert len(addresses) == 4
    assert all(a.startswith("data:image/png;base64,") for a in addresses)
    assert "http" not in text
    assert "<h1>Squares &amp; &lt;others&gt;</h1>" in text
    assert "<p>With <code>code</code> in it.</p>" in text
    assert "suffuse sample toy/squares --n 20 --set sampler.steps=2 \\\n  --score toy/distance --reference" in text
    assert "toy/euler" in text.split("suffuse list")[0]
    records = load_json_list(toy / "d/report.json")
    assert [r["pipeline"] for r in records] == ["toy/squares", "toy/squares", "toy/rows", "toy/squares"]


def load_json_list(path: Path) -> list:
    return json.loads(path.read_text())


def _scored(title: str, distance: float, nfe: float, **more) -> Exhibit:
    record = {"pipeline": "a/b", "parts": {"sampler": "a/c (x=1)", "steps": 3}, "nfe": nfe, "seconds": 1.0, "n": 7}
    return Exhibit(step=Step(title=title, command=("list",)), record={**record, "metrics": {"d": distance}, **more})


def test_the_table_marks_the_best_and_keeps_real_data_out_of_competition() -> None:
    steps = (Step(title="x", command=("list",)),) * 3
    column = Column(metric="d", title="FD", better="lower")
    story = Story(title="t", column=(column,), section=(Section(title="s", step=steps),))
    exhibits = {
        (0, 0): _scored("real", 0.5, 0, parts={}),
        (0, 1): _scored("one", 2.0, 8),
        (0, 2): _scored("two", 3.0, 4),
    }
    text = page(story, exhibits, seconds=1)
    body = re.findall(r"<tr.*?</tr>", text.split("<tbody>")[1])
    best = [re.findall(r'<td class="num best">(.*?)</td>', row) for row in body]
    assert best == [["1.00", "2.00"], ["4", "1.00"], []]
    assert body[2].startswith('<tr class="floor">')
    assert "Each row has 7 samples." in text
    assert "<code>a/c</code><small>x=1</small>" in body[0]


FILES = [
    ("", "this setting is required @ title"),
    ("title = 'x'", "expected at least one section with at least one step, got none"),
    ("title = 'x'\nsection = 3", "expected list of Section, got int 3 @ section"),
    (STORY.replace('"list"', '"lst"'), "expected one of the commands list, "),
    (STORY.replace('"--kind"', '"--kin"'), "unrecognized arguments: --kin sampler (see suffuse list --help)"),
    (STORY.replace('"toy/describe"', '"story.toml"'), "a file of commands cannot run another one @ section.1.step.0"),
    (STORY.replace("steps=2", "steps=0"), "steps must be at least 1, got 0 @ section.0.step.1.sampler.steps"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), FILES, ids=[message[:30] for _, message in FILES])
def test_mistakes_in_a_file_say_where(suffuse, toy: Path, text: str, message: str) -> None:
    (toy / "story.toml").write_text(text)
    status, _, err = suffuse("run", "story.toml", "--out", "d")
    assert status == 2
    assert err.startswith(f"suffuse: error: {message}")
    assert err.count("\n") == 1
    assert not (toy / "d/report.html").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["toy/describe"], "--on says which pipeline toy/describe runs on"),
        (["toy/descrbe", "--on", "toy/squares"], "unknown task 'toy/descrbe'; did you mean toy/describe?"),
        (["toy/describe", "--on", "toy/rows"], "expected weights, got the dataset toy/rows"),
        (["toy/describe", "--on", "toy/squares", "--input", "n"], "--input takes KEY=VALUE, each key once; got 'n'"),
        (["toy/describe", "--on", "toy/squares", "--input", "m=3"], "unknown inputs ['m']; this task takes n"),
        (["toy/describe", "--on", "toy/squares", "--set", "sampler.steps=0"], "steps must be at least 1, got 0"),
        (["none.toml"], "cannot read none.toml: No such file or directory"),
        (["none.toml", "--on", "toy/squares"], "none.toml says itself what runs"),
        (["toy/describe", "--on", "toy/squares", "--out", "x.txt/a"], "cannot write to x.txt/a: "),
        (["toy/describe", "--on", "toy/squares", "--seed", "-1"], "--seed must lie in 0 to 2**64 - 1, got -1"),
    ],
)
def test_mistakes_are_one_line(suffuse, toy: Path, argv: list[str], message: str) -> None:
    (toy / "x.txt").write_text("")
    status, out, err = suffuse("run", *argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"suffuse: error: {message}")
    assert err.count("\n") == 1
