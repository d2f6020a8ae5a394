"""Check that an sdist and the wheel made from it hold everything that git tracks and they should."""

import subprocess
import sys
import tarfile
import zipfile

SOURCE_ROOTS = ("cryoppp_annotator", "resources", "tests", "plugins", "docs", "benchmarks", "pyproject.toml", "LICENSE")


def tracked(*roots: str) -> set[str]:
    """What git tracks below ``roots`` and is still there; empty outside a repository."""
    ran = subprocess.run(["git", "ls-files", "-z", "--", *roots], capture_output=True, text=True, check=False)
    gone = subprocess.run(["git", "ls-files", "-dz", "--", *roots], capture_output=True, text=True, check=False)
    return set(filter(None, ran.stdout.split("\0"))) - set(gone.stdout.split("\0"))


def main(sdist: str, wheel: str) -> int:
    """Print what is missing; the number of missing files is the result."""
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    missing = [f"sdist: {name}" for name in sorted(tracked(*SOURCE_ROOTS) | {"napari.yaml"}) if name not in in_sdist]
    for name in sorted(tracked("cryoppp_annotator")):
        if name not in in_wheel:
            missing.append(f"wheel: {name}")
    for name in sorted(tracked("resources")):
        if f"cryoppp_annotator/{name}" not in in_wheel:
            missing.append(f"wheel: cryoppp_annotator/{name}")
    strays = sorted(name for name in in_wheel if not name.startswith(("cryoppp_annotator/", "cryoppp_annotator-")))
    for line in missing:
        print(f"missing in the {line}")
    for name in strays:
        print(f"does not belong in the wheel: {name}")
    print(f"sdist: {len(in_sdist)} entries, wheel: {len(in_wheel)} files")
    return min(len(missing) + len(strays), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
