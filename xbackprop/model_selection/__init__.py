"""scikit-learn's searches for hyperparameters, which train all their networks together."""

from xbackprop.model_selection.search import GridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV

__all__ = ["GridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]
