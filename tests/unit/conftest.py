import json
import shutil
import subprocess
from pathlib import Path

import playwright
import pytest
import torch
from hypothesis import settings

from companion.teaching.widgets.base import front_end

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("steady")
torch.set_num_threads(1)

RUN = """
import * as f from "./front.mjs";
import { readFileSync } from "node:fs";
const given = JSON.parse(readFileSync(0, "utf8"));
const floats = (values) => Float64Array.from(values);
const plain = (key, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
process.stdout.write(JSON.stringify((() => { BODY })(), plain));
"""


def node() -> str:
    """Node from the path, or the one that Playwright brings along."""
    return shutil.which("node") or str(Path(playwright.__file__).parent / "driver" / "node")


@pytest.fixture
def front(tmp_path):
    """Run JavaScript with the front end as `f` on some values, without a browser."""
    (tmp_path / "front.mjs").write_text(front_end())

    def call(body, **given):
        (tmp_path / "run.mjs").write_text(RUN.replace("BODY", body))
        given = {name: value.tolist() if torch.is_tensor(value) else value for name, value in given.items()}
        command = [node(), str(tmp_path / "run.mjs")]
        done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call
