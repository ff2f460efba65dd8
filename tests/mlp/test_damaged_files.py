"""Model files that are damaged, foreign or newer are refused in words; whatever bit flips is noticed."""

import pickle

import numpy as np
import pytest
from model_files import assert_same_network, contents, fitted, rewritten
from safetensors.numpy import save_file

from xbackprop import MLP, ModelFileError
from xbackprop.mlp import tensor_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def refused(path, message):
    with pytest.raises(ModelFileError, match=rf"^MLP\.load: .*{path.name}.*{message}"):
        MLP.load(path)


@pytest.mark.parametrize("part", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -9, -1], ids=str)
def test_a_file_cut_short(part, path):
    fitted().save(path)
    whole = path.read_bytes()
    length = round(part * len(whole)) if isinstance(part, float) else part
    path.write_bytes(whole[:length])
    refused(path, "damaged or cut short")


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n" + bytes(100), pickle.dumps({"coefs_": [1.0]}), bytes(64), b"\xff" * 64],
    ids=["text", "image", "pickle", "zeros", "ones"],
)
def test_a_file_of_another_kind(content, path):
    path.write_bytes(content)
    refused(path, "no safetensors file")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_a_safetensors_file_from_elsewhere(metadata, path):
    save_file({"weight": np.ones((2, 2))}, path, metadata)
    refused(path, "not of xbackprop")


@pytest.mark.parametrize("version", ["3", "10", "1.5", "", "0", "²", "new"])
def test_a_newer_format_is_refused_in_words(version, path):
    fitted().save(path)
    tensors, metadata = contents(path)
    save_file(tensors, path, {**metadata, "format_version": version})
    refused(path, f"format version {version!r}.*reads up to 2.*upgrade xbackprop")


def put(where, value):
    """A change of one entry of the configuration."""

    def change(tensors, configuration):
        *folders, last = where.split(".")
        for folder in folders:
            configuration = configuration[folder]
        configuration[last] = value

    return change


def spoil(name, array):
    return lambda tensors, configuration: tensors.__setitem__(name, array)


CHANGES = {
    "a tensor missing": lambda tensors, configuration: tensors.pop("coefs.1"),
    "the last layer missing": lambda tensors, configuration: (tensors.pop("coefs.2"), tensors.pop("intercepts.2")),
    "a weight that is NaN": spoil("intercepts.0", np.full(6, np.nan)),
    "a shape that does not fit": spoil("coefs.1", np.ones((6, 4))),
    "another dtype": spoil("coefs.1", np.ones((6, 5), dtype=np.float32)),
    "integers": spoil("coefs.1", np.ones((6, 5), dtype=np.int64)),
    "settings missing": lambda tensors, configuration: configuration.pop("settings"),
    "fitted missing": lambda tensors, configuration: configuration.pop("fitted"),
    "an unknown setting": put("settings.colour", 0.5),
    "a setting that makes no sense": put("settings.max_iter", -1),
    "other layer sizes": put("settings.hidden_layer_sizes", [6]),
    "a class missing": put("fitted.targets.classes.values", [0, 1]),
    "no classes for a classification": put("fitted.targets.classes", None),
    "labels of a dtype that there is not": put("fitted.targets.classes.dtype", "nonsense"),
    "configuration of another kind": put("settings", [1, 2]),
    "a loss that is a list": put("settings.loss", []),
    "an activation that is a number": put("settings.activation", 3),
    "a kind of targets that there is not": put("fitted.targets.kind", "x"),
    "alpha beyond every float": put("settings.alpha", 10**400),
    "a class twice": put("fitted.targets.classes.values", [0, 1, 1]),
    "classes that are not sorted": put("fitted.targets.classes.values", [1, 0, 2]),
    "classes of another type": put("fitted.targets.classes.values", [0, 1, 2.5]),
    "classes that their type cannot hold": put("fitted.targets.classes.dtype", "|u1-"),
    "text of a length that would need gigabytes": put("fitted.targets.classes.dtype", "<U999999999"),
    "a class weight too few": put("fitted.targets.weights", [1.0, 2.0]),
    "a class weight below zero": put("fitted.targets.weights", [1.0, 2.0, -1.0]),
    "smoothing of 2": put("fitted.targets.smoothing", 2.0),
    "outputs that are text": put("fitted.targets.n_outputs", "3"),
    "a vector that is neither true nor false": put("fitted.targets.vector", 1),
    "an unknown part of the targets": put("fitted.targets.colour", 1),
    "names for other columns": put("fitted.feature_names", ["a"]),
    "names that are numbers": put("fitted.feature_names", [1, 2, 3, 4]),
    "a loss of text": put("fitted.loss_curve", ["0.5"]),
    "no list of losses": put("fitted.loss_curve", {}),
    "weights for classes that are a mapping": put("settings.class_weight", {"0": 1.0}),
    "weights for classes that are text": put("settings.class_weight", [[0, "x"]]),
    "sizes that are no list": put("settings.hidden_layer_sizes", 6),
    "a dropout rate that rounds to one": put("settings.dropout", 1.0),
    "a position in no generator": put("progress", {"position": 10**9}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_with_parts_missing_or_wrong(change, path):
    fitted().save(path)
    rewritten(path, CHANGES[change])
    refused(path, "")


def test_any_bit_that_flips_is_noticed(path):
    """Every byte of the file in turn, one bit of it."""
    fitted(hidden_layer_sizes=(2,)).save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        refused(path, "")


def test_equal_networks_have_equal_files(path):
    net = fitted(class_weight={0: 2.0}, activation=["relu", "tanh"])
    files = set()
    for _ in range(10):
        net.save(path)
        files.add(path.read_bytes())
    assert len(files) == 1


def test_a_file_of_the_first_version_has_no_checksum_and_is_read(path):
    net = fitted()
    net.save(path)
    tensors, metadata = contents(path)
    del metadata["checksum"]
    save_file(tensors, path, {**metadata, "format_version": "1"})
    assert_same_network(MLP.load(path), net)
    save_file(tensors, path, metadata)
    refused(path, "checksum")


def test_a_configuration_that_is_no_json(path):
    fitted().save(path)
    tensors, metadata = contents(path)
    for text in ("{", "[" * 100_000):
        checksum = tensor_file.checksum(tensors, text)
        save_file(tensors, path, {**metadata, "configuration": text, "checksum": checksum})
        refused(path, "missing or wrong")


def test_files_that_are_not_there(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=path.name):
        MLP.load(path)
    with pytest.raises(OSError, match=tmp_path.name):
        MLP.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        fitted().save(tmp_path / "no such folder" / "net.safetensors")
