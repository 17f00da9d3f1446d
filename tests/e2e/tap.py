#!/usr/bin/env python3
"""Runs one file of unittest cases and prints TAP, a line when each ends.

usage: tap.py FILE [LIMIT-SECONDS]
"""

import faulthandler
import importlib.util
import pathlib
import sys
import time
import traceback
import unittest


class Result(unittest.TestResult):
    """`not ok 1 - name (1.2 s)`, then why, each line behind a `# `."""

    def startTest(self, test):
        super().startTest(test)
        self.started, self.verdict, self.why = time.monotonic(), "ok", ""
        self.details = []
        print("# %s" % test.id(), file=sys.stderr, flush=True)

    def stopTest(self, test):
        super().stopTest(test)
        line = "%s %d - %s (%.1f s)" % (
            self.verdict, self.testsRun, test.id(),
            time.monotonic() - self.started)
        print(line + self.why, flush=True)
        self.tell()

    def addError(self, test, error):
        super().addError(test, error)
        if isinstance(test, unittest.TestCase):
            self.verdict = "not ok"
            self.note(error)
        else:
            print("not ok - %s" % test, flush=True)
            self.details = []
            self.note(error)
            self.tell()

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.verdict = "not ok"
        self.note(error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.verdict = "not ok"
            self.details.append(str(subtest))
            self.note(error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if self._is_set_up_skip(test):
            print("ok - %s # SKIP %s" % (test, reason), flush=True)
        self.why = " # SKIP " + reason

    @staticmethod
    def _is_set_up_skip(test):
        return not isinstance(test, unittest.TestCase)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.verdict = "not ok"

    def note(self, error):
        """The traceback without unittest's own frames."""
        told = traceback.TracebackException(*error)
        told.stack = traceback.StackSummary.from_list(
            [f for f in told.stack if "/unittest/" not in f.filename])
        self.details += "".join(told.format()).splitlines()

    def tell(self):
        for line in self.details:
            print("# " + line)
        sys.stdout.flush()


def load(path):
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def main():
    if len(sys.argv) > 2:
        faulthandler.dump_traceback_later(float(sys.argv[2]), exit=False)
    suite = load(pathlib.Path(sys.argv[1]).resolve())
    result = Result()
    suite.run(result)
    print("1..%d" % result.testsRun)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
