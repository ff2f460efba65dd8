"""Networks for tables as people have them: `TableEncoder`, `TabularClassifier`, `TabularRegressor`, `load_tabular`."""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "xbackprop's models for tables need scikit-learn, which is not installed: pip install scikit-learn"
    ) from error

from xbackprop.tabular.classifier import TabularClassifier
from xbackprop.tabular.encoder import TableEncoder
from xbackprop.tabular.model_file import load_tabular
from xbackprop.tabular.onnx_model import onnx_inputs
from xbackprop.tabular.regressor import TabularRegressor

__all__ = ["TableEncoder", "TabularClassifier", "TabularRegressor", "load_tabular", "onnx_inputs"]
