"""What a service that is killed leaves in the folder for temporary files goes with the next start, and nothing else."""

from pathlib import Path

import pytest

from tests.support import GOOD_PROMPT, running


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of the services alone."""
    root = tmp_path / "temporary"
    root.mkdir()
    monkeypatch.setenv("TMPDIR", str(root))
    return root


def test_a_killed_one_s_folder_goes_with_the_next_start(temporary: Path, tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.process.kill()
        server.process.wait()
    (left,) = folders(temporary)
    with running(tmp_path):
        assert left not in folders(temporary)
        assert len(folders(temporary)) == 1
    assert folders(temporary) == set()


def test_a_living_one_s_stays_and_so_does_what_is_not_ours(temporary: Path, tmp_path: Path) -> None:
    (temporary / "kalguard-of-somebody").mkdir()
    (temporary / "kalguard-link").symlink_to(tmp_path)
    (tmp_path / "alive").touch()
    with running(tmp_path) as first:
        before = folders(temporary)
        with running(tmp_path):
            assert before < folders(temporary)
        assert folders(temporary) == before
        assert first.post("/v1/prompt/check", GOOD_PROMPT).status_code == 403  # it goes on deciding
    assert folders(temporary) == {"kalguard-of-somebody", "kalguard-link"}
    assert (tmp_path / "alive").exists()
