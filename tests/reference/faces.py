"""Faces drawn in CelebA's official layout."""

from PIL import Image, ImageDraw

HEADER = ["5_o_Clock_Shadow", "Black_Hair", "Blond_Hair", "Brown_Hair", "Eyeglasses", "Gray_Hair", "Young"]
COLOURS = {"Black_Hair": (20, 20, 20), "Blond_Hair": (230, 210, 120), "Brown_Hair": (110, 70, 40), "Gray_Hair": (150, 150, 150)}
COUNT = 160


def attributes(number):
    """Every pair of hair (four colours, none, two at once) and glasses comes often."""
    kind = number % 8
    hair = [
        ["Black_Hair"],
        ["Blond_Hair"],
        ["Brown_Hair"],
        ["Gray_Hair"],
        [],
        ["Black_Hair", "Brown_Hair"],
        ["Black_Hair"],
        ["Blond_Hair"],
    ][kind]
    return {*hair, *(["Eyeglasses"] if number // 8 % 2 else []), *(["Young"] if number % 3 else [])}


def draw_face(has):
    """A face of the official 178 x 218 pixels, with hair on top and glasses or none; and its hair mask."""
    face, mask = Image.new("RGB", (178, 218), (90, 140, 190)), Image.new("L", (178, 218))
    colour = next((COLOURS[name] for name in sorted(has) if name in COLOURS), (230, 190, 160))
    for picture, fill in ((face, colour), (mask, 255)):
        ImageDraw.Draw(picture).rectangle((40, 20, 138, 80), fill=fill)
    ImageDraw.Draw(face).rectangle((50, 81, 128, 190), fill=(230, 190, 160))
    if "Eyeglasses" in has:
        ImageDraw.Draw(face).rectangle((60, 105, 118, 120), fill=(0, 0, 0))
    return face, mask


def make_faces(root):
    """The official layout below `root`; masks of every second face."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    (root / "masks" / "0").mkdir(parents=True)
    rows, parts = [], []
    for number in range(1, COUNT + 1):
        has, name = attributes(number), f"{number:06d}.jpg"
        face, mask = draw_face(has)
        face.save(folder / "img_align_celeba" / name)
        if number // 16 % 2:
            mask.resize((89, 109)).save(root / "masks" / "0" / f"{number:05d}_hair.png")
        rows.append(f"{name} " + " ".join(" 1" if one in has else "-1" for one in HEADER))
        parts.append(f"{name} {0 if number <= 100 else 1 if number <= 130 else 2}")
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(COUNT), " ".join(HEADER), *rows]) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
