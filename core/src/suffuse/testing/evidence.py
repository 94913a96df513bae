"""Evidence files: what `suffuse verify` measured of a plugin, and whether the source is still what was measured.

The file stands in the plugin's package as ``evidence.json``, so that it travels in the wheel. Nobody writes it by hand.
This module imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from suffuse.errors import SuffuseError, UnknownComponent
from suffuse.registry import Registry

__all__ = ["FILE", "TIERS", "package_of", "read", "source_hash", "status_of", "write"]

FILE = "evidence.json"
TIERS = ("contract", "exact", "claim", "parity")


def package_of(registry: Registry, plugin: str) -> Path:
    """The folder of a plugin's package. Imports nothing of it but its parents (it has none)."""
    entries = registry.find(plugin=plugin)
    if not entries:
        known = ", ".join(p.origin.key for p in registry.plugins())
        raise UnknownComponent(f"no installed plugin {plugin!r} with parts; there are {known}")
    name = entries[0].component.target.partition(":")[0].partition(".")[0]
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SuffuseError(f"{name}, which {plugin} names, is no package")
    return Path(next(iter(spec.submodule_search_locations)))


def source_hash(package: Path) -> str:
    """A hash of the package's Python files, by relative path and content."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def read(package: Path) -> dict[str, Any] | None:
    """What was measured, or None where nothing was. Raises ``SuffuseError`` for a file that is none of ours."""
    try:
        found = json.loads((package / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SuffuseError(f"{package / FILE} cannot be read ({error}): run suffuse verify again") from error
    if not isinstance(found, dict) or not isinstance(found.get("tiers"), dict):
        raise SuffuseError(f"{package / FILE} is no evidence: run suffuse verify again")
    return found


def write(package: Path, evidence: Mapping[str, Any]) -> Path:
    """Write the file at once or not at all."""
    text = json.dumps(evidence, indent=1, allow_nan=False, sort_keys=True) + "\n"
    try:
        handle, fresh = tempfile.mkstemp(dir=package, prefix=f".{FILE}-")
    except OSError as error:
        raise SuffuseError(f"cannot write {package / FILE} ({error.strerror}): install the plugin editable") from error
    with os.fdopen(handle, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(fresh, 0o644)
    os.replace(fresh, package / FILE)
    return package / FILE


def status_of(package: Path) -> Mapping[str, str]:
    """Each tier's status now: passed, failed, does not hold here, exempt, not run, or stale.

    A tier that was measured on another source is stale, whatever it said.
    """
    evidence = read(package)
    if evidence is None:
        return dict.fromkeys(TIERS, "not run")
    stale = evidence.get("source") != source_hash(package)
    told = {tier: evidence["tiers"].get(tier, {}).get("status", "not run") for tier in TIERS}
    return {tier: "stale" if stale and said not in ("not run", "exempt") else said for tier, said in told.items()}
