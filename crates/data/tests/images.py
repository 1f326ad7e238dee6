"""Writes the images in files/. Run: python images.py (Pillow)."""
import os

import numpy as np
from PIL import Image

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "files"))


def quarters(height, width):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    h, w = (height // 2 + 7) // 8 * 8 if height % 16 else height // 2, width // 2 // 8 * 8
    image[:h, :w] = [255, 0, 0]
    image[:h, w:] = [0, 255, 0]
    image[h:, :w] = [0, 0, 255]
    image[h:, w:] = 255
    return Image.fromarray(image)


image = quarters(16, 24)
image.save("rgb.png")
image.convert("RGBA").save("rgba.png")
image.convert("P", palette=Image.Palette.ADAPTIVE).save("palette.png")
image.save("rgb.jpg", quality=95, subsampling=0)
image.save("progressive.jpg", quality=95, progressive=True, subsampling=0)
quarters(19, 33).save("odd.jpg", quality=95)
gray = np.zeros((16, 24), dtype=np.uint8)
gray[8:, 16:] = 255
Image.fromarray(gray).save("gray.png")
Image.fromarray(gray).save("gray.jpg", quality=95)
Image.fromarray(gray.astype(np.uint16) * 257).save("gray16.png")
Image.fromarray(gray).convert("1").save("bits.png")
