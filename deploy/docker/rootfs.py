"""Puts together the files of the image: the interpreter, the packages, and what they load, and nothing else.

Run by the Dockerfile as root, in the stage that has everything. What is copied keeps its path, so that nothing has to
be rewritten. The libraries are those that the loader names for each program and extension (`ldd`); of the Debian
packages that they come from a record is kept where scanners look for it.
"""

import argparse
import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

USER = 10001
# Of the standard library: what shows windows, steers terminals, reads old databases, installs packages or tests Python.
NOT_OF_THE_LIBRARY = (
    *("ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter", "turtledemo"),
    *("config-*", "turtle.py", "__pycache__", "*.a", "_test*.so", "_ctypes_test*.so", "xxlimited*.so"),
    *("_curses*.so", "_dbm*.so", "_gdbm*.so", "_tkinter*.so", "nis*.so", "ossaudiodev*.so", "readline*.so"),
)
# Of the packages: what the web framework has for its own command line and for examples in descriptions. The service
# uses neither; left in, the first would be loaded all the same, by whoever finds it there, into every process.
NOT_OF_THE_PACKAGES = ("faker", "markdown_it", "mdurl", "polyfactory", "pygments", "rich", "rich_click")
SCRIPTS = {"kalguard", "kalguard-sidecar", "python", "python3"}
SYSTEM_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/os-release", "/usr/lib/os-release")
ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/:/nologin\nkalguard:x:{USER}:{USER}:KalGuard:/:/nologin\n",
    "etc/group": f"root:x:0:\nkalguard:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# folder -> mode and owner; the last two are the service's own
FOLDERS = {
    "tmp": (0o1777, 0),
    "policy": (0o755, 0),
    "var/log/kalguard": (0o750, USER),
    "var/lib/kalguard": (0o700, USER),
}


def main() -> None:
    """Make the tree. Raises on anything that is not as expected: then there is no image."""
    options = read_options()
    root: Path = options.into
    interpreter = Path(sys.executable).resolve()
    copy_python(interpreter, root)
    write_sbom(options.sbom_tool, options.venv, root / "usr/share/sbom")
    copy_packages(options.venv, root)
    libraries = set(libraries_of(root))
    for path in [*libraries, *map(Path, SYSTEM_FILES)]:
        copy_file(path, root)
    strip(root)
    record_debian_packages(libraries, root)
    for name, content in ACCOUNTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    for name, (mode, owner) in FOLDERS.items():
        make_folder(root / name, mode, owner)
    (root / "etc/ld.so.conf").write_text("".join(f"{folder}\n" for folder in sorted({it.parent for it in libraries})))
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True)
    compile_all(root)
    # Whatever is missing is noticed here rather than by whoever runs the image.
    subprocess.run(["chroot", str(root), f"{options.venv}/bin/kalguard", "health", "--help"], check=True)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Put together the files of the image.")
    parser.add_argument("--venv", type=Path, required=True, help="environment with the packages")
    parser.add_argument("--sbom-tool", required=True, help="cyclonedx-py")
    parser.add_argument("--into", type=Path, required=True, help="folder to make")
    return parser.parse_args()


def copy_python(interpreter: Path, root: Path) -> None:
    """The interpreter by all its names, its shared library if it has one, and the standard library."""
    prefix = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    copy_file(interpreter, root)
    for name in ("python3", "python"):
        link = root / str(prefix / "bin" / name).lstrip("/")
        link.symlink_to(interpreter.name)
    library = prefix / "lib" / version
    shutil.copytree(
        library, root / str(library).lstrip("/"), symlinks=True, ignore=shutil.ignore_patterns(*NOT_OF_THE_LIBRARY)
    )


def copy_packages(venv: Path, root: Path) -> None:
    """The environment, without the programs that its packages bring and the packages that are never imported."""
    target = root / str(venv).lstrip("/")
    shutil.copytree(venv, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "include"))
    for script in (target / "bin").iterdir():
        if script.name not in SCRIPTS:
            script.unlink()
    for name in NOT_OF_THE_PACKAGES:
        packages = target.glob("lib/python3*/site-packages/*")
        found = [path for path in packages if imported_as(path.name.split("-")[0]) == name]
        if not found:
            raise SystemExit(f"{name} is not there: it need not be left out any more")
        for path in found:
            shutil.rmtree(path)


def imported_as(distribution: str) -> str:
    """The module of a package that is left out, by the package's name."""
    name = distribution.lower().replace("-", "_")
    return "markdown_it" if name == "markdown_it_py" else name


def write_sbom(tool: str, venv: Path, folder: Path) -> None:
    """CycloneDX lists: of the Python packages that stay, and the one that the wheel has of what is compiled into it."""
    folder.mkdir(parents=True)
    output = folder / "python.cdx.json"
    subprocess.run([tool, "environment", "--output-reproducible", "--output-file", str(output), str(venv)], check=True)
    output.write_text(json.dumps(without_what_is_cut(json.loads(output.read_text())), indent=2))
    rust = list(venv.glob("lib/python3*/site-packages/kalguard-*.dist-info/sboms/*.json"))
    if not rust:
        raise SystemExit("the wheel has no list of its Rust packages")
    for path in rust:
        shutil.copy(path, folder / f"rust-{path.name}")


def without_what_is_cut(listed: dict[str, Any]) -> dict[str, Any]:
    """A CycloneDX list less the packages that are not copied. It has to have all of them."""
    cut = {it["bom-ref"]: it["name"] for it in listed["components"] if imported_as(it["name"]) in NOT_OF_THE_PACKAGES}
    if {imported_as(name) for name in cut.values()} != set(NOT_OF_THE_PACKAGES):
        raise SystemExit(f"of what is left out only this is in the list: {sorted(cut.values())}")
    components = [it for it in listed["components"] if it["bom-ref"] not in cut]
    dependencies = [
        {**it, "dependsOn": [ref for ref in it["dependsOn"] if ref not in cut]} if "dependsOn" in it else it
        for it in listed["dependencies"]
        if it["ref"] not in cut
    ]
    return {**listed, "components": components, "dependencies": dependencies}


def strip(root: Path) -> None:
    """Take out what only debuggers read."""
    files = [str(path) for path in compiled_in(root)]
    subprocess.run(["strip", "--strip-unneeded", *files], check=True)


def compiled_in(root: Path) -> Iterator[Path]:
    """Programs and shared libraries."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def libraries_of(root: Path) -> Iterator[Path]:
    """Whatever the loader would load for what is in `root`, the loader itself included, by its path outside."""
    for path in compiled_in(root):
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        if "not found" in listed:
            raise SystemExit(f"{path}: a library is missing:\n{listed}")
        for line in listed.splitlines():
            name = line.split("=>")[-1].split("(")[0].strip()
            if name.startswith("/") and not name.startswith(str(root)):
                yield Path(name)


def copy_file(path: Path, root: Path) -> None:
    """A file under the same path, with every link on the way made a link there too."""
    target = root / str(path).lstrip("/")
    if target.exists() or target.is_symlink():
        return
    real = path.parent.resolve() / path.name
    if real != path:  # /lib is a link to /usr/lib
        copy_file(real, root)
        link_folder(path.parent, root)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(os.readlink(path))
        copy_file(path.parent / os.readlink(path), root)
        return
    shutil.copy2(path, target)


def link_folder(folder: Path, root: Path) -> None:
    """The link that is on the way to `folder`."""
    for part in [*reversed(folder.parents), folder]:
        if part.is_symlink():
            target = root / str(part).lstrip("/")
            if not target.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(os.readlink(part))
            return


def record_debian_packages(libraries: Iterable[Path], root: Path) -> None:
    """One file for each Debian package that something was copied from, where scanners of images look."""
    folder = root / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    for package in sorted({owner for library in libraries for owner in owners_of(library)}):
        status = subprocess.run(["dpkg-query", "--status", package], capture_output=True, text=True, check=True).stdout
        (folder / package.split(":")[0]).write_text(status)
        notice = Path("/usr/share/doc", package.split(":")[0], "copyright")
        if notice.exists():
            copy_file(notice, root)


def owners_of(library: Path) -> list[str]:
    """The Debian package that a file is from: none for Python's own, which was built by whoever made the base image."""
    names = {
        library,
        library.resolve(),
        *(Path(str(path).removeprefix("/usr")) for path in (library, library.resolve())),
    }
    for name in names:
        found = subprocess.run(["dpkg-query", "--search", str(name)], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return [found.stdout.split(": ", 1)[0].split(",")[0]]
    return []


def make_folder(folder: Path, mode: int, owner: int) -> None:
    """A folder that the service writes to, or finds its files in."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    os.chown(folder, owner, owner)


def compile_all(root: Path) -> None:
    """Byte code for everything: the image is read-only, and where the processor is scarce a start takes long enough."""
    for folder in (path for pattern in ("usr/local", "opt/*") for path in root.glob(f"{pattern}/lib/python3.*")):
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        if not compileall.compile_dir(folder, stripdir=root, prependdir="/", quiet=1, invalidation_mode=unchecked):
            raise SystemExit(f"{folder} cannot be compiled")


if __name__ == "__main__":
    main()
