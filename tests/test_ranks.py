from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore

from hwnas import ranks
from hwnas.errors import UserError


def parts_of(store, count):
    """What each of so many processes gets that come at the same time."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda own: ranks._unused_part(store, own, count), range(count)))


def test_processes_that_start_again_share_a_part_without_what_those_before_them_wrote():
    store = HashStore()
    store.set("asks/1", "a process that died before it was answered")
    seen = []
    for start in range(3):
        parts = parts_of(store, 3)
        assert not any(part.check(["address"]) for part in parts)
        parts[start].set("address", str(start))
        seen.append([part.get("address").decode() for part in parts])
    assert seen == [["0"] * 3, ["1"] * 3, ["2"] * 3]


def test_processes_that_do_not_come_are_counted(monkeypatch):
    monkeypatch.setattr(ranks, "PATIENCE", ranks.timedelta(seconds=0.2))
    with pytest.raises(UserError, match=r"of 3 processes 2 did not come within 0:00:00\.2"):
        ranks._unused_part(HashStore(), 0, 3)
