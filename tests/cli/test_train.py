"""What ``grape-dgl train`` prints."""

from __future__ import annotations

from grape_dgl.cli.train import profile_table


def test_the_profile_by_hand() -> None:
    """Three epochs: 9 s backward are three quarters of the training and 3 s per epoch."""
    searches = {"by the bound": 28, "of all pairs": 10, "for a threshold": 2}
    training = {"epochs": 3, "seconds": {"cells": 3.0, "backward": 9.0}, "searches": searches}
    lines = profile_table({"seconds": {"train": 12.5, "total": 20.0}, "training": training}).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "train 12.50 s",
        "total 20.00 s",
        "of train, 3 epochs:",
        "backward 9.00 s 75 % 3000.0 ms per epoch",
        "cells 3.00 s 25 % 1000.0 ms per epoch",
        "40 searches for similar genes, 70 % by few directions, 25 % over all pairs, the others for a new threshold",
    ]
