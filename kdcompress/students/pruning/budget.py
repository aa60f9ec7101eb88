"""How small or how fast a student is to be: `30MB`, `0.25x`, `rtf:0.5x`."""

import re
from dataclasses import dataclass
from typing import Literal

from kdcompress.errors import ConfigError

_SIZE = re.compile(r"([0-9.]+)\s*(kB|MB|GB)", re.IGNORECASE)
_SHARE = re.compile(r"(rtf:)?([0-9.]+)x")
_UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9}


@dataclass(frozen=True)
class Budget:
    """What a student may cost.

    Attributes:
        kind: `bytes` of its weights in float32, or `time` of a forward pass on one thread of this machine.
        share: of the teacher's; None where bytes are given.
        bytes: how many; None where a share is given.
    """

    kind: Literal["bytes", "time"]
    share: float | None = None
    bytes: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read one.

        Raises:
            ConfigError: it is none, or not below the teacher's cost.
        """
        found: Budget | None = None
        try:
            if match := _SIZE.fullmatch(text.strip()):
                found = cls("bytes", bytes=int(float(match[1]) * _UNITS[match[2].lower()]))
            elif match := _SHARE.fullmatch(text.strip()):
                found = cls("time" if match[1] else "bytes", share=float(match[2]))
        except ValueError:  # 1.2.3
            found = None
        if found is None or found.bytes == 0 or (found.share is not None and not 0 < found.share < 1):
            raise ConfigError(
                f"budget {text!r}: expected bytes (30MB), or a share of the teacher's bytes (0.25x) "
                "or of its time on this machine (rtf:0.5x), below one"
            )
        return found

    def of(self, teacher: int) -> float:
        """Return the share of a teacher of so many bytes.

        Raises:
            ConfigError: the teacher is no larger.
        """
        share = self.share if self.bytes is None else self.bytes / teacher
        assert share is not None
        if share >= 1:
            raise ConfigError(f"the teacher has {teacher / 1e6:.2f} MB, which is within the budget already")
        return share
