"""Unknown environment variables and flags are reported with the setting that was probably meant."""

import pytest
from pydantic_settings import CliApp, SettingsError
from unrolled_server.observability.multiprocess import DIRECTORY_VARIABLE
from unrolled_server.settings import Settings
from unrolled_server.settings.environment import explain_flags, unknown_variables


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("UNROLLED_TOKEN", "UNROLLED_TOKENS"),  # the client has a variable of this name
        ("UNROLLED_TOKEN_FILE", "UNROLLED_TOKENS"),
        ("UNROLLED_TLS_CERT", "UNROLLED_TLS_CERTIFICATE"),
        ("UNROLLED_CERTIFICATE", "UNROLLED_TLS_CERTIFICATE"),
        ("UNROLLED_KEY", "UNROLLED_TLS_KEY"),
        ("UNROLLED_MAX_WORD", "UNROLLED_MAX_WORDS"),
        ("unrolled_max_word", "UNROLLED_MAX_WORDS"),
        ("UNROLLED_METRICS_PORT", "UNROLLED_METRICS_ADDRESS"),
        ("UNROLLED_PORT", "UNROLLED_ADDRESS"),
        ("UNROLLED_LOGLEVEL", "UNROLLED_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_reported_with_the_nearest_setting_and_without_its_value(name, nearest):
    (message,) = unknown_variables({name: "5ecret"})
    assert message == f"{name} is not a setting of the server and has no effect; did you mean {nearest}?"


def test_a_variable_that_resembles_no_setting_is_reported_without_a_suggestion():
    (message,) = unknown_variables({"UNROLLED_QQQQQQ": "1"})
    assert message == "UNROLLED_QQQQQQ is not a setting of the server and has no effect"


def test_settings_and_variables_of_other_programs_are_not_reported():
    settings = {f"UNROLLED_{name.upper()}": "1" for name in Settings.model_fields}
    others = {"UNROLLED_TARGET": "a:1", "UNROLLED_SPREAD": "network", DIRECTORY_VARIABLE: "/"}
    others |= {"UNROLLED_ISA": "avx2", "UNROLL": "1"}
    lower_case = {"unrolled_tokens": "1"}  # which is read as well
    assert unknown_variables(settings | others | lower_case) == []


@pytest.mark.parametrize("service", ["UNROLLED", "UNROLLED_2", "UNROLLED_PODS"])
def test_variables_that_kubernetes_sets_for_services_are_not_reported(service):
    """Pods get these for a service of this name, unless enableServiceLinks is false."""
    url = "tcp://10.0.0.1:50051"
    variables = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "50051",
        f"{service}_SERVICE_PORT_GRPC": "50051",
        f"{service}_PORT": url,
        f"{service}_PORT_50051_TCP": url,
        f"{service}_PORT_50051_TCP_PROTO": "tcp",
        f"{service}_PORT_50051_TCP_PORT": "50051",
        f"{service}_PORT_50051_TCP_ADDR": "10.0.0.1",
    }
    assert unknown_variables(variables) == []


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--tokn", "x"], "--tokn: did you mean --tokens?"),
        (["--max-word=3"], "--max-word: did you mean --max-words?"),
        (["--no-reflexion"], "--no-reflexion: did you mean --no-reflection?"),
        (["--port", "7"], "--port: did you mean --address?"),
        (["--token-file=f"], "--token-file: did you mean --tokens?"),
        (["--reflection=2"], "a switch takes no value: write --NAME or --no-NAME"),
        (["--allow-plaintext", "false"], "a switch takes no value: write --NAME or --no-NAME"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_a_wrong_flag_is_explained_and_not_taken_for_another(flags, hint):
    with pytest.raises(SettingsError) as caught:
        CliApp.run(Settings, cli_args=flags)
    message = explain_flags(str(caught.value))
    assert hint in message
    assert message.endswith("; see unrolled-server --help")
    assert "\n" not in message
