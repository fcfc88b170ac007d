"""Datasets, and the steps from their raw files to a corpus that fairseq trains on."""
