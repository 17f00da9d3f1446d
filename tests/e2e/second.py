"""The second verifier as a module."""

import importlib.util

from chancery import ROOT

SECOND = ROOT / "export" / "chancery-verify.py"


def load():
    spec = importlib.util.spec_from_file_location("second", SECOND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


second = load()
