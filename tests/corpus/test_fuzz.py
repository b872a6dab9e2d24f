"""A few cases of the fuzzer, so that it keeps running; `make fuzz` runs thousands."""

from pathlib import Path

import pytest

from tests.corpus.fuzz import Fuzzer


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(Path(tmp_path_factory.mktemp("fuzz")))


@pytest.mark.parametrize("number", range(40))
def test_damaged_files_are_read_or_refused(fuzzer, number):
    about, done, wrong = fuzzer.case(1, number)
    assert wrong is None, (about, done.output)
