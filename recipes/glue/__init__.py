"""Gupta et al.'s study of factors in trained models, fine-tuned on tasks of GLUE."""
