"""The second verifier as a module."""

import importlib.util
import sys

from chancery import ROOT

SECOND = ROOT / "export" / "chancery-verify.py"


def load():
    spec = importlib.util.spec_from_file_location(
        "chancery_verify", SECOND)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(SECOND.parent))    # as for who runs it
    sys.modules["chancery_verify"] = module
    spec.loader.exec_module(module)
    return module


second = load()
