"""Cloud gone mad, disks that are full, agents that want to go uncounted: faults that were found by looking for them."""

import time
from pathlib import Path

from tests.cloud import SIGNING_SECRET, cloud
from tests.sidecar.test_cloud import check, connected, sidecar
from tests.sidecar.test_cloud_usage import adds_up, events
from tests.support import token, until


def test_a_cloud_that_will_have_no_event_at_all_does_not_empty_the_spool(tmp_path: Path) -> None:
    """What answers 400 to everything may be a gateway in front of Cloud: that is an outage, not one bad event."""
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(tmp_path / "state")) as server:
        connected(server)
        stand_in.behaviour = "unacceptable"
        text = token(SIGNING_SECRET)
        for _ in range(150):
            assert check(server, text).status_code == 200
        until(lambda: events(server)["dropped"] > 0)
        time.sleep(4)
        account = events(server)
        assert adds_up(account)
        assert account["dropped"] <= 5
        assert server.log().count("will not have a usage event") <= 5
        stand_in.behaviour = "good"
        until(lambda: events(server)["spool"] < 100, 30)
