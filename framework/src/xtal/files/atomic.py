"""Whole files or none: write beside the target, then rename."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xtal.errors import DataError


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without error.

    The temporary file keeps the suffix of the target. It is flushed to disk before the
    rename, so that a crash leaves the old file or the new one, never half of either.

    Raises
    ------
    DataError
        If the disk is full or the folder cannot be written; names the file.
    """
    path = Path(path)
    _remove_remains(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"The disk is full: {path} could not be written.",
                advice="Free some space or choose another folder, then run the same command again.",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT) and not path.parent.is_dir():
            raise DataError(f"The folder {path.parent} does not exist.", advice="Create it first.") from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise DataError(
                f"{path} cannot be written: {error.strerror}.", advice="Run in a folder that you may write to."
            ) from error
        raise
    finally:
        with suppress(OSError):  # a read-only file system refuses to remove what is not there, too
            temporary.unlink()


def _remove_remains(path: Path) -> None:
    """Remove what killed runs left of this file; temporary files of living processes stay."""
    for remains in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        pid = remains.name.removesuffix(f".part{path.suffix}").rpartition(".")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            remains.unlink(missing_ok=True)
