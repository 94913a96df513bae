"""Specs: parts as plain data, ``{"use": "edm/heun", "with": {"steps": 18}}``, and back.

The type of each setting says what may stand there. A setting whose type is a contract (``Grid``,
``tuple[Guidance, ...]``, ``Backbone | None``) holds a spec, or the bare reference ``"edm/heun"`` for a part with its
defaults. A system's spec has a part's spec for each of its fields. Importing this package imports no torch.
"""

from suffuse.spec.compose import check_spec, compose
from suffuse.spec.files import dump_json, dump_toml, load_json, load_toml
from suffuse.spec.overrides import override
from suffuse.spec.reading import structure
from suffuse.spec.settings import SettingInfo, describe
from suffuse.spec.writing import unstructure

__all__ = [
    "SettingInfo",
    "check_spec",
    "compose",
    "describe",
    "dump_json",
    "dump_toml",
    "load_json",
    "load_toml",
    "override",
    "structure",
    "unstructure",
]
