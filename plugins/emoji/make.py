"""Make the embedded files of the emoji data sets out of two npm packages, which hold 64 x 64 pixels of each emoji.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    mkdir google twitter
    tar xzf emoji-datasource-google-16.0.0.tgz -C google
    tar xzf emoji-datasource-twitter-16.0.0.tgz -C twitter
    python plugins/emoji/make.py google/package twitter/package

What is kept: emoji that both packages have, without those of another skin tone (1,875, which would make people 60 % of
all), the five swatches of skin tones, and those whose picture repeats an older one's in either style (flags of islands,
families). Pictures are laid on white, and each pixel becomes the mean of 2 x 2. Beside them goes what they are tagged
with; `make_tags.py` makes word vectors of that.
"""

import csv
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
STYLES = {"noto": "google", "twemoji": "twitter"}
"""The packages' names for the styles."""
CLASSES = {
    "Smileys & Emotion": "smileys",
    "People & Body": "people",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
}
COLUMNS = 60
"""Pictures in a row of a sheet."""
TEST = 0.1
"""Share of the emoji that is held out."""
UNTOLD = {"and", "at", "for", "no", "of", "on", "or", "the", "to", "with"}
"""Words that say nothing of a picture."""


def main(google: str, twitter: str) -> None:
    """Write a sheet of pictures for each style, and the table of what is on them, beside this file."""
    roots = {"google": Path(google), "twitter": Path(twitter)}
    emoji = [e for e in json.loads((roots["google"] / "emoji.json").read_text("utf-8")) if e["category"] in CLASSES]
    emoji = [e for e in emoji if all(e[f"has_img_{name}"] for name in roots)]
    emoji.sort(key=lambda e: ([int(n) for n in e["added_in"].split(".")], e["sort_order"]))  # The oldest first.
    pictures, seen, kept = {}, set(), []
    for e in emoji:
        both = {style: small(roots[name] / "img" / name / "64" / e["image"]) for style, name in STYLES.items()}
        looks = {(style, picture.tobytes()) for style, picture in both.items()}
        if not looks & seen:
            kept.append(e)
            pictures[e["unified"]] = both
        seen |= looks
    kept.sort(key=lambda e: (list(CLASSES).index(e["category"]), e["sort_order"]))
    for style in STYLES:
        write_sheet(HERE / f"{style}.png", [pictures[e["unified"]][style] for e in kept])
    with (HERE / "emoji.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("code_points", "class", "split", "half", "name"))
        table.writerows(row(e) for e in kept)
    with (HERE / "keywords.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("code_points", "keywords"))
        table.writerows((e["unified"], " ".join(keywords(e))) for e in kept)


def small(path: Path) -> np.ndarray:
    """The picture on white, uint8 (32, 32, 3)."""
    rgba = np.asarray(Image.open(path).convert("RGBA"), dtype=np.int64)
    alpha = rgba[..., 3:]
    on_white = rgba[..., :3] * alpha + 255 * (255 - alpha)  # In 255ths: nothing is rounded before the end.
    sums = on_white.reshape(32, 2, 32, 2, 3).sum((1, 3))
    return ((sums + 2 * 255) // (4 * 255)).astype(np.uint8)


def write_sheet(path: Path, pictures: list[np.ndarray]) -> None:
    """Pictures side by side, row by row; white after the last."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.full((rows * COLUMNS, 32, 32, 3), 255, np.uint8)
    sheet[: len(pictures)] = pictures
    sheet = sheet.reshape(rows, COLUMNS, 32, 32, 3).swapaxes(1, 2).reshape(rows * 32, COLUMNS * 32, 3)
    Image.fromarray(sheet).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes, SHA-256 of its pixels {hashlib.sha256(sheet).hexdigest()}")


def row(e: dict[str, Any]) -> tuple[str, str, str, int, str]:
    """What the table says of an emoji: where it is needed, and in which half of the training emoji it is."""
    draw = hashlib.sha256("-".join(kin(e["unified"])).encode()).digest()
    split = "test" if int.from_bytes(draw[:4], "big") < TEST * 2**32 else "train"
    return e["unified"], CLASSES[e["category"]], split, draw[4] % 2, e["short_name"]


def keywords(e: dict[str, Any]) -> list[str]:
    """The words of its name in Unicode, its short names and its subgroup, each once: `oncoming bus transport ground`.

    Without numbers, words of one or two letters, and those that say nothing.
    """
    told = " ".join([e["name"] or "", *e["short_names"], e["subcategory"] or ""]).lower()
    words = re.findall(r"[a-z]{3,}", told)
    return [word for word in dict.fromkeys(words) if word not in UNTOLD]


def kin(code_points: str) -> list[str]:
    """The same for all that differ in gender or direction alone: they look alike, and go to the same split."""
    without = {"FE0F", "200D", "2640", "2642", "27A1"}
    person = {"1F468": "1F9D1", "1F469": "1F9D1"}
    return [person.get(code, code) for code in code_points.split("-") if code not in without]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python make.py FOLDER-OF-emoji-datasource-google FOLDER-OF-emoji-datasource-twitter")
    main(*sys.argv[1:])
