"""With 220 plugins installed, listing them is quick and imports no torch."""

import json
import subprocess
import sys
from pathlib import Path


def test_listing_is_quick_and_torch_free() -> None:
    script = Path(__file__).parent / "bench" / "loading.py"
    done = subprocess.run([sys.executable, script, "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    # The core is a plugin too, with parts of its own.
    assert result["said"].startswith("221 plugins, ")
    assert int(result["said"].split()[2]) >= 4 * 220
    assert result["faults"] == ""
    assert result["torch"] == ""
    assert result["list"] < 0.25
