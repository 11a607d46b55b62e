"""The language rules: no listed non-standard word in code or texts, except those that wording_allowed.toml names with a reason."""

import re
import subprocess
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = "tests/wording_allowed.toml"
FILES = ("*.py", "*.js", "*.md", "*.css", "*.toml", "*.yaml", "Makefile")
VENDOR = "/vendor/"  # released files of other projects, unchanged
NOT_SCANNED = {ALLOWED, "tests/test_wording.py"}  # both list the words
NUMBERS = r"a|an|one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|\d[\d,]*"
UNITS = "step|epoch|line|file|run|image|second"
COUNTED = "seconds|minutes|hours|steps|batches|tokens|images|lines|numbers|bytes|times"
BRITISH = (
    r"\b(neighbour|colour|behaviour|favour|honour|flavour)\w*|\b(cancell|labell|signall|modell|travell)(ed|ing)\b"
    r"|\b(initial|organ|recogn|optim|normal|summar|minim|maxim|quant|regular|token|random|serial|synchron|visual|custom|final|author|general|"
    r"special|parallel|util|real)is(e|ed|es|ing|ation|ations)\b"
    r"|\b(centre[ds]?|artefacts?|catalogues?|licences?|judgements?|learnt|spelt|whilst|analys(e|ed|ing))\b"
)
# Regular expression -> what to write. An underscore is read as a space, so that the words are found in identifiers too; capital letters are ignored.
WORDS = {
    r"\bheed(s|ed|ing)?\b": "handle",
    r"\b(the|a|an|no|his|its|stop|without a) wish(es)?\b|\bwish(es)?(?= ?[(=])": "request, stop request",
    r"\banew\b": "again",
    r"\baside\b(?! from)": "tmp_path, temporary folder",
    r"\b(let|lets|letting) go\b": "free, release, discard",
    r"\b(take|takes|taken|taking|took) up\b(?! (space|room|memory|time|too|all|most|much|more|\d))": "resume, continue, use",
    r"\bsay whether\b": "return True if",
    r"\bsays? of\b": "name what is reported: the LoRA's metadata, the image's properties",
    r"(?<!there )\b(is|are|was|were) (?-i:none)\b": "is not a …",
    r"(?<!there )\b(is|are|was|were) no (?!longer\b|more\b|less\b|later\b|earlier\b|different\b|better\b|worse\b|\d)\w+": "is not a …",
    r"\bnumbers? that (is|are) none\b": "NaN or infinity",
    r"\b(some|no|any)body\b": "name who: user, process, caller",
    r"\bbury\b|\bburied\b|\bsee out\b": "reap, wait for",
    r"\bwithout a word\b": "silently, without a message",
    r"\b(for|of) want of\b": "because there is no …",
    r"\bwhat became of\b": "the result of, the status of",
    r"\b(and|or) the like\b": "name them, and so on",
    r"\bforeign\b": "which one: kohya checkout, custom, another host, another tab",
    r"(?<!in )(?<!into )(?<!take )(?<!takes )(?<!took )(?<!taken )(?<!taking )(?<!first )\bplaces?\b(?![-?]| (it|them|each|all|every)\b)": (
        "which one: index, position, path, slot, step"
    ),
    r"\bpictures?\b": "image",
    r"\bstrays?\b": "orphan, leftover",
    r"\bleavings?\b": "leftovers, cleanup",
    rf"(?<!which )\b({NUMBERS}) (?!of |as |in |to )(\w+ )?(a|an) ({UNITS})\b": "per: one per line, 8 steps/s",
    rf"\b({COUNTED}) (a|an) ({UNITS}|minute|hour|byte)\b": "per: seconds per step",
    r"\bautoencoders?\b": "VAE",
    BRITISH: "American spelling: neighboring, labeled, color, canceled, initialize",
    r"\bpress(es)? on start\b": "click on Start",
    r"\bstands? beside\b": "is shown beside",
    r"\bat every look\b": "each time that …",
    r"\b(said|told)(?= ?(=|\||\[)|\.\w)": "message, output, spec: what it is",
}


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One word of the dialect in a line of a tracked file."""

    file: str
    number: int
    line: str
    start: int
    end: int
    better: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: “{self.line[self.start : self.end]}” -> {self.better}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A text that may stay in some files: hits inside it are allowed."""

    files: str
    text: str
    reason: str

    def allows(self, hit: Hit) -> bool:
        """Return True if the hit lies within the text, in one of the files."""
        within = (match.span() for match in re.finditer(re.escape(self.text), hit.line))
        return fnmatchcase(hit.file, self.files) and any(start <= hit.start and hit.end <= end for start, end in within)

    def __str__(self) -> str:
        return f"“{self.text}” in {self.files}"


def hits_in(file: str, content: str) -> list[Hit]:
    """Return the words of the dialect in a file, without regard to what is allowed."""
    return [
        Hit(file=file, number=number, line=line, start=match.start(), end=match.end(), better=better)
        for number, line in enumerate(content.splitlines(), 1)
        for pattern, better in WORDS.items()
        for match in re.finditer(pattern, line.replace("_", " "), re.IGNORECASE)
    ]


def names_of_files() -> list[str]:
    """Return the tracked files that the rule is about."""
    lines = subprocess.run(["git", "ls-files", "--", *FILES], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if line not in NOT_SCANNED and VENDOR not in line and (ROOT / line).is_file()]


@cache
def all_hits() -> tuple[Hit, ...]:
    """Return the words of the dialect in all tracked files."""
    return tuple(hit for name in names_of_files() for hit in hits_in(name, (ROOT / name).read_text(encoding="utf-8")))


@cache
def allowed() -> tuple[Entry, ...]:
    """Return the entries of the allow-list."""
    return tuple(Entry(**table) for table in tomllib.loads((ROOT / ALLOWED).read_text(encoding="utf-8"))["allow"])


def test_tracked_files_contain_no_listed_word():
    hits = [str(hit) for hit in all_hits() if not any(entry.allows(hit) for entry in allowed())]
    assert not hits, "\n".join(["Write plain words, or add the text to tests/wording_allowed.toml with a reason:", *hits])


def test_every_entry_of_allow_list_is_needed():
    unused = [str(entry) for entry in allowed() if not any(entry.allows(hit) for hit in all_hits())]
    assert not unused, "\n".join(["Remove from tests/wording_allowed.toml, nothing matches any more:", *unused])


def test_every_entry_of_allow_list_has_reason():
    assert [str(entry) for entry in allowed() if len(entry.reason.split()) < 3] == []


@pytest.mark.parametrize(
    "line",
    ["the wish to stop", "x = _take_up(run)", "for place in places:", "def test_what_is_no_image(): pass", "the best of its place", "Say whether it runs",
     "a value that is none", "an auxiliary picture", "stray = 1", "self.said = 2; said = 3", "one a line", "two images a step", "Nobody reads it",
     "a neighbouring block", "const labelled = 1", "colour", "was cancelled", "initialisation"],
)  # fmt: skip
def test_listed_word_is_found(line):
    assert hits_in("x.py", line)


@pytest.mark.parametrize(
    "line",
    ["renamed into place", "in place of the first", "changed in_place", "errors that take place", "replace(placeholder)", "place-items: center",
     "There is no image.", "if there are none", "it is no longer used", "in the first place", "one line per file", "AutoencoderKL", "They take up 3 GB",
     "aside from that", "place them on the device", "no wishful thinking",
     "aria-labelledby", "a precise noise", "is supervised", "piecewise"],
)  # fmt: skip
def test_ordinary_english_is_accepted(line):
    assert hits_in("x.py", line) == []


def test_text_is_allowed_only_in_files_of_its_entry():
    entry = Entry(files="docs/*.md", text="old_place.json", reason="a stored name")
    (inside,), (outside,), (other,) = (
        hits_in(file, line) for file, line in [("docs/a.md", "`old_place.json`"), ("a.md", "`old_place.json`"), ("docs/a.md", "a place")]
    )
    assert [entry.allows(hit) for hit in (inside, outside, other)] == [True, False, False]
