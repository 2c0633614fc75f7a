"""An export to fill kits with, made once."""

import shutil

import pytest
from shipments import small_shipment

from hwnas.stages.export import shipped
from hwnas.stages.shipping import Choices, forms
from hwnas.storage import write_json


@pytest.fixture
def noise_shipment():
    """One to export, of any format."""
    return small_shipment()


@pytest.fixture(scope="session")
def whole_export(tmp_path_factory):
    """Every precision of both runtimes."""
    out = tmp_path_factory.mktemp("export")
    choices = Choices(forms("fp32,fp16,int8,int8_float_io,dynamic"), max_drop_points=None)
    write_json(out / "export.json", shipped(out, small_shipment(), choices))
    return out


@pytest.fixture
def exported_folder(whole_export, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(whole_export, tmp_path / "exported")
