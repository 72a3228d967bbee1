"""The end of a step: what its files hold is written, wherever they were opened."""

import gc
import gzip
import io
import zipfile

import pytest

from wflo.runner import finish


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    gc.unfreeze()
    finish._before.clear()


def opened(path, mode):
    file = open(path, mode)  # noqa: SIM115 - what is not closed is what this is about
    file.write("kept" if "b" not in mode else b"kept")
    return file


@pytest.mark.parametrize("mode", ["w", "wb", "w+b"])
def test_a_file_is_flushed_that_was_opened_before_or_after_the_rest_was_set_apart(tmp_path, mode):
    early = opened(tmp_path / "early", mode)
    finish.set_apart()
    between = opened(tmp_path / "between", mode)
    finish.set_apart()
    late = opened(tmp_path / "late", mode)
    assert {path.read_text() for path in tmp_path.iterdir()} == {""}, "nothing to flush"
    finish.flush()
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["kept"] * 3
    for file in (early, between, late):
        file.close()


def test_what_is_set_apart_is_not_looked_through_again():
    finish.set_apart()
    assert len(gc.get_objects()) < 500, "the whole library is looked through at the end of each step"


def test_a_file_that_is_gone_or_closed_meanwhile_is_no_trouble(tmp_path):
    kept, gone = opened(tmp_path / "kept", "w"), opened(tmp_path / "gone", "w")
    finish.set_apart()
    kept.close()
    del gone
    finish.flush()
    assert (tmp_path / "gone").read_text() == "kept"


class Own(io.TextIOWrapper):
    """A kind of file of the user's own."""


def test_files_of_a_kind_of_ones_own_and_behind_a_freeze_of_ones_own_are_flushed(tmp_path):
    finish.set_apart()
    own = Own(open(tmp_path / "own", "wb"))  # noqa: SIM115 - what is not closed is what this is about
    own.write("kept")
    frozen = opened(tmp_path / "frozen", "w")
    gc.freeze()
    finish.flush()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"kept"}
    own.close()
    frozen.close()


def test_an_archive_that_nobody_closed_has_its_end(tmp_path):
    finish.set_apart()
    packed = gzip.open(tmp_path / "a.gz", "wb")  # noqa: SIM115 - as above
    packed.write(b"kept")
    archive = zipfile.ZipFile(tmp_path / "a.zip", "w")
    archive.writestr("inside", "kept")
    finish.flush()
    with gzip.open(tmp_path / "a.gz") as file:
        assert file.read() == b"kept"
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.read("inside") == b"kept"
