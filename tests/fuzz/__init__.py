"""Harnesses for a coverage-guided fuzzer: `python -m tests.fuzz.chunks [atheris options] [corpus folder]`, and the same
with `endpoint`.

Each module has a `target` that takes any bytes and may raise nothing, and `SEEDS` to begin with. They need atheris
and are run by hand; the test run calls the targets with the seeds only, hypothesis does the rest there.
"""
