"""A CPU is chosen without importing torch where a machine plainly has no accelerator."""

import subprocess
import sys

import pytest
import torch
from unrolled_server.engine import DeviceUnavailableError, Engine, devices

HAS_ACCELERATOR = torch.accelerator.is_available()


def test_auto_reports_the_chosen_device():
    assert Engine().device == str(torch.accelerator.current_accelerator(check_available=True) or "cpu")


@pytest.mark.skipif(HAS_ACCELERATOR, reason="torch finds an accelerator here")
@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error(name):
    with pytest.raises(DeviceUnavailableError, match=f"device is '{name}'; torch finds no accelerator here"):
        Engine(device=name)


def test_a_torch_that_can_not_be_imported_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "unrolled_server.engine.torch_backend", None)
    with pytest.raises(DeviceUnavailableError, match=r"torch can't be imported \(.*\); install it again or"):
        Engine(device="cuda")


@pytest.mark.skipif(sys.platform != "linux", reason="device files are Linux's")
@pytest.mark.parametrize(
    ("file", "may_have"), [("nvidia0", True), ("kfd", True), ("nvme0", False), ("null", False)]
)
def test_files_of_drivers_show_where_an_accelerator_may_be(tmp_path, file, may_have):
    (tmp_path / file).touch()
    assert devices._may_have_accelerator(tmp_path) == may_have


@pytest.mark.skipif(devices._may_have_accelerator(devices.Path("/dev")), reason="there may be an accelerator")
def test_an_engine_of_a_plain_cpu_imports_no_torch():
    code = "import sys; from unrolled_server.engine import Engine; Engine(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
