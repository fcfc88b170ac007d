"""`shapeshifter pack`, `unpack` and `translate`: a model's way to a machine without fairseq."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import ctranslate2
import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.data import Dictionary

from shapeshifter_fairseq import ShapeshifterError, cli
from shapeshifter_fairseq.fairseq_side.packing import _refuse_what_ctranslate2_lacks
from shapeshifter_fairseq.packing import _tokens, unpack

from .conftest import FORKS, train
from .test_old_checkpoints import FOLDER
from .test_project_and_fold import generate


@pytest.fixture(scope="module")
def data(corpus, two_dictionaries, tmp_path_factory) -> dict[str, Path]:
    """The corpora of old checkpoints, with what text needs; here it is not looked at."""
    found = {}
    for name, folder in (("kronecker", corpus), ("families", two_dictionaries)):
        found[name] = tmp_path_factory.mktemp("data") / name
        shutil.copytree(folder, found[name])
        shutil.copy(folder.parent / "test.xx", found[name])
        facts = {"source": "xx", "target": "yy", "subwords": "subword_nmt"}
        (found[name] / "corpus.json").write_text(json.dumps(facts))
        (found[name] / "bpecodes").write_text("#version: 0.2\ns 1</w>\n")
    return found


DAMAGES = ["cut", "foreign", "text", "missing", "weights", "bits", "release"]


def packed(name: str, data: dict[str, Path], out: Path, *more: str) -> Path:
    call = ["pack", str(FOLDER / f"{name}.pt"), str(out), "--data", str(data[name]), *more]
    assert cli.main(call) == 0
    return out


@pytest.mark.parametrize("name", ["kronecker", "families"])
def test_it_translates_as_fairseq_does(name, data, tmp_path):
    file = packed(name, data, tmp_path / "a model.pack", "--precision", "fp32")
    folder = tmp_path / "a folder"
    assert cli.main(["unpack", str(file), str(folder), "--quantization", "float32"]) == 0
    model = ctranslate2.Translator(str(folder), intra_threads=1)
    sources = [line.split() for line in (data[name] / "test.xx").read_text().splitlines()]
    results = model.translate_batch(sources, beam_size=2, max_decoding_length=200)
    found = [" ".join(result.hypotheses[0]) for result in results]
    expected = [text for _, text in generate(data[name], FOLDER / f"{name}.pt", "--beam", "2")]
    assert found == expected
    assert (folder / "corpus.json").is_file() and (folder / "bpecodes").is_file()


def test_sides_of_different_width(two_dictionaries, data, tmp_path):
    """Each side multiplies its embeddings by the root of its own width."""
    save, file = tmp_path / "save", tmp_path / "x.pack"
    widths = ["--encoder-embed-dim", "32", "--decoder-embed-dim", "16"]
    arch = ["--arch", "shapeshifter_transformer"]  # which ties nothing
    train(two_dictionaries, save, *arch, *widths, "--max-update", "20", "--no-epoch-checkpoints")
    checkpoint = save / "checkpoint_last.pt"
    call = ["pack", checkpoint, file, "--data", data["families"], "--precision", "fp32"]
    assert cli.main([str(word) for word in call]) == 0
    unpack(file, tmp_path / "folder", "float32")
    model = ctranslate2.Translator(str(tmp_path / "folder"), intra_threads=1)
    texts = (two_dictionaries.parent / f"test.{side}" for side in ("xx", "yy"))
    test = [text.read_text().splitlines() for text in texts]
    pairs = [[line.split() for line in side] for side in test]
    found = [sum(score.log_probs) for score in model.score_batch(*pairs)]
    (ours,), _, task = load_model_ensemble_and_task([str(checkpoint)])
    expected = []
    for source, target in zip(*test):
        x, y = (
            dictionary.encode_line(line, add_if_not_exist=False).long()
            for dictionary, line in ((task.src_dict, source), (task.tgt_dict, target))
        )
        before = torch.cat([y[-1:], y[:-1]])[None]
        out = ours.eval()(x[None], torch.tensor([len(x)]), before)
        log_probs = ours.get_normalized_probs(out, log_probs=True)[0]
        expected.append(log_probs.gather(1, y[:, None]).sum().item())
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_model_against_the_direction_of_its_corpus(data, tmp_path):
    """fairseq-train --source-lang yy --target-lang xx."""
    state = torch.load(FOLDER / "kronecker.pt", weights_only=True)
    state["cfg"]["task"] |= {"source_lang": "yy", "target_lang": "xx"}
    torch.save(state, tmp_path / "x.pt")
    call = ["pack", tmp_path / "x.pt", tmp_path / "x.pack", "--data", data["kronecker"]]
    assert cli.main([str(word) for word in call]) == 0
    unpack(tmp_path / "x.pack", tmp_path / "folder")
    facts = json.loads((tmp_path / "folder" / "corpus.json").read_text())
    assert (facts["source"], facts["target"]) == ("yy", "xx")


def test_a_file_is_never_made_from_itself(data, tmp_path, capsys):
    file = shutil.copy(FOLDER / "kronecker.pt", tmp_path / "x.pt")
    before = file.read_bytes()
    for call in (
        ["pack", file, file, "--data", data["kronecker"]],
        ["fold", file, file],
        ["average", file, file],
        ["project", file, file],
    ):
        assert cli.main([str(word) for word in [*call, "--force"]]) == 2
        assert "is what it would be made from; choose another name" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_another_corpus_is_refused(data, tmp_path, capsys):
    call = ["pack", str(FOLDER / "kronecker.pt"), str(tmp_path / "x.pack"), "--data"]
    assert cli.main([*call, str(data["families"])]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "give the corpus that the model was trained" in error


def test_a_corpus_with_other_words_of_the_same_number_is_refused(data, tmp_path, capsys):
    trained_on, other = tmp_path / "trained on", tmp_path / "other"
    for folder in (trained_on, other):
        shutil.copytree(data["kronecker"], folder)
    words = (other / "dict.yy.txt").read_text().splitlines()
    (other / "dict.yy.txt").write_text("\n".join(reversed(words)) + "\n")
    state = torch.load(FOLDER / "kronecker.pt", weights_only=True)
    state["cfg"]["task"]["data"] = str(trained_on)
    torch.save(state, tmp_path / "x.pt")
    call = ["pack", str(tmp_path / "x.pt"), str(tmp_path / "x.pack"), "--data"]
    assert cli.main([*call, str(other)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "whose dictionary of yy is not that of" in error
    assert cli.main([*call, str(trained_on)]) == 0


def test_the_same_model_makes_the_same_small_file(data, tmp_path):
    sizes = {}
    for precision in ("fp32", "fp16", "bf16", "int8"):
        more = ["--precision", precision]
        one, two = (packed("kronecker", data, tmp_path / f"{n}.{precision}", *more) for n in (1, 2))
        assert one.read_bytes() == two.read_bytes()
        sizes[precision] = one.stat().st_size
        unpack(one, tmp_path / precision)
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]


def test_no_file_is_replaced_and_no_folder(data, tmp_path, capsys, monkeypatch):
    file = packed("kronecker", data, tmp_path / "x.pack")
    call = ["pack", str(FOLDER / "kronecker.pt"), str(file), "--data", str(data["kronecker"])]
    assert cli.main(call) == 2 and "replace it with --force" in capsys.readouterr().err
    assert cli.main([*call, "--force"]) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ShapeshifterError, match="mine exists; choose another folder"):
        unpack(file, tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.part").mkdir()
    (tmp_path / "link").symlink_to("empty")
    unpack(file, tmp_path / "link")
    assert (tmp_path / "empty" / "model.bin").is_file() and (tmp_path / "link").is_symlink()
    assert (tmp_path / "empty.part").is_dir()  # somebody's
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ShapeshifterError, match="exists; choose another folder"):
        unpack(file, Path("."))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_packed_file_is_one_line_and_leaves_nothing(damage, data, tmp_path):
    file = packed("kronecker", data, tmp_path / "x.pack")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-5000])
    elif damage == "foreign":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../../evil", "x")
    elif damage == "text":
        file.write_text("no archive")
    elif damage == "bits":
        content = bytearray(file.read_bytes())
        content[content.index(b"weights.safetensors") + 200] ^= 0xFF
        file.write_bytes(content)
    elif damage == "missing":
        file.unlink()
    else:
        with zipfile.ZipFile(file) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        if damage == "weights":
            entries["weights.safetensors"] = entries["weights.safetensors"][:-100]
        else:
            entries["model.json"] = entries["model.json"].replace(b'"format": 2', b'"format": 1')
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
    (tmp_path / "folder.part").mkdir()  # somebody's
    with pytest.raises(ShapeshifterError) as error:
        unpack(file, tmp_path / "folder")
    (tmp_path / "folder.part").rmdir()
    assert len(str(error.value).splitlines()) == 1 and "x.pack" in str(error.value)
    if damage == "release":
        assert str(error.value).endswith("x.pack was packed by another release; pack it again")
    assert {path.name for path in tmp_path.iterdir()} <= {"x.pack"}


def test_the_wheel_unpacks_without_fairseq_and_translates_without_torch(data, wheel, tmp_path):
    file = packed("kronecker", data, tmp_path / "x.pack")

    def shapeshifter(without: str, *words: str | Path, text: str = "") -> str:
        code = f"import sys; sys.modules.update(dict.fromkeys({without.split()}))\n"
        code += "from shapeshifter_fairseq.cli import main; sys.exit(main(sys.argv[1:]))"
        call = [sys.executable, "-c", code, *map(str, words)]
        how = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(wheel)}, "timeout": 300}
        done = subprocess.run(call, input=text, capture_output=True, text=True, **how)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shapeshifter("fairseq", "unpack", file, "folder")
    assert (tmp_path / "folder" / "model.bin").is_file()
    assert shapeshifter("fairseq torch", "translate", "folder", text="s1 s1\n").strip()


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_without_room_it_is_one_line_and_goes_on_later(command, data, tmp_path, capsys):
    """A limit of the shell stands in for the disk."""
    file, folder = tmp_path / "x.pack", tmp_path / "folder"
    call = ["pack", str(FOLDER / "kronecker.pt"), str(file), "--data", str(data["kronecker"])]
    if command == "unpack":
        assert cli.main(call) == 0
        call = ["unpack", str(file), str(folder)]
    before, limits = set(tmp_path.iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        assert cli.main(call) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    made = file if command == "pack" else folder
    line = f"shapeshifter: error: {made} cannot be written: File too large\n"
    assert capsys.readouterr().err == line and set(tmp_path.iterdir()) == before
    assert cli.main(call) == 0 and made.exists()


def run_and_be_killed(call: list[str]) -> None:
    Path.replace = Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    cli.main(call)


@pytest.mark.parametrize("command", ["pack", "unpack"])
def test_killed_before_the_result_has_its_name_it_goes_on(command, data, tmp_path):
    file, folder = tmp_path / "x.pack", tmp_path / "folder"
    call = ["pack", str(FOLDER / "kronecker.pt"), str(file), "--data", str(data["kronecker"])]
    if command == "unpack":
        assert cli.main(call) == 0
        call = ["unpack", str(file), str(folder)]
    made = file if command == "pack" else folder
    process = FORKS.Process(target=run_and_be_killed, args=[call])
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert not made.exists() and list(tmp_path.glob("*.part"))
    assert cli.main(call) == 0 and made.exists()
    assert not list(tmp_path.glob("*.part"))


def test_what_ctranslate2_lacks_is_refused(data, tmp_path, capsys):
    state = torch.load(FOLDER / "kronecker.pt", weights_only=True)
    settings = state["args"] or state["cfg"]["model"]
    settings.no_token_positional_embeddings = True
    settings.activation_fn = "tanh"
    torch.save(state, tmp_path / "x.pt")
    out = tmp_path / "x.pack"
    call = ["pack", str(tmp_path / "x.pt"), str(out), "--data", str(data["kronecker"])]
    assert cli.main(call) == 2 and not out.exists()
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "Option --activation-fn tanh is not supported" in error
    assert "; Option --no-token-positional-embeddings is not supported" in error


@pytest.mark.parametrize(
    "option",
    ["cross_self_attention", "no_cross_attention", "no_decoder_final_norm", "decoder_output_dim"],
)
def test_what_its_converter_overlooks_is_refused_too(option):
    state = torch.load(FOLDER / "kronecker.pt", weights_only=True)
    settings = state["args"] or state["cfg"]["model"]
    settings.decoder_normalize_before = True
    setattr(settings, option, True)
    with pytest.raises(ShapeshifterError, match=f"Option --{option.replace('_', '-')} is not sup"):
        _refuse_what_ctranslate2_lacks(settings)


def test_nothing_is_unpacked_where_nothing_can_be_written(data, tmp_path, capsys):
    file = packed("kronecker", data, tmp_path / "x.pack")
    assert cli.main(["unpack", str(file), "/proc/no/folder"]) == 2
    line = "shapeshifter: error: /proc/no/folder cannot be written: "
    assert capsys.readouterr().err.startswith(line)


def test_a_dictionary_has_the_lines_that_fairseq_reads(tmp_path):
    """U+2028 and U+0085 in a token end no line."""
    tokens = ["a\u2028b@@", "c\x85", "d"]
    file = tmp_path / "dict.txt"
    file.write_text("".join(f"{token} 3\n" for token in tokens), encoding="utf-8")
    assert _tokens(file.read_bytes())[4:] == Dictionary.load(str(file)).symbols[4:] == tokens
