"""Writes the small data sets beside this file from what scikit-learn ships. Run: python export.py

Each is a gzipped CSV: a line with the features' names and, last, what is predicted
(for classes `target:name|name|..`), then one line per example, the numbers as they stand in the source.
"""
import gzip
import os

import sklearn
from sklearn import datasets

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(os.path.dirname(sklearn.__file__), "datasets", "data")


def lines(name):
    path = os.path.join(SOURCE, name)
    opened = gzip.open(path, "rt") if name.endswith(".gz") else open(path)
    with opened as file:
        return [line.strip() for line in file if line.strip()]


def write(name, features, target, rows):
    header = ",".join([f.replace(",", ";") for f in features] + [target])
    text = "\n".join([header] + rows) + "\n"
    with open(os.path.join(HERE, name + ".csv.gz"), "wb") as raw:
        # Without a time in the header the same numbers give the same file.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as file:
            file.write(text.encode())


def classes(name, file, load):
    data = load()
    names = "|".join(str(n) for n in data.target_names)
    write(name, [str(n) for n in data.feature_names], "target:" + names, lines(file)[1:])


classes("iris", "iris.csv", datasets.load_iris)
classes("wine", "wine_data.csv", datasets.load_wine)
classes("breast_cancer", "breast_cancer.csv", datasets.load_breast_cancer)
pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
write("digits", pixels, "target:" + "|".join(map(str, range(10))), lines("digits.csv.gz"))
targets = [str(int(float(t))) for t in lines("diabetes_target.csv.gz")]
rows = [",".join(x.split() + [t]) for x, t in zip(lines("diabetes_data_raw.csv.gz"), targets, strict=True)]
names = [str(n) for n in datasets.load_diabetes().feature_names]
write("diabetes", names, "disease progression", rows)
