"""Experiments from training to report, and the engine that they and data-prep/ run on."""
