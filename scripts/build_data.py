"""Rebuild the files in `companion/data/files` from the packages they come from: `python scripts/build_data.py`.

Maintainers only: it needs Debian's apt-get and dpkg-deb and the network. Lessons and tests read the
stored files and need neither. The result is the same, byte for byte, whenever zlib is.
"""

import gzip
import hashlib
import io
import struct
import subprocess
import tempfile
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
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{package.name} has the digest {digest}, but must have {sha256}.")
    subprocess.run(["dpkg-deb", "-x", package, folder / name], check=True)
    return folder / name


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


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    fashion_mnist()
