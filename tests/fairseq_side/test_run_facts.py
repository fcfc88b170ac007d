"""What a training's log says of its validation losses."""

from shapeshifter_fairseq.fairseq_side.run_facts import _logged, _seconds, _validation

START = "2026-11-27 10:00:{:02} | INFO | fairseq_cli.train | training on 1 devices (GPUs/TPUs)"
LOADED = (
    "2026-11-27 10:00:{:02} | INFO | fairseq.trainer | Loaded checkpoint runs/a "
    "b/checkpoint_last.pt (epoch 1 @ {} updates)"
)
EPOCH = "2026-11-27 10:00:{:02} | INFO | fairseq.trainer | begin training epoch {}"
VALID = (
    '2026-11-27 10:00:{:02} | INFO | valid | {{"epoch": 1, "valid_loss": "{}", '
    '"valid_nll_loss": "2", "valid_num_updates": "{}"}}'
)
INNER = '2026-11-27 10:00:00 | INFO | train_inner | {{"nll_loss": "{}"}}'


def test_seconds_go_on_after_a_restart_without_the_time_between():
    log = [START.format(0), EPOCH.format(2, 1), VALID.format(7, 5, 10), EPOCH.format(8, 2)]
    log += [VALID.format(12, 4, 20)]  # whose checkpoint was lost
    log += [START.format(30), LOADED.format(31, 10), EPOCH.format(32, 1), VALID.format(38, 3, 20)]
    found = [(one["updates"], one["seconds"], one["loss"]) for one in _validation("\n".join(log))]
    assert found == [(10, 5.0, 5.0), (20, 11.0, 3.0)]


def test_a_training_that_was_deleted_does_not_count():
    log = [START.format(0), EPOCH.format(2, 1), VALID.format(7, 1, 40)]
    log += [START.format(30), EPOCH.format(32, 1), VALID.format(38, 3, 20)]  # from the start again
    found = [(one["updates"], one["seconds"], one["loss"]) for one in _validation("\n".join(log))]
    assert found == [(20, 6.0, 3.0)]


def test_a_line_that_a_full_disk_cut_is_left_out():
    log = [START.format(0), EPOCH.format(2, 1), VALID.format(7, 5, 10), VALID.format(9, 4, 20)[:-9]]
    log += [INNER.format(3), INNER.format(4)[:-3]]
    assert [one["updates"] for one in _validation("\n".join(log))] == [10]
    assert _logged("\n".join(log), "train_inner") == [{"nll_loss": "3"}]


def test_the_log_of_a_validation_alone_has_no_seconds():
    log = VALID.format(5, 4, 100)
    assert _validation(log) == [{"updates": 100, "seconds": 0.0, "loss": 4.0, "nll_loss": 2.0}]


def test_a_fine_tuning_does_not_count_the_training_before_it():
    log = [START.format(0), LOADED.format(1, 0), EPOCH.format(2, 1), VALID.format(9, 5, 10)]
    assert _seconds(_validation("\n".join(log)), {"previous_training_time": 2400.0}) == 7.0


def test_a_model_that_was_trained_elsewhere_took_as_long_as_its_checkpoint_says():
    assert _seconds(_validation(VALID.format(5, 4, 100)), {"previous_training_time": 9.01}) == 9.0
    assert _seconds([], {}) == 0.0
