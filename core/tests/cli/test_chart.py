import math
import re

from suffuse.cli.chart import Point, chart
from suffuse.cli.report import command_lines


def spots(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="11"', svg)]


def test_equal_ratios_are_equal_distances_and_lower_values_lie_lower() -> None:
    points = [Point(number=i, series="a", x=10.0 * 2**i, y=3.0**i) for i in range(3)]
    (x0, y0), (x1, y1), (x2, y2) = spots(chart(points, x="NFE", y="FD"))
    assert math.isclose(x1 - x0, x2 - x1, abs_tol=0.2)
    assert math.isclose(y0 - y1, y1 - y2, abs_tol=0.2)
    assert x0 < x1
    assert y0 > y1  # SVG counts down the page


def test_no_point_hides_another() -> None:
    found = spots(chart([Point(number=i, series="a", x=10, y=1.0) for i in range(6)], x="x", y="y"))
    assert min(math.dist(a, b) for i, a in enumerate(found) for b in found[:i]) >= 21.9


def test_a_long_command_is_broken_before_options() -> None:
    assert command_lines(("list",)) == "suffuse list"
    words = ("sample", "a/b", "--set", "guidance=cfg/cfg", "--out", "a path", "--label", "0-9")
    assert (
        command_lines(words, width=46) == "suffuse sample a/b --set guidance=cfg/cfg \\\n  --out 'a path' --label 0-9"
    )
