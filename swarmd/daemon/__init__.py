"""Composition: configuration, logs, systemd, supervision, and the only place that constructs things."""
