"""Networks for tables: `TableEncoder`, `TabularClassifier` and `TabularRegressor`."""
