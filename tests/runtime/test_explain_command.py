"""`cad-edge explain` on a device."""

import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge import cli
from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector, explain_command
from cad_edge_runtime.explain_command import note_on_words
from tests.runtime.golden_words import give_words, needs_tokenizers

pytestmark = [pytest.mark.torchless, needs_tokenizers]


@pytest.fixture
def run():
    runner = CliRunner()
    return lambda *arguments, **given: runner.invoke(
        cli.main, ["explain", *(str(one) for one in arguments)], **given
    )


@pytest.fixture
def picture(tmp_path, frames):
    path = tmp_path / "red.png"
    Image.fromarray(frames["red.bad"][0]).save(path)
    return path


@pytest.fixture
def talk(bundle, workshop, picture):
    """The conversation that the command has, held here."""
    give_words(workshop, "red")
    with Detector.open(bundle, watch=False) as detector:
        yield detector.conversation(picture)


def failed(result, words: str) -> bool:
    lines = result.stderr.splitlines()
    assert result.exit_code == 1 and len(lines) == 1 and lines[0].startswith("Error: ")
    return words in lines[0]


def test_an_answer_is_printed(run, bundle, picture, talk):
    result = run(bundle, picture, "--max-tokens", 12)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == talk.ask(max_tokens=12).text + "\n"


def test_a_question_and_a_task(run, bundle, picture, talk):
    result = run(bundle, picture, "--question", "How large?", "--task", "red", "--max-tokens", 9)
    assert result.stdout == talk.ask("How large?", 9).text + "\n"


def test_a_conversation_reads_questions_line_by_line(run, bundle, picture, talk):
    lines = "Where?\n\n  How large?  \n"
    result = run(bundle, picture, "--conversation", "--max-tokens", 6, input=lines)
    assert result.exit_code == 0
    expected = [talk.ask(question, 6).text for question in (None, "Where?", "How large?")]
    assert result.stdout == "".join(f"{text}\n" for text in expected)


def test_what_a_terminal_cannot_show_is_no_error(bundle, picture, talk):
    """The answer has characters that are not ASCII, and the question a byte that is none."""
    expected = [talk.ask(question, 60).text for question in (None, "W\ufffd")]
    assert not "".join(expected).isascii()
    for charset in ("cp1252", "utf-8"):
        runner = CliRunner(charset=charset)
        arguments = ["explain", str(bundle), str(picture), "--conversation", "--max-tokens", "60"]
        result = runner.invoke(cli.main, arguments, input=b"W\x81\n")
        assert result.exit_code == 0
        shown = [text.encode(charset, "replace").decode(charset) for text in expected]
        assert result.stdout == "".join(f"{text}\n" for text in shown)


def test_a_full_conversation_ends_with_a_sentence(run, bundle, picture, talk):
    result = run(bundle, picture, "--conversation", input="Why?\nWhy?\n")
    assert failed(result, "the conversation is full")
    assert result.stdout == talk.ask().text + "\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-tokens", "0"), "max_tokens=0"),
        (("--task", "green"), "task 'green' does not answer in words"),
        (("--task", "reds"), "'reds'; it holds blue, green, red"),
        (("--question", " "), "the question is empty"),
        (("--device", "gpu"), "'gpu' is not known"),
    ],
)
def test_refusals(run, bundle, picture, talk, options, words):
    assert failed(run(bundle, picture, *options), words)


def test_images_that_cannot_be_used(run, bundle, picture, talk, tmp_path, amber):
    Image.fromarray(amber[0]).save(tmp_path / "amber.png")
    assert failed(run(bundle, tmp_path / "amber.png"), "shows no product that the bundle knows")
    assert failed(run(bundle, tmp_path / "absent.png"), "absent.png")


def test_verify_checks_the_graphs_of_words(bundle, workshop):
    def spoilt(found):
        sha = workshop.store.add_object({"graph.onnx": b"no graph"})
        decoder = found.decoder.model_copy(update={"graph": sha})
        return found.model_copy(update={"decoder": decoder})

    verify = ["verify", str(bundle)]
    give_words(workshop, "red")
    assert CliRunner().invoke(cli.main, verify).exit_code == 0
    give_words(workshop, "red", spoilt)
    assert failed(CliRunner().invoke(cli.main, verify), "graph.onnx")


def test_words_of_the_embedded_model_are_said_to_be_a_demonstration(
    run, bundle, picture, talk, monkeypatch
):
    said = note_on_words("llava-small")
    assert said is not None and "a guess" in said and "--backbone llava:FOLDER" in said
    assert note_on_words("llava:folder") is None
    monkeypatch.setattr(explain_command, "EMBEDDED", Bundle(bundle).manifest().backbone.id)
    result = run(bundle, picture, "--max-tokens", 12)
    assert result.exit_code == 0 and len(result.stderr.splitlines()) == 1
    assert "a guess" in result.stderr
    assert result.stdout == talk.ask(max_tokens=12).text + "\n"
