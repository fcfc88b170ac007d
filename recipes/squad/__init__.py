"""Answers to SQuAD's questions, by a reader of DrQA's kind (dissertation, section 3.5, table 3).

In plain torch: a task of fairseq's would need a dataset and a criterion as well.
"""
