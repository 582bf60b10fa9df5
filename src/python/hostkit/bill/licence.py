"""The licence that a distribution declares in its metadata."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

LONGEST_NAME = 60
"""What is longer is the text of a licence rather than its name."""

_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD-2-Clause": "BSD-2-Clause",
    "BSD-3-Clause": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT": "MIT",
    "MIT License": "MIT",
    "MIT OR Apache-2.0": "MIT OR Apache-2.0",
    "MIT license": "MIT",
    "MPL-2.0": "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSF-2.0": "PSF-2.0",
    "The MIT License (MIT)": "MIT",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""What leaves no doubt, as an expression of SPDX; "BSD" might be one of several."""


@dataclass(frozen=True)
class Licence:
    """What a distribution declares; nothing, if both are empty.

    `expression`: of SPDX, where that is certain.
    `names`: otherwise the names that it gives, any of which may apply.
    """

    expression: str | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def declared(cls, metadata: Message) -> "Licence":
        """The licence in the metadata of a wheel: the newest field wins, then what is certain."""
        if expression := metadata["License-Expression"]:
            return cls(str(expression))
        classifiers = tuple(_classifiers(metadata))
        field = " ".join(str(metadata["License"] or "").split())
        certain = _SPDX.get(field) if len(classifiers) <= 1 else None
        if certain is None and len(classifiers) == 1:
            certain = _SPDX.get(classifiers[0])
        if certain:
            return cls(certain)
        if classifiers:
            return cls(names=classifiers)
        is_name = field not in ("", "UNKNOWN") and len(field) <= LONGEST_NAME
        return cls(names=(field,) if is_name else ())

    def __str__(self) -> str:
        return self.expression or " / ".join(self.names) or "not declared"


def _classifiers(metadata: Message) -> Iterator[str]:
    for classifier in metadata.get_all("Classifier", []):
        kind, *_, name = str(classifier).split(" :: ")
        if kind == "License" and name != "OSI Approved":
            yield name
