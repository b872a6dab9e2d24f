"""Problems are collected, and shown all at once, however many there are."""

import pytest

from cellmemory.cells.faults import ReadingError
from cellmemory.errors import InputError, Problems, first_ids, shortened


def test_problems_are_collected_and_the_work_goes_on():
    problems, done = Problems(["before"]), []
    with problems.collect():
        raise InputError(["one", "two"])
    with problems.collect():
        done.append("good")
    with problems.collect():
        raise ReadingError("three")
    assert (problems, done) == (["before", "one", "two", "three"], ["good"])
    with pytest.raises(InputError) as error:
        problems.raise_any()
    assert error.value.problems == ["before", "one", "two", "three"]
    assert str(error.value) == "before\none\ntwo\nthree"


def test_nothing_else_is_collected():
    problems = Problems()
    with pytest.raises(KeyError), problems.collect():
        raise KeyError("a bug")
    problems.raise_any()


def test_long_lists_are_shortened():
    problems = [f"problem {i}" for i in range(25)]
    assert shortened(problems[:20]) == problems[:20]
    assert shortened(problems) == [*problems[:20], "... and 5 more problems (25 in all)."]
    assert first_ids(range(7)) == "'0', '1', '2', '3', '4', ..."
