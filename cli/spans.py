"""Spans of time as arguments."""

from __future__ import annotations

import math
from typing import Any

import click


class Span(click.FloatRange):
    """A number that is one: `nan` and `inf` are null in JSON, and would arrive as "not given", which means for ever."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number
