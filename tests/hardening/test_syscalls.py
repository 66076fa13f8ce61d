"""The list of system calls, the filters and the profile that are made of it."""

import json
import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from kalguard.cli.main import cli
from kalguard.cli.sidecar import sidecar
from kalguard.hardening.syscalls import ARCHITECTURES, Alternatives, Role, allowed, filters, oci_profile, syscalls

ROLES: tuple[Role, ...] = ("main", "worker", "runtime")
# What Python needs to come as far as its first line, and what no process of ours may do.
NEEDED = {"read", "write", "openat", "mmap", "futex", "getrandom", "exit_group", "rt_sigaction"}
NEVER = {
    "ptrace",
    "mount",
    "unshare",
    "setns",
    "bpf",
    "io_uring_setup",
    "keyctl",
    "memfd_create",
    "clone3",
    "personality",
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("role", ["main", "worker"])
def test_every_name_is_one_of_the_architecture(role: Role, network: bool, arch: str) -> None:
    # What makes the filters knows the kernel's tables, and refuses a name that is not in them.
    for program in filters(role, arch, network=network, unix=network):
        assert len(program) % 8 == 0
    assert set(allowed(role, arch, network=network)) >= NEEDED


def test_the_list_is_in_order() -> None:
    listed = syscalls()
    everything = [*listed.calls.items(), *listed.network.items(), *listed.unix.items()]
    assert [name for name, call in everything if not call.why.strip()] == []
    assert [name for name, call in everything if not (call.main or call.worker or call.runtime)] == []
    conditions = {named for _, call in everything for named in (call.main, call.worker) if isinstance(named, str)}
    assert conditions == set(listed.conditions)
    assert not set(listed.fatal) & {name for name, _ in everything}
    assert not set(listed.refused) & {name for name, _ in everything}
    # On a machine without a call there is something in its place, which the list has too.
    there = set(allowed("main", "aarch64")) | set(allowed("worker", "aarch64")) | set(allowed("runtime", "aarch64"))
    assert {call.arm64 for _, call in everything if call.arm64} <= there


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_worker_may_do_less_than_the_main_process(arch: str) -> None:
    main, worker = allowed("main", arch), allowed("worker", arch, network=False, unix=False)
    assert set(worker) < set(main)
    assert not {"execve", "fork", "vfork", "connect", "sendmmsg", "seccomp", "landlock_restrict_self"} & set(worker)
    assert worker["clone"] != main["clone"]
    for ways in ({}, {"network": False}, {"unix": False}):  # what the main process cannot do, a worker cannot either
        assert set(allowed("worker", arch, **ways)) < set(allowed("main", arch, **ways))
    assert set(worker["socket"]) < set(main["socket"]) | set(worker["socket"])
    assert "connect" in allowed("worker", arch, network=True, unix=False)
    assert "connect" in allowed("worker", arch, network=False, unix=True)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_is_never_needed_is_allowed_to_nobody(arch: str) -> None:
    for role in ROLES:
        assert not NEVER & set(allowed(role, arch))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_conditions_are_on_the_arguments_of_the_call_that_is_there(arch: str) -> None:
    # `openat` has one argument more than `open`, in whose place it is on arm64, so each has bounds of its own.
    conditions = syscalls().conditions
    for role in ("main", "worker"):
        assert allowed(role, arch)["openat"] == conditions["openat_without_set_id"]
    assert allowed("main", arch)["fchmodat"] == conditions["modeat_without_set_id"]


def test_the_profile_for_containers_holds_what_everybody_needs_and_denies_the_rest() -> None:
    profile = oci_profile()
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]
    *rules, refused = profile["syscalls"]
    assert refused == {
        "names": ["clone3"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 38,
    }
    assert {rule["action"] for rule in rules} == {"SCMP_ACT_ALLOW"}
    free = {name for rule in rules if "args" not in rule for name in rule["names"]}
    bound = {name for rule in rules if "args" in rule for name in rule["names"]}
    assert not free & bound
    everything: set[str] = set()
    for arch in ARCHITECTURES:
        for role in ROLES:
            everything |= set(allowed(role, arch))
    assert free | bound == everything
    assert {"capset", "execve", "setgroups"} <= free
    assert not NEVER & (free | bound)
    for rule in profile["syscalls"]:
        for argument in rule.get("args", []):
            assert set(argument) == {"index", "value", "valueTwo", "op"}
            assert argument["op"] == "SCMP_CMP_MASKED_EQ"


def test_alternatives_of_several_roles_are_all_there() -> None:
    clone = [rule for rule in oci_profile()["syscalls"] if rule["names"] == ["clone"]]
    by_role: list[Alternatives] = [allowed(role, "x86_64")["clone"] for role in ("main", "worker")]
    assert len(clone) == sum(map(len, by_role)) == 2


@pytest.mark.parametrize("command", [cli, sidecar])
def test_the_profile_is_printed_or_put_into_a_file_as_a_whole(command: object, tmp_path: Path) -> None:
    run = CliRunner().invoke
    printed = run(command, ["seccomp-profile"])  # type: ignore[arg-type]
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == oci_profile()
    file = tmp_path / "seccomp.json"
    file.write_text("before")
    before = file.stat().st_ino
    assert run(command, ["seccomp-profile", str(file)]).output == ""  # type: ignore[arg-type]
    assert file.read_text() == printed.stdout
    assert file.stat().st_ino != before
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_said() -> None:
    result = CliRunner().invoke(cli, ["seccomp-profile", "/nowhere/at/all.json"])
    assert result.exit_code == 1
    assert "/nowhere/at/all.json" in result.output


def test_what_a_link_names_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    file, link = tmp_path / "there.json", tmp_path / "link.json"
    file.write_text("before")
    link.symlink_to(file)
    assert CliRunner().invoke(cli, ["seccomp-profile", str(link)]).exit_code == 0
    assert link.readlink() == file
    assert json.loads(file.read_text()) == oci_profile()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert CliRunner().invoke(cli, ["seccomp-profile", str(pipe)]).exit_code == 0
    assert pipe.is_fifo()
    reader.join(10)
    assert json.loads(read[0]) == oci_profile()


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", refused)
    result = CliRunner().invoke(cli, ["seccomp-profile", str(tmp_path / "seccomp.json")])
    assert result.exit_code == 1
    assert "Operation not permitted" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_profile_for_elsewhere_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALGUARD_API_KEY", "kg_test_key")
    monkeypatch.setenv("KALGUARD_STATE_DIR", str(tmp_path / "state"))
    result = CliRunner().invoke(cli, ["os-profile", "macos"])
    assert f'(allow file-write* (subpath "{tmp_path}/state"))' in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_profile_for_a_collector_that_cannot_be_called_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:99999")
    result = CliRunner().invoke(cli, ["os-profile", "macos"])
    assert result.exit_code == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: the value given is not an http or https URL" in result.output


@pytest.mark.parametrize(("system", "expected"), [("macos", "(deny default)"), ("windows", "CreateJobObject")])
def test_what_confines_elsewhere_is_made_for_the_settings(
    system: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALGUARD_AUDIT_LOG_PATH", str(tmp_path / "audit.jsonl"))
    result = CliRunner().invoke(cli, ["os-profile", system])
    assert result.exit_code == 0
    assert expected in result.stdout
    assert (f'(allow file-write* (subpath "{tmp_path}"))' in result.stdout) == (system == "macos")
    assert ('(local tcp "*:9292")' in result.stdout) == (system == "macos")
