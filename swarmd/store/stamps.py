"""What tells whether a file is still the one that was read: its size, times and inode.

Invariant: a stamp taken from a descriptor after reading, equal to one taken at least SETTLE_PERIOD after
the file last changed and before reading, vouches for every byte in between. The change time is in it
because nothing but the kernel sets that one.

The device is kept, and differs more often than the file does: its number is given out anew when a system
starts, a disk is plugged in again or a snapshot is mounted. While a process reads, a new device is a new file
(`matches`). Between two readings it is passed over (`vouches_for`, `is_as`): a file that has been written
since has another change time, to the nanosecond, and one on another file system that agrees in inode, size
and both times is a copy of its blocks, hence the same bytes.

It does not see what a memory mapping writes until the kernel writes it back, nor changes on file systems
that keep times in whole seconds (FAT, some network ones). Peers check hashes all the same: what is missed
here costs a transfer, not a wrong byte.
"""

from __future__ import annotations

import os
import sys
from array import array
from typing import NamedTuple

from swarmd.core.errors import LocalError

SETTLE_PERIOD = 0.02
"""Seconds: two of the coarsest ticks in which a kernel stamps files (100 Hz; finer since Linux 6.13)."""
_COLUMNS = "QqqQQ"
_STAMP_BYTES = 8 * len(_COLUMNS)
_DEVICE = 4  # the last column


class FileStamp(NamedTuple):
    """All zero for a folder or a link. A tuple: there is one for each file of a share."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileStamp:
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)

    def is_as(self, other: FileStamp) -> bool:
        """Equal but for the device."""
        return self[:_DEVICE] == other[:_DEVICE]


NO_STAMP = FileStamp(0, 0, 0, 0, 0)


class StampTable:
    """A stamp for every entry of an EntryTable, by the same index; NO_STAMP for what is no file. 40 bytes
    each."""

    __slots__ = ("_columns",)

    def __init__(self) -> None:
        self._columns = [array(code) for code in _COLUMNS]

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, index: int) -> FileStamp:
        size, mtime, ctime, inode, device = self._columns
        return FileStamp(size[index], mtime[index], ctime[index], inode[index], device[index])

    def __eq__(self, other: object) -> bool:
        return self._columns == other._columns if isinstance(other, StampTable) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def append(self, stamp: FileStamp) -> None:
        """The next entry's: NO_STAMP for what is no file."""
        for column, value in zip(self._columns, stamp, strict=True):
            column.append(value)

    def append_of(self, stat: os.stat_result) -> None:
        """append(FileStamp.of(stat)), at half the cost."""
        size, mtime, ctime, inode, device = self._columns
        size.append(stat.st_size)
        mtime.append(stat.st_mtime_ns)
        ctime.append(stat.st_ctime_ns)
        inode.append(stat.st_ino)
        device.append(stat.st_dev)

    def matches(self, index: int, stat: os.stat_result) -> bool:
        """Is `stat` that of the same file, unchanged? Comparing FileStamps costs twice this."""
        size, mtime, ctime, inode, device = self._columns
        return (
            ctime[index] == stat.st_ctime_ns
            and mtime[index] == stat.st_mtime_ns
            and size[index] == stat.st_size
            and inode[index] == stat.st_ino
            and device[index] == stat.st_dev
        )

    def vouches_for(self, index: int, stat: os.stat_result) -> bool:
        """`matches`, whatever the device."""
        size, mtime, ctime, inode, _ = self._columns
        return (
            ctime[index] == stat.st_ctime_ns
            and mtime[index] == stat.st_mtime_ns
            and size[index] == stat.st_size
            and inode[index] == stat.st_ino
        )

    def is_as(self, other: StampTable) -> bool:
        """Equal but for the devices."""
        return self._columns[:_DEVICE] == other._columns[:_DEVICE]

    def devices(self) -> array[int]:
        """A copy of that column."""
        return self._columns[_DEVICE][:]

    def with_devices(self, devices: array[int]) -> StampTable:
        """The same but for the devices; this table itself when those are the same too."""
        if devices == self._columns[_DEVICE]:
            return self
        table = StampTable()
        table._columns = [*self._columns[:_DEVICE], devices]
        return table

    def newest_change(self) -> float:
        """The latest change time in seconds since 1970; 0.0 without files."""
        return max(self._columns[2], default=0) / 1e9

    def encode(self) -> bytes:
        """For this machine's own database, little-endian."""
        return b"".join(map(_little_endian, self._columns))

    @classmethod
    def decode(cls, data: bytes) -> StampTable:
        """LocalError when `encode` never gave this."""
        if len(data) % _STAMP_BYTES:
            raise LocalError("the stored stamps of a share are damaged: share it again")
        table = cls()
        column_bytes = len(data) // len(_COLUMNS)
        for number, column in enumerate(table._columns):
            column.frombytes(data[number * column_bytes : (number + 1) * column_bytes])
            if sys.byteorder == "big":
                column.byteswap()
        return table


def _little_endian(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column.tobytes()
