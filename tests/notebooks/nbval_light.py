"""For nbval: compare what a light notebook keeps, so that figures, widgets and progress bars do not differ."""

import pytest
from nbval.plugin import IPyNbCell

from companion.classroom.light import light_outputs

compare_everything = IPyNbCell.compare_outputs


def compare_light(cell: IPyNbCell, test: list, ref: list, skip_compare=None) -> bool:
    return compare_everything(cell, light_outputs(test), light_outputs(ref), skip_compare)


@pytest.hookimpl
def pytest_configure(config) -> None:
    IPyNbCell.compare_outputs = compare_light
