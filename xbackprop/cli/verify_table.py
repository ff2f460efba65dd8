"""Verify the gradients of a model for tables for the command ``xbackprop verify``: each network of the ensemble."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from xbackprop.arrays.backend import Backend
from xbackprop.cli.table_model import read_known
from xbackprop.mlp.verify import verify
from xbackprop.tabular import load_tabular
from xbackprop.verification.findings import Run
from xbackprop.verification.report.report import Report


def verify_tabular(
    args: argparse.Namespace,
    backends: list[Backend] | None,
    methods: list[str] | None,
    dtypes: list[str] | None,
    progress: Callable[[str], None] | None,
) -> Report:
    """Verify every network on rows of --data, each as the encoder of its fold makes them.

    Raises
    ------
    ValueError : for a table that the model cannot read.
    """
    if args.target is None:
        raise ValueError(f"--net {args.net}: say with --target which column of {args.data} it predicts")
    model = load_tabular(args.net)
    table, y = read_known(args.data, args.target, not args.no_header, model)
    rows = np.sort(np.random.RandomState(args.seed).permutation(table.n)[: args.samples])
    table, y = table.take(rows), model.known_targets("verify", y, table.n)[rows]
    reports, runs, total = list[Report](), list[Run](), len(model.networks_)
    for encoder, networks in model.groups_:
        encoded = encoder.transform(table)
        for net in networks:
            name = f"{len(reports) + 1} of {total}"
            found = verify(
                net, encoded, y, methods=methods, backends=backends, dtypes=dtypes, thorough=args.thorough,
                seed=args.seed, pictures=args.html is not None,
                progress=None if progress is None else partial(_tell, progress, name),
            )  # fmt: skip
            reports.append(found)
            runs += [replace(run, place={**run.place, "network": name}) for run in found.runs]
    not_run = {key: reason for found in reports for key, reason in found.not_run.items()}
    header = {**reports[0].header, "network": f"{total} networks of a {type(model).__name__}"}
    header.pop("parameters", None)
    return Report(header, runs, not_run)


def _tell(progress: Callable[[str], None], name: str, line: str) -> None:
    progress(f"network {name}: {line}")
