from email.message import Message

import pytest

from hostkit.bill.licence import Licence

APACHE = "License :: OSI Approved :: Apache Software License"
BSD = "License :: OSI Approved :: BSD License"
MIT = "License :: OSI Approved :: MIT License"
PYTHON = "Programming Language :: Python"


def metadata(*classifiers: str, expression: str | None = None, field: str | None = None) -> Message:
    message = Message()
    for name, value in (("License-Expression", expression), ("License", field)):
        if value is not None:
            message[name] = value
    for classifier in classifiers:
        message["Classifier"] = classifier
    return message


@pytest.mark.parametrize(
    ("declared", "licence"),
    [
        (metadata(BSD, expression="MIT OR PSF-2.0", field="BSD"), "MIT OR PSF-2.0"),
        (metadata(MIT, field="The MIT License (MIT)"), "MIT"),
        (metadata(PYTHON, MIT), "MIT"),
        (metadata(MIT, field="MIT\nand a page of text, none of it a name"), "MIT"),
        (metadata(field="Apache 2.0"), "Apache-2.0"),
        (metadata(field="UNKNOWN"), "not declared"),
        (metadata(PYTHON, "License :: OSI Approved"), "not declared"),
        (metadata(field="words " * 20), "not declared"),
    ],
)
def test_a_licence_is_an_expression_of_spdx_where_that_is_certain(
    declared: Message, licence: str
) -> None:
    found = Licence.declared(declared)
    assert str(found) == licence
    assert found.names == ()


@pytest.mark.parametrize(
    ("declared", "names"),
    [
        (metadata(BSD, field="BSD"), ("BSD License",)),
        (metadata(field="BSD-like"), ("BSD-like",)),
        # It says one in the field, and lists two.
        (metadata(APACHE, MIT, field="MIT License"), ("Apache Software License", "MIT License")),
    ],
)
def test_what_may_mean_several_licences_keeps_its_name(
    declared: Message, names: tuple[str, ...]
) -> None:
    assert Licence.declared(declared) == Licence(names=names)
